"""OpenImageIO: ST maps are what its warp takes, and an EXR's layers are named as others name them."""

from pathlib import Path

import numpy as np
import pytest
from programs import FRAMES, SIZE, Program, find

from layerloom import media
from layerloom.data.project import Project
from layerloom.render.stream import render_images


@pytest.fixture(scope="module")
def oiiotool() -> Program:
    return find("oiiotool")


def test_the_shot_is_rebuilt_by_st_warp(oiiotool: Program, project: Project, exported: Path, tmp_path: Path) -> None:
    """Σ matte · lighting · texture(st) by its own words alone; its t counts from the top."""
    words: list[str | Path] = []
    for number, layer in enumerate(project.layers):
        folder = exported / layer.name
        # A warped picture is as large as the one that is warped: room for the frame, beside texels or within them.
        words += [folder / "texture.png", "--ch", "R,G,B", "--crop", "400x400+0+0", folder / "st" / "00001.exr"]
        words += ["--st_warp:flip_t=1:filter=triangle", "--cut", f"{SIZE[0]}x{SIZE[1]}+0+0"]
        words += [folder / "lighting" / "00001.exr", "--mul"]
        words += [folder / "matte" / "00001.png", "--ch", "0,0,0", "--mul"]
        words += ["--add"] if number else []
    oiiotool.run(*words, "-d", "float", "-o", tmp_path / "shot.exr")
    shot = media.read_image(tmp_path / "shot.exr")[..., :3]
    expected = list(render_images(project, frames=FRAMES, mode="synthesis"))[1]
    assert -10 * np.log10(np.square(shot - media.to_float(expected)).mean()) > 50


def test_a_frames_layers_have_names(oiiotool: Program, project: Project, exported: Path) -> None:
    said = oiiotool.run("--info", "-v", exported / "exr" / "00000.exr")
    assert "channel list: R (half), G (half), B (half), A (half)" in said and "subimages: 1" in said
    for layer in project.layers:
        for channel in ("rgba.A (half)", "matte.A (float)", "lighting.R (half)", "st.B (float)"):
            assert f"{layer.name}_{channel}" in said


def test_mattes_sum_to_one(oiiotool: Program, project: Project, exported: Path, tmp_path: Path) -> None:
    files = [exported / layer.name / "matte" / "00000.png" for layer in project.layers]
    oiiotool.run(files[0], files[1], "--add", files[2], "--add", "-d", "float", "-o", tmp_path / "sum.exr")
    np.testing.assert_allclose(media.read_image(tmp_path / "sum.exr"), 1, atol=1e-6)
