"""Edited textures as other programs save them: other sizes, depths and formats, with alpha and without."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from truth_project import make_truth_project

from layerloom import media
from layerloom.data.layer_store import Layer
from layerloom.data.project import Project
from layerloom.edits.canvas import Texture
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

COLOUR = (200, 30, 60)
FILTERS = [Image.Resampling.BOX, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BILINEAR]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(240, 136), frames=2, seed=5))


@pytest.fixture(scope="module")
def unedited(project: Project) -> np.ndarray:
    return np.stack(list(render_images(project)))


def run(project: Project, layer: str, file: Path) -> np.ndarray:
    return np.stack(list(render_images(project, [Texture(layer, file)])))


def exported(layer: Layer, channels: int, depth: int) -> np.ndarray:
    return media.quantise(np.ascontiguousarray(layer.texture[..., :channels]), depth)


def save(path: Path, picture: np.ndarray) -> Path:
    """As OpenCV writes it; lossless."""
    order = [2, 1, 0, 3][: picture.shape[2]]
    lossless = [cv2.IMWRITE_WEBP_QUALITY, 101] if path.suffix == ".webp" else []
    assert cv2.imwrite(str(path), picture[..., order], lossless)
    return path


def scaled(layer: Layer, factor: float) -> tuple[int, int]:
    width, height = layer.canvas
    return round(width * factor), round(height * factor)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize(("name", "depth"), [("a.png", 8), ("a.png", 16), ("a.tif", 8), ("a.tif", 16), ("a.webp", 8)])
def test_every_format_saved_unchanged_is_no_edit(
    project: Project, unedited: np.ndarray, tmp_path: Path, name: str, depth: int, channels: int
) -> None:
    file = save(tmp_path / name, exported(project.layers[0], channels, depth))
    assert media.read_image(file).dtype == {8: np.uint8, 16: np.uint16}[depth]
    np.testing.assert_array_equal(run(project, "object", file), unedited)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.exr"])
def test_an_8_bit_copy_saved_deeper_is_no_edit(
    project: Project, unedited: np.ndarray, tmp_path: Path, name: str
) -> None:
    """As when a layered document, which is exported at 8 bit, is turned into a deeper one."""
    rounded = media.to_float(exported(project.layers[0], 3, 8))
    media.write_image(tmp_path / "a.exr", rounded)
    if name != "a.exr":
        save(tmp_path / name, media.quantise(rounded, 16))
    np.testing.assert_array_equal(run(project, "object", tmp_path / name), unedited)


@pytest.mark.parametrize("name", ["a.exr", "a.tif"])
def test_floats_saved_unchanged_are_no_edit(project: Project, unedited: np.ndarray, tmp_path: Path, name: str) -> None:
    texture = project.layers[0].texture
    file = tmp_path / name
    if name == "a.exr":
        media.write_image(file, texture)
    else:
        save(file, texture)
    assert media.read_image(file).dtype == np.float32
    np.testing.assert_array_equal(run(project, "object", file), unedited)


@pytest.mark.parametrize("resampling", FILTERS)
@pytest.mark.parametrize("factor", [0.4, 0.5, 1.37, 2])
def test_a_texture_scaled_by_another_program_is_no_edit(
    project: Project, unedited: np.ndarray, tmp_path: Path, factor: float, resampling: Image.Resampling
) -> None:
    for layer in project.layers:
        if resampling == Image.Resampling.BOX and factor > 1:
            continue
        picture = Image.fromarray(exported(layer, 3, 8)).resize(scaled(layer, factor), resampling)
        file = save(tmp_path / "scaled.png", np.asarray(picture))
        np.testing.assert_array_equal(run(project, layer.name, file), unedited)


@pytest.mark.parametrize(
    ("factor", "interpolation"), [(0.37, cv2.INTER_AREA), (0.5, cv2.INTER_AREA), (2, cv2.INTER_CUBIC)]
)
def test_a_texture_scaled_by_opencv_is_no_edit(
    project: Project, unedited: np.ndarray, tmp_path: Path, factor: float, interpolation: int
) -> None:
    for layer in project.layers:
        picture = cv2.resize(exported(layer, 3, 8), scaled(layer, factor), interpolation=interpolation)
        np.testing.assert_array_equal(run(project, layer.name, save(tmp_path / "scaled.png", picture)), unedited)


def test_colour_that_scaling_weighted_by_alpha_is_no_edit(tmp_path: Path) -> None:
    """Paint programs hold colour premultiplied while they resample, and drop it where alpha is zero."""
    project = make_truth_project(tmp_path, make_clip(size=(160, 96), frames=2, seed=5))
    layer = project.layers[0]
    texture = layer.texture.copy()
    width, height = layer.canvas
    alpha = np.zeros((height, width), np.float32)
    cv2.ellipse(alpha, ((width / 2, height / 2), (width * 0.6, height * 0.5), 20), 1.0, -1)
    texture[..., 3] = cv2.GaussianBlur(alpha, (0, 0), 3)
    layer.texture[:] = media.to_float(media.quantise(texture, 16))
    picture = Image.fromarray(exported(project.layers[0], 4, 8), "RGBA")
    small = np.asarray(picture.resize(scaled(layer, 0.5), Image.Resampling.BICUBIC))  # Pillow premultiplies
    file = save(tmp_path / "small.png", small)
    np.testing.assert_array_equal(run(project, "object", file), np.stack(list(render_images(project))))


@pytest.mark.parametrize("factor", [0.5, 1.37, 2])
def test_paint_on_a_scaled_texture_covers_and_leaves_the_rest(
    project: Project, unedited: np.ndarray, tmp_path: Path, factor: float
) -> None:
    layer = project.layers[0]
    width, height = scaled(layer, factor)
    picture = np.array(Image.fromarray(exported(layer, 3, 8)).resize((width, height), Image.Resampling.LANCZOS))
    picture[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = COLOUR
    edited = run(project, "object", save(tmp_path / "painted.png", picture))
    low, high = np.array(layer.canvas) / 3, np.array(layer.canvas) * 2 / 3
    for frame in range(2):
        uv = project.uv(0, frame)
        inside = ((uv > low + 6) & (uv < high - 6)).all(-1)
        assert inside.sum() > 150
        expected = np.clip(project.lighting(0, frame) * np.array(COLOUR, np.float32) / 255, 0, 1)
        covered = project.own_alpha(0, frame) == 1
        assert np.abs(media.to_float(edited[frame]) - expected)[inside & covered].max() < 1.5 / 255
        outside = ((uv < low - 6) | (uv > high + 6)).any(-1)
        np.testing.assert_array_equal(edited[frame][outside], unedited[frame][outside])


def test_a_grade_of_a_scaled_texture_leaves_no_holes(project: Project, unedited: np.ndarray, tmp_path: Path) -> None:
    layer = project.layers[0]
    picture = Image.fromarray(exported(layer, 3, 8)).resize(scaled(layer, 0.5), Image.Resampling.BICUBIC)
    graded = (np.asarray(picture).astype(np.float32) * (0.8, 0.9, 1)).astype(np.uint8)
    edited = run(project, "object", save(tmp_path / "graded.png", graded))
    expected = media.to_float(unedited) * np.array([0.8, 0.9, 1], np.float32)
    for frame in range(2):
        uv = project.uv(0, frame)
        shown = (project.own_alpha(0, frame) == 1) & ((uv > 4) & (uv < np.array(layer.canvas) - 4)).all(-1)
        error = np.abs(media.to_float(edited[frame]) - expected[frame])[shown]
        assert error.mean() < 0.02
