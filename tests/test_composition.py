"""A composition works out again only what depends on the edits that changed, and draws the same as one made anew."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from truth_project import make_truth_project

from layerloom import media
from layerloom.compose.composition import Composition, compose
from layerloom.compose.patch import LayerPatches, Patch
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.edits.canvas import At, Overlay, Paint, Place
from layerloom.edits.document import Background, Edit, Hide
from layerloom.edits.shot import Camera, Freeze, Keyframe, Move, Speed, Unseen
from layerloom.render.renderer import Renderer
from layerloom.synthetic.clip import make_clip

SIZE, FRAMES = (160, 96), 4


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("project"), make_clip(SIZE, FRAMES, seed=3))


@pytest.fixture
def edits(project: Project, tmp_path: Path) -> list[Edit]:
    """An overlay on the object, a placed picture on the background, and a painting of frame 1 on both."""
    width, height = project.layers[0].canvas
    cover = np.zeros((height, width, 4), np.uint8)
    cover[height // 4 : height // 2, width // 4 : 3 * width // 4] = (200, 40, 60, 255)
    picture = np.full((12, 20, 4), (30, 180, 90, 255), np.uint8)
    paint = np.zeros((SIZE[1], SIZE[0], 4), np.uint8)
    cv2.circle(paint, (SIZE[0] // 2, SIZE[1] // 2), 15, (250, 250, 20, 255), -1)
    for name, image in {"cover": cover, "picture": picture, "paint": paint}.items():
        media.write_image(tmp_path / f"{name}.png", image)
    x, y = project.layers[1].canvas[0] / 2, project.layers[1].canvas[1] / 2
    return [
        Overlay("object", tmp_path / "cover.png"),
        Place("background", tmp_path / "picture.png", At(x, y)),
        Paint(1, tmp_path / "paint.png"),
    ]


def patches_of(composition: Composition, layer: int) -> LayerPatches:
    (everywhere,) = composition.canvas.passes(None)
    patches = everywhere.patches[layer]
    assert patches is not None
    return patches


def moved(edits: list[Edit], right: float) -> list[Edit]:
    overlay, place, *others = edits
    assert isinstance(place, Place) and place.place.x is not None
    return [overlay, replace(place, place=replace(place.place, x=place.place.x + right)), *others]


def test_a_moved_picture_leaves_all_other_parts_as_they_are(project: Project, edits: list[Edit]) -> None:
    first = compose(project, edits)
    # Whatever is read again is missed now.
    for edit in edits:
        assert isinstance(edit, Overlay | Place | Paint)
        stamp = edit.file.stat()
        edit.file.write_bytes(edit.file.read_bytes()[::-1])
        os.utime(edit.file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    second = first.with_edits(moved(edits, 7.0))
    assert second.shots is first.shots and second.light is first.light
    assert patches_of(second, 0) is patches_of(first, 0)
    assert patches_of(second, 1) is not patches_of(first, 1)
    third = second.with_edits(moved(edits, 7.0))
    assert all(patches_of(third, layer) is patches_of(second, layer) for layer in (0, 1))
    fourth = third.with_edits(edits)
    before, after = (patches_of(each, 1).at(0.0) for each in (first, fourth))
    assert isinstance(before, Patch) and isinstance(after, Patch)
    np.testing.assert_array_equal(before.change, after.change)


def test_a_changed_file_is_read_again(project: Project, edits: list[Edit]) -> None:
    first = compose(project, edits)
    assert isinstance(edits[0], Overlay)
    width, height = project.layers[0].canvas
    media.write_image(edits[0].file, np.full((height, width, 4), (10, 20, 250, 128), np.uint8))
    second = first.with_edits(edits)
    assert patches_of(second, 0) is not patches_of(first, 0)
    assert patches_of(second, 1) is patches_of(first, 1)


def test_one_renderer_draws_what_new_ones_draw(project: Project, edits: list[Edit]) -> None:
    """One composition after the other, in both modes and at any frame, with nothing of the one before left."""
    renderer, composition = Renderer(project, "cpu"), compose(project)
    others: list[list[Edit]] = [
        edits,
        moved(edits, 9.0),
        [*edits, Hide("object")],
        [*edits, Background("#2040c0")],
        [Move("object", 20.0), *edits],
        [*edits, Freeze("object", 2), Speed(0.5)],
        [Camera((Keyframe(0, x=12.0),)), Unseen("transparent")],
        edits,
    ]
    for changed in others:
        composition = composition.with_edits(changed)
        for mode in ("detail", "synthesis"):
            for frame in (1, 2):
                expected = Renderer(project, "cpu").draw(compose(project, changed), frame, mode)
                np.testing.assert_array_equal(renderer.draw(composition, frame, mode), expected)


def test_previews_are_the_frame_made_smaller(project: Project, edits: list[Edit]) -> None:
    renderer = Renderer(project, "cpu")
    for some in (edits, [*edits, Move("object", 10.0)]):
        composition = compose(project, some)
        small = media.to_float(renderer.draw(composition, 2, scale=0.5))
        full = media.to_float(renderer.draw(composition, 2))
        assert small.shape == (SIZE[1] // 2, SIZE[0] // 2, 3)
        shrunk = cv2.resize(full, (SIZE[0] // 2, SIZE[1] // 2), interpolation=cv2.INTER_AREA)
        assert -10 * np.log10(np.square(small - shrunk).mean()) > 30


def test_a_renderer_refuses_what_is_not_its_own(project: Project, tmp_path: Path) -> None:
    other = make_truth_project(tmp_path, make_clip(SIZE, 2, seed=4))
    renderer = Renderer(project, "cpu")
    with pytest.raises(ValueError, match="another project"):
        renderer.draw(compose(other), 0)
    with pytest.raises(LayerloomError, match="no layer 'nobody'"):
        compose(project).with_edits([Hide("nobody")])
