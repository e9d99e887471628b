"""Blender, from Debian and from PyPI: the script rebuilds the shot as the output is set by default."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from programs import FRAMES, SIZE, Program, find

from layerloom.data.project import Project
from layerloom.render.stream import render_images

JOB = Path(__file__).with_name("blender_job.py")
LEAST_DB = {"3": 38.0, "4": 38.0, "5": 50.0}
"""By Blender's first number: until 4 its own filter of Map UV smooths fine textures."""


@pytest.fixture(scope="module", params=["blender", "bpy-4.2.0", "bpy-5.0.1"])
def blender(request: pytest.FixtureRequest) -> Program:
    words = ("-b", "--factory-startup", "-P", str(JOB), "--")
    if request.param == "blender":
        program = find("blender")
        return Program("blender", (*program.command, *words))
    return find(request.param, str(JOB), version=("version", ".", "."))


def test_the_script_rebuilds_the_shot(blender: Program, project: Project, exported: Path, tmp_path: Path) -> None:
    blender.run("shot", exported, tmp_path)
    version = blender.run("version", ".", ".").split("Blender ")[1]
    for number, expected in enumerate(render_images(project, frames=FRAMES, mode="synthesis")):
        picture = cv2.imread(str(tmp_path / f"{number}.png"), cv2.IMREAD_UNCHANGED)
        assert picture is not None
        assert picture.shape[2] == 3 or (picture[..., 3] == 255).all(), "opaque"
        error = picture[..., 2::-1].astype(float) / 255 - expected / 255
        assert -10 * np.log10(np.square(error).mean()) > LEAST_DB[version[0]]
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert facts == {"view": "Standard", "fps": pytest.approx(24), "size": list(SIZE)}


def test_all_layers_of_a_frame_are_seen(blender: Program, project: Project, exported: Path, tmp_path: Path) -> None:
    blender.run("layers", exported / "exr" / "00000.exr", tmp_path / "layers.json")
    seen = set(json.loads((tmp_path / "layers.json").read_text()))
    assert seen >= {
        f"{layer.name}_{kind}" for layer in project.layers for kind in ("rgba", "matte", "lighting", "st")
    } and seen & {"Combined", "Image"}
