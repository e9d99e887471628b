"""Edited textures as other libraries write them: Pillow, OpenCV, OpenEXR, psd-tools, a zip with a PNG in it.

Each file is the exported texture with a block painted on it. All must give the edit that a plain 16-bit PNG gives.
"""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image
from psd_tools import PSDImage
from truth_project import make_truth_project

from layerloom import media
from layerloom.data.project import Project
from layerloom.edits.canvas import Overlay, Texture
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

COLOUR = (0.8, 0.1, 0.25)
Picture = np.ndarray
"""RGB or straight RGBA, floats in [0, 1]."""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(160, 96), frames=2, seed=1))


@pytest.fixture(scope="module")
def unedited(project: Project) -> np.ndarray:
    return np.stack(list(render_images(project)))


@pytest.fixture(scope="module")
def expected(project: Project, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    file = tmp_path_factory.mktemp("plain") / "plain.png"
    media.write_image(file, media.quantise(painted(project, 4), 16))
    return np.stack(list(render_images(project, [Texture("object", file)])))


def block(project: Project) -> tuple[slice, slice]:
    width, height = project.layers[0].canvas
    return np.s_[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3]


def painted(project: Project, channels: int) -> Picture:
    texture = project.layers[0].texture[..., :channels].copy()
    texture[block(project)] = (*COLOUR, 1.0)[:channels]
    return texture


def levels(picture: Picture, depth: int = 8) -> np.ndarray:
    return media.quantise(picture, depth)


def pillow(**options: object) -> Callable[[Path, Picture], object]:
    return lambda path, picture: Image.fromarray(levels(picture)).save(path, **options)  # pyright: ignore


def opencv(depth: int) -> Callable[[Path, Picture], object]:
    def write(path: Path, picture: Picture) -> None:
        pixels = picture if depth == 32 else levels(picture, depth)
        assert cv2.imwrite(str(path), pixels[..., [2, 1, 0, 3][: picture.shape[2]]])

    return write


def openexr(dtype: type, compression: OpenEXR.Compression) -> Callable[[Path, Picture], object]:
    def write(path: Path, picture: Picture) -> None:
        planes = {
            name: np.ascontiguousarray(picture[..., i], dtype) for i, name in enumerate("RGBA"[: picture.shape[2]])
        }
        OpenEXR.File({"compression": compression, "type": OpenEXR.scanlineimage}, planes).write(str(path))

    return write


def photoshop(depth: int, layered: bool) -> Callable[[Path, Picture], object]:
    def write(path: Path, picture: Picture) -> None:
        image = Image.fromarray(levels(picture))
        if layered:
            document = PSDImage.new("RGB", image.size, depth=depth)  # pyright: ignore[reportArgumentType]
            document.create_pixel_layer(image, name="texture")
        else:
            document = PSDImage.frompil(image)
        document.save(path)

    return write


def openraster(path: Path, picture: Picture) -> None:
    data = io.BytesIO()
    Image.fromarray(levels(picture)).save(data, "PNG")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "image/openraster")
        archive.writestr("mergedimage.png", data.getvalue())


