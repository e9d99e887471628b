"""GIMP paints on the exported document, Krita saves it again: nothing but the paint comes back."""

from pathlib import Path

import numpy as np
import pytest
from programs import Program, find

from layerloom import media
from layerloom.data.project import Project
from layerloom.edits.canvas import Texture
from layerloom.media.layered_documents import read_picture
from layerloom.render.stream import render_images

BOX = (slice(40, 60), slice(30, 55))
"""Rows and columns that are painted."""
COLOUR = (250, 20, 30)
PAINT = """
(let* ((image (car (gimp-file-load RUN-NONINTERACTIVE "{source}" "texture")))
       (layer (car (gimp-image-get-layer-by-name image "paint here"))))
  (gimp-context-set-foreground '(250 20 30))
  (gimp-image-select-rectangle image CHANNEL-OP-REPLACE 30 40 25 20)
  (gimp-edit-fill layer FILL-FOREGROUND)
  (gimp-selection-none image)
  (gimp-file-save RUN-NONINTERACTIVE image layer "{document}" "document")
  (let* ((flat (car (gimp-image-merge-visible-layers image CLIP-TO-IMAGE))))
    (gimp-file-save RUN-NONINTERACTIVE image flat "{picture}" "picture")))
"""


@pytest.fixture(scope="module")
def painted(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PSD that GIMP painted on, and beside it the picture that GIMP shows then."""
    gimp = find("gimp-console")
    folder = tmp_path_factory.mktemp("gimp")
    source, document, picture = (folder / name for name in ("texture.psd", "painted.psd", "painted.png"))
    source.write_bytes((exported / "object1" / "texture.psd").read_bytes())
    program = PAINT.format(source=source, document=document, picture=picture)
    said = gimp.run("-i", "-d", "-f", "-n", "-b", program, "-b", "(gimp-quit 0)")
    assert document.is_file() and picture.is_file(), said
    return document


@pytest.fixture(scope="module")
def krita(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """On a display that nobody sees, with settings of its own."""
    program = find("krita", "xvfb-run", "-a")
    home = tmp_path_factory.mktemp("home")
    return Program("krita", ("env", f"HOME={home}", *program.command, "--export", "--export-filename"))


def check_paint(project: Project, picture: np.ndarray) -> None:
    """The paint is there to the last level, and every other texel is the exported one."""
    texture = media.quantise(project.layers[0].texture[..., :3], 8)
    assert picture.dtype == np.uint8 and (picture[BOX][..., :3] == COLOUR).all()
    outside = np.ones(texture.shape[:2], np.bool_)
    outside[BOX] = False
    np.testing.assert_array_equal(picture[outside][:, :3], texture[outside])


def test_paint_is_seen_and_comes_back(project: Project, painted: Path) -> None:
    check_paint(project, media.read_image(painted.with_suffix(".png")))
    check_paint(project, read_picture(painted))


def test_krita_saves_an_openraster_as_it_was(krita: Program, project: Project, exported: Path, tmp_path: Path) -> None:
    krita.run(tmp_path / "again.ora", exported / "object1" / "texture.ora")
    picture = read_picture(tmp_path / "again.ora")
    np.testing.assert_array_equal(picture[..., :3], media.quantise(project.layers[0].texture[..., :3], 8))


def test_a_document_saved_again_is_the_same_edit(
    krita: Program, project: Project, painted: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again.psd"
    krita.run(again, painted)
    check_paint(project, read_picture(again))
    first, second = (np.stack(list(render_images(project, [Texture("object1", file)]))) for file in (painted, again))
    np.testing.assert_array_equal(first, second)
