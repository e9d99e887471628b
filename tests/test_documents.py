"""Layered documents: what is written opens as layers; saved unchanged it is no edit; painted on it is one."""

import io
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image
from psd_tools import PSDImage
from truth_project import make_truth_project

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.edits.canvas import Overlay, Texture
from layerloom.export.export import export
from layerloom.media.layered_documents import read_picture
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import make_clip

RED = (230, 20, 30)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), make_clip(size=(160, 96), frames=2, seed=1))


@pytest.fixture(scope="module")
def exported(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "out"
    export(project, folder, parts={"psd", "ora"})
    return folder


def run(project: Project, *edits: Texture | Overlay) -> np.ndarray:
    return np.stack(list(render_images(project, edits)))


def repack_ora(path: Path, changed: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()} | changed
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def png(picture: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(picture).save(data, "PNG")
    return data.getvalue()


def test_a_psd_has_the_texture_below_the_seen_mask_and_room_to_paint(project: Project, exported: Path) -> None:
    for layer in project.layers:
        document = PSDImage.open(exported / layer.name / "texture.psd")
        assert (document.size, document.depth) == (layer.canvas, 8)
        assert [(part.name, part.visible) for part in document] == [
            ("texture", True),
            ("seen", False),
            ("paint here", True),
        ]
        texture = media.quantise(layer.texture, 8)
        np.testing.assert_array_equal(np.asarray(document[0].topil())[..., :3], texture[..., :3])
        np.testing.assert_array_equal(np.asarray(document[1].topil())[..., :3], np.repeat(texture[..., 3:], 3, 2))


def test_an_ora_has_the_same_layers(project: Project, exported: Path) -> None:
    for layer in project.layers:
        with zipfile.ZipFile(exported / layer.name / "texture.ora") as archive:
            first = archive.infolist()[0]
            assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
            assert archive.read("mimetype") == b"image/openraster"
            image = ElementTree.fromstring(archive.read("stack.xml"))
            assert (image.get("w"), image.get("h")) == tuple(str(side) for side in layer.canvas)
            found = [(entry.get("name"), entry.get("visibility")) for entry in image.iter("layer")]
            assert found == [("paint here", "visible"), ("seen", "hidden"), ("texture", "visible")]
            pictures = [np.asarray(Image.open(archive.open(str(e.get("src"))))) for e in image.iter("layer")]
            merged = np.asarray(Image.open(archive.open("mergedimage.png")))
            assert max(Image.open(archive.open("Thumbnails/thumbnail.png")).size) <= 256
        assert pictures[0].shape[2] == 4 and not pictures[0].any()
        texture = media.quantise(layer.texture, 8)
        np.testing.assert_array_equal(pictures[2], texture[..., :3])
        np.testing.assert_array_equal(merged, texture[..., :3])


@pytest.mark.parametrize("suffix", ["psd", "ora"])
def test_a_document_saved_unchanged_is_no_edit(project: Project, exported: Path, suffix: str) -> None:
    edits = [Texture(layer.name, exported / layer.name / f"texture.{suffix}") for layer in project.layers]
    np.testing.assert_array_equal(run(project, *edits), run(project))


def paint(project: Project) -> np.ndarray:
    width, height = project.layers[0].canvas
    picture = np.zeros((height, width, 4), np.uint8)
    cv2.circle(picture, (width // 2, height // 2), height // 4, (*RED, 255), -1)
    return picture


def test_paint_on_a_psd_is_the_same_edit_as_on_the_texture(project: Project, exported: Path, tmp_path: Path) -> None:
    painted = paint(project)
    document = PSDImage.open(exported / "object" / "texture.psd")
    document.create_pixel_layer(Image.fromarray(painted), name="logo")
    document.save(tmp_path / "edited.psd")
    flat = media.quantise(project.layers[0].texture, 8)
    flat[painted[..., 3] > 0] = (*RED, 255)
    media.write_image(tmp_path / "edited.png", flat)
    first, second = (run(project, Texture("object", tmp_path / f"edited.{kind}")) for kind in ("psd", "png"))
    np.testing.assert_array_equal(first, second)
    assert (first != run(project)).any()


def test_paint_on_an_ora_is_the_same_edit_as_on_the_texture(project: Project, exported: Path, tmp_path: Path) -> None:
    painted = paint(project)
    flat = media.quantise(project.layers[0].texture, 8)
    flat[painted[..., 3] > 0] = (*RED, 255)
    media.write_image(tmp_path / "edited.png", flat)
    edited = tmp_path / "edited.ora"
    edited.write_bytes((exported / "object" / "texture.ora").read_bytes())
    repack_ora(edited, {"data/paint-here.png": png(painted)})
    first, second = (run(project, Texture("object", tmp_path / f"edited.{kind}")) for kind in ("ora", "png"))
    np.testing.assert_array_equal(first, second)
    assert (first != run(project)).any()


def ora(path: Path, stack: str, **pictures: np.ndarray) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("stack.xml", stack)
        for name, picture in pictures.items():
            archive.writestr(f"{name}.png", png(picture))
    return path


def test_layers_of_an_ora_are_flattened_by_place_opacity_and_visibility(tmp_path: Path) -> None:
    below, above = np.full((4, 6, 3), 100, np.uint8), np.full((3, 3, 4), (200, 0, 0, 255), np.uint8)
    stack = """<image w="6" h="4"><stack><layer src="below.png" visibility="hidden"/>
        <stack><layer src="above.png" x="-1" y="2" opacity="0.5"/></stack><layer src="below.png"/></stack></image>"""
    expected = np.dstack([below, np.full((4, 6), 255, np.uint8)])
    expected[2:, :2, :3] = (150, 50, 50)
    np.testing.assert_array_equal(read_picture(ora(tmp_path / "a.ora", stack, below=below, above=above)), expected)


@pytest.mark.parametrize("group", ['<stack composite-op="svg:multiply">', '<stack opacity="0.5">'])
def test_an_ora_with_blends_gives_the_picture_that_its_program_flattened(group: str, tmp_path: Path) -> None:
    grey, red = np.full((4, 6, 3), 100, np.uint8), np.full((4, 6, 3), (200, 0, 0), np.uint8)
    stack = f'<image w="6" h="4"><stack>{group}<layer src="grey.png"/></stack></stack></image>'
    np.testing.assert_array_equal(read_picture(ora(tmp_path / "a.ora", stack, grey=grey, mergedimage=red)), red)
    with pytest.raises(LayerloomError, match=r"b.ora: no mergedimage.png in it"):
        read_picture(ora(tmp_path / "b.ora", stack, grey=grey))


def test_a_psd_with_its_texture_hidden_is_an_overlay(project: Project, exported: Path, tmp_path: Path) -> None:
    painted = paint(project)
    painted[..., 3] //= 2
    document = PSDImage.open(exported / "object" / "texture.psd")
    document[0].visible = False
    document.create_pixel_layer(Image.fromarray(painted), name="half a logo")
    document.save(tmp_path / "overlay.psd")
    picture = read_picture(tmp_path / "overlay.psd")
    np.testing.assert_array_equal(picture[..., 3], painted[..., 3])
    inside = painted[..., 3] > 0
    assert np.abs(picture[inside].astype(int) - painted[inside]).max() <= 1
    media.write_image(tmp_path / "overlay.png", painted)
    first, second = (run(project, Overlay("object", tmp_path / f"overlay.{kind}")) for kind in ("psd", "png"))
    assert np.abs(first.astype(int) - second).max() <= 1


def test_a_psd_turned_to_16_bit_keeps_its_depth_and_is_no_edit(project: Project, tmp_path: Path) -> None:
    layer = project.layers[0]
    document = PSDImage.new("RGB", layer.canvas, depth=16)
    document.create_pixel_layer(Image.fromarray(media.quantise(layer.texture, 8)[..., :3]), name="texture")
    document.save(tmp_path / "deep.psd")
    assert read_picture(tmp_path / "deep.psd").dtype == np.uint16
    np.testing.assert_array_equal(run(project, Texture("object", tmp_path / "deep.psd")), run(project))


def test_documents_that_cannot_be_read_say_so(tmp_path: Path) -> None:
    for suffix in ("psd", "ora"):
        with pytest.raises(LayerloomError, match="no such file"):
            read_picture(tmp_path / f"absent.{suffix}")
        broken = tmp_path / f"broken.{suffix}"
        broken.write_bytes(b"8BPS but not really")
        with pytest.raises(LayerloomError, match=f"broken.{suffix}: not a readable"):
            read_picture(broken)
    with zipfile.ZipFile(tmp_path / "empty.ora", "w") as archive:
        archive.writestr("mimetype", "image/openraster")
    with pytest.raises(LayerloomError, match=r"empty.ora: no mergedimage.png"):
        read_picture(tmp_path / "empty.ora")
    PSDImage.new("CMYK", (8, 6)).save(tmp_path / "print.psd")
    with pytest.raises(LayerloomError, match=r"print.psd: a document in CMYK; RGB is allowed"):
        read_picture(tmp_path / "print.psd")
