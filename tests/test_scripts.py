"""Nuke's script, carried out node by node by a stand-in for Nuke, which cannot be had: it rebuilds the shot.

(tests/programs has Blender carry out its own, and TCL read Nuke's.)
"""

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project, st_to_uv

from layerloom import media
from layerloom.data.project import Project
from layerloom.export.export import export
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

FRAMES = range(1, 4)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(160, 96), frames=4, seed=1, objects=2))


@pytest.fixture(scope="module")
def exported(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    export(project, folder, parts={"nuke", "blender"}, frames=FRAMES)
    return folder


def warp(texture: np.ndarray, st: np.ndarray) -> np.ndarray:
    uv = st_to_uv(st, (texture.shape[1], texture.shape[0]))
    x, y = cv2.split(uv - np.float32(0.5))
    return cv2.remap(texture[..., :3], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def check_shot(project: Project, picture_of: Callable[[int], np.ndarray]) -> None:
    for number, expected in enumerate(render_images(project, frames=FRAMES, mode="synthesis")):
        error = picture_of(number) - media.to_float(expected)
        assert -10 * np.log10(np.square(error).mean()) > 55


def nuke_nodes(script: str) -> list[tuple[str, dict[str, str]]]:
    nodes = re.findall(r"^(\w+) \{\n(.*?)\n\}$", script, re.MULTILINE | re.DOTALL)
    return [(kind, dict(line.strip().split(" ", 1) for line in body.split("\n"))) for kind, body in nodes]


def file_of(knob: str, folder: Path) -> Path:
    """The file that a knob names where the script lies beside it. (What TCL makes of the whole is tested there.)"""
    assert knob.startswith('"\\[if ') and str(folder) in knob
    return folder / knob.strip('"').rpartition("]/")[2]


def run_nuke(folder: Path, frame: int) -> np.ndarray:
    """The values before the last node, which only changes the colour space: h w 4."""
    stack: list[np.ndarray] = []
    for kind, knobs in nuke_nodes((folder / "layerloom.nk").read_text())[1:]:
        if kind == "Read":
            assert knobs["raw"] == "true" and knobs["inputs"] == "0"
            file = file_of(knobs["file"], folder)
            is_sequence = "%" in file.name
            assert ("first" in knobs) == is_sequence
            picture = media.to_float(media.read_image(file.with_name(file.name % frame) if is_sequence else file))
            # A file without alpha has none in Nuke.
            stack.append(picture if picture.shape[2] == 4 else np.dstack([picture, 0 * picture[..., :1]]))
        elif kind == "STMap":
            assert knobs["uv"] == "rgb"
            warped = warp(stack.pop(), stack.pop()[..., :2])
            stack.append(np.dstack([warped, np.ones_like(warped[..., :1])]))
        elif kind == "Merge2":
            first, second = stack.pop(), stack.pop()
            stack.append(first * second if knobs["operation"] == "multiply" else first + second)
        elif kind == "Copy":
            assert (knobs["from0"], knobs["to0"]) == ("rgba.red", "rgba.alpha")
            onto, taken = stack.pop(), stack.pop()
            stack.append(np.dstack([onto[..., :3], taken[..., 0]]))
        elif kind == "Premult":
            picture = stack.pop()
            stack.append(np.dstack([picture[..., :3] * picture[..., 3:], picture[..., 3]]))
        elif kind == "Crop":
            assert knobs["box"] == "{0 0 160 96}"
        else:
            assert (kind, knobs["colorspace_in"]) == ("Colorspace", "sRGB")
    assert len(stack) == 1
    return stack[0]


def test_the_nuke_script_rebuilds_the_shot(project: Project, exported: Path) -> None:
    check_shot(project, lambda number: run_nuke(exported, number)[..., :3])


def test_the_shot_is_opaque_in_nuke(exported: Path) -> None:
    np.testing.assert_allclose(run_nuke(exported, 0)[..., 3], 1, atol=1e-5)


def test_the_nuke_script_finds_its_files_and_says_how_long_it_is(exported: Path) -> None:
    (kind, root), *nodes = nuke_nodes((exported / "layerloom.nk").read_text())
    assert kind == "Root" and root["last_frame"] == "2" and root["fps"] == "24"
    assert root["colorManagement"] == "Nuke"
    names = [knobs["name"] for _, knobs in nodes]
    assert len(set(names)) == len(names) == 9 * 3 + 2 + 1


def test_scripts_bring_what_they_read(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        *("manifest.json", "layerloom.nk", "blender_compositor.py", "object1", "object2", "background")
    }
    assert {path.name for path in (exported / "object1").iterdir()} == {"texture.png", "matte", "st", "lighting"}