WRITERS = {
    "Pillow, PNG": ("a.png", pillow()),
    "Pillow, PNG, interlaced": ("a.png", pillow(optimize=True)),
    "Pillow, TIFF": ("a.tif", pillow()),
    "Pillow, TIFF, LZW": ("a.tiff", pillow(compression="tiff_lzw")),
    "Pillow, TIFF, Deflate": ("a.tif", pillow(compression="tiff_adobe_deflate")),
    "Pillow, WebP": ("a.webp", pillow(lossless=True, exact=True)),
    "Pillow, BMP": ("a.bmp", pillow()),
    "OpenCV, PNG, 16 bit": ("a.png", opencv(16)),
    "OpenCV, TIFF, 16 bit": ("a.tif", opencv(16)),
    "OpenCV, TIFF, 32 bit": ("a.tif", opencv(32)),
    "OpenEXR, half, PIZ": ("a.exr", openexr(np.float16, OpenEXR.PIZ_COMPRESSION)),
    "OpenEXR, float, ZIPS": ("a.exr", openexr(np.float32, OpenEXR.ZIPS_COMPRESSION)),
    "OpenEXR, float, none": ("a.exr", openexr(np.float32, OpenEXR.NO_COMPRESSION)),
    "psd-tools, flat": ("a.psd", photoshop(8, layered=False)),
    "psd-tools, 8 bit": ("a.psd", photoshop(8, layered=True)),
    "psd-tools, 16 bit": ("a.psd", photoshop(16, layered=True)),
    "psd-tools, 32 bit": ("a.psd", photoshop(32, layered=True)),
    "OpenRaster": ("a.ora", openraster),
}


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("writer", list(WRITERS))
def test_an_edited_texture_comes_in(
    writer: str, channels: int, project: Project, expected: np.ndarray, unedited: np.ndarray, tmp_path: Path
) -> None:
    name, write = WRITERS[writer]
    write(tmp_path / name, painted(project, channels))
    edited = np.stack(list(render_images(project, [Texture("object", tmp_path / name)])))
    assert (edited != unedited).any(-1).mean() > 0.01
    assert np.abs(edited.astype(int) - expected).max() <= 1
    # Nothing but the block counts as an edit: elsewhere every pixel is the source's own.
    np.testing.assert_array_equal((edited != unedited).any(-1) & (expected == unedited).all(-1), False)


@pytest.mark.parametrize("factor", [0.5, 2])
@pytest.mark.parametrize(
    "writer", ["Pillow, TIFF, LZW", "Pillow, WebP", "OpenEXR, half, PIZ", "psd-tools, 8 bit", "OpenRaster"]
)
def test_an_edited_texture_of_another_size_comes_in(
    writer: str, factor: float, project: Project, expected: np.ndarray, unedited: np.ndarray, tmp_path: Path
) -> None:
    name, write = WRITERS[writer]
    texture = project.layers[0].texture[..., :3].copy()
    size = round(texture.shape[1] * factor), round(texture.shape[0] * factor)
    picture = cv2.resize(texture, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)
    picture = np.clip(picture, 0, 1)
    rows, columns = (slice(round(side.start * factor), round(side.stop * factor)) for side in block(project))
    picture[rows, columns] = COLOUR
    write(tmp_path / name, picture)
    edited = np.stack(list(render_images(project, [Texture("object", tmp_path / name)])))
    difference = np.abs(edited.astype(int) - expected).max(-1)
    # The block's outline falls between texels of the other size, and cubic interpolation rings beside it.
    outline = cv2.dilate((expected != unedited).any(-1).astype(np.uint8).transpose(1, 2, 0), np.ones((5, 5)))
    core = cv2.erode((expected != unedited).any(-1).astype(np.uint8).transpose(1, 2, 0), np.ones((13, 13)))
    assert core.sum() > 300
    assert difference[core.transpose(2, 0, 1) > 0].max() <= 2
    np.testing.assert_array_equal((edited != unedited).any(-1)[outline.transpose(2, 0, 1) == 0], False)


@pytest.mark.parametrize("writer", [name for name in WRITERS if "BMP" not in name and "flat" not in name])
def test_an_overlay_comes_in(writer: str, project: Project, tmp_path: Path) -> None:
    name, write = WRITERS[writer]
    picture = np.zeros_like(project.layers[0].texture)
    picture[block(project)] = (*COLOUR, 0.6)
    write(tmp_path / name, picture)
    media.write_image(tmp_path / "plain.png", media.quantise(picture, 16))
    first, second = (
        np.stack(list(render_images(project, [Overlay("object", tmp_path / file)]))) for file in (name, "plain.png")
    )
    assert np.abs(first.astype(int) - second).max() <= 1
