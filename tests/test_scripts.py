"""Scripts for Nuke and Blender, carried out node by node by stand-ins for those programs: they rebuild the shot."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

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


def run_nuke(folder: Path, frame: int) -> np.ndarray:
    """The values before the last node, which only changes the colour space."""
    stack: list[np.ndarray] = []
    for kind, knobs in nuke_nodes((folder / "layerloom.nk").read_text())[1:]:
        if kind == "Read":
            assert knobs["raw"] == "true" and knobs["inputs"] == "0"
            file = knobs["file"].strip('"')
            assert ("first" in knobs) == ("%" in file)
            stack.append(media.to_float(media.read_image(folder / (file % frame if "%" in file else file))))
        elif kind == "STMap":
            assert knobs["uv"] == "rgb"
            stack.append(warp(stack.pop(), stack.pop()))
        elif kind == "Merge2":
            first, second = stack.pop(), stack.pop()
            stack.append(first * second if knobs["operation"] == "multiply" else first + second)
        elif kind == "Crop":
            assert knobs["box"] == "{0 0 160 96}"
        else:
            assert (kind, knobs["colorspace_in"]) == ("Colorspace", "sRGB")
    assert len(stack) == 1
    return stack[0]


def test_the_nuke_script_rebuilds_the_shot(project: Project, exported: Path) -> None:
    check_shot(project, lambda number: run_nuke(exported, number))


def test_the_nuke_script_finds_its_files_and_says_how_long_it_is(exported: Path) -> None:
    text = (exported / "layerloom.nk").read_text()
    (kind, root), *nodes = nuke_nodes(text)
    assert kind == "Root" and root["last_frame"] == "2" and root["fps"] == "24"
    assert root["project_directory"] == '"\\[file dirname \\[value root.name]]"'
    assert str(exported) not in text
    names = [knobs["name"] for _, knobs in nodes]
    assert len(set(names)) == len(names) == 8 * 3 + 2 + 1


class Node:
    """A node of the compositor that remembers what is linked to it."""

    def __init__(self, kind: str) -> None:
        self.kind = kind.removeprefix("CompositorNode")
        self.inputs: dict[Any, MagicMock] = {}
        self.outputs = {name: (self, name) for name in ("Image", "Red", "Green", "Blue")}
        sockets = {"MixRGB": (0, 1, 2), "CombineColor": ("Red", "Green", "Blue", "Alpha"), "MapUV": ("Image", "UV")}
        for name in sockets.get(self.kind, ("Image",)):
            self.inputs[name] = MagicMock(source=None)


def run_blender(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, dict[str, Node]]:
    """Carry the script out with a stand-in for bpy; its scene, and its nodes by name."""
    nodes: list[Node] = []

    def new(kind: str) -> Node:
        nodes.append(Node(kind))
        return nodes[-1]

    bpy: Any = ModuleType("bpy")
    bpy.context, bpy.data = MagicMock(), MagicMock()
    bpy.data.images.load = lambda path: MagicMock(path=Path(path))
    tree = bpy.context.scene.node_tree
    tree.nodes.new = new
    tree.links.new = lambda output, socket: setattr(socket, "source", output)
    monkeypatch.setitem(sys.modules, "bpy", bpy)
    script = folder / "blender_compositor.py"
    exec(compile(script.read_text(), str(script), "exec"), {"__file__": str(script)})
    return bpy.context.scene, {node.name: node for node in nodes}  # pyright: ignore[reportAttributeAccessIssue]


def value(source: tuple[Any, str], frame: int) -> np.ndarray:
    """What a socket gives in a frame of the scene."""
    node, output = source
    inputs = {name: socket.source for name, socket in node.inputs.items()}
    if node.kind == "Image":
        path = node.image.path
        if node.image.source == "SEQUENCE":
            path = path.with_stem(f"{frame - node.frame_start + 1 + node.frame_offset:05d}")
        assert node.image.colorspace_settings.name == "Non-Color" and node.image.alpha_mode == "CHANNEL_PACKED"
        return media.to_float(media.read_image(path))
    if node.kind == "SeparateColor":
        return value(inputs["Image"], frame)[..., ["Red", "Green"].index(output)]
    if node.kind == "CombineColor":
        assert node.inputs["Blue"].default_value == 1.0
        return np.dstack([value(inputs["Red"], frame), value(inputs["Green"], frame)])
    if node.kind == "MapUV":
        return warp(value(inputs["Image"], frame), value(inputs["UV"], frame))
    assert node.kind == "MixRGB" and node.inputs[0].default_value == 1.0
    first, second = value(inputs[1], frame), value(inputs[2], frame)
    return {"MULTIPLY": first * second, "ADD": first + second}[node.blend_type]


def test_the_blender_script_rebuilds_the_shot(
    project: Project, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene, nodes = run_blender(exported, monkeypatch)
    check_shot(project, lambda number: value(nodes["shot"].inputs["Image"].source, number))
    assert (scene.frame_start, scene.frame_end) == (0, 2)
    assert (scene.render.resolution_x, scene.render.resolution_y) == (160, 96)
    assert scene.render.fps / scene.render.fps_base == pytest.approx(24)
    assert scene.view_settings.view_transform == "Raw"
    assert str(exported) not in (exported / "blender_compositor.py").read_text()


def test_scripts_bring_what_they_read(exported: Path) -> None:
    assert {path.name for path in exported.iterdir()} == {
        *("manifest.json", "layerloom.nk", "blender_compositor.py", "object1", "object2", "background")
    }
    assert {path.name for path in (exported / "object1").iterdir()} == {"texture.png", "matte", "st", "lighting"}
