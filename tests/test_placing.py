"""Placed pictures, films and words: where they are in every frame, by the truth of a synthetic clip."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from truth_project import make_truth_project

from layerloom import media
from layerloom.compose.placement import PlacedPicture
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import pixel_centres
from layerloom.data.project import Project
from layerloom.edits.canvas import At, Overlay, Place, Text
from layerloom.edits.document import Edit
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip, make_clip

FRAMES = 6


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip(size=(240, 136), frames=FRAMES, seed=5)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


def run(project: Project, edits: Sequence[Edit]) -> np.ndarray:
    return media.to_float(np.stack(list(render_images(project, edits))))


def picture(tmp_path: Path, size: tuple[int, int] = (40, 24)) -> Path:
    """Opaque: left half red, right half blue."""
    pixels = np.full((size[1], size[0], 4), (220, 30, 30, 255), np.uint8)
    pixels[:, size[0] // 2 :] = (30, 40, 220, 255)
    media.write_image(tmp_path / "picture.png", pixels)
    return tmp_path / "picture.png"


def middle_of(clip: SyntheticClip, frame: int) -> tuple[float, float]:
    """Of the object."""
    rows, columns = np.nonzero(clip.alpha[0, frame] > 0.99)
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def flatness(project: Project, spot: PlacedPicture, frame: int) -> float:
    """How far, in pixels, what a picture shows in a frame is from the homography that fits it best."""
    look_ups = spot.look_ups(float(frame))
    assert look_ups is not None
    height, width = look_ups.x.shape
    texels = pixel_centres((width, height)) + np.array([look_ups.left, look_ups.top], np.float32)
    xy, _ = project.find_xy(0, frame, texels)
    shown = np.stack([look_ups.x, look_ups.y], -1)
    inside = ((shown > 0) & (shown < np.array(spot.size) - 1)).all(-1)
    homography, _ = cv2.findHomography(shown[inside], xy[inside])
    fitted = cv2.perspectiveTransform(shown[inside][None], homography)[0]
    return float(np.abs(fitted - xy[inside]).max())


def test_a_rigid_picture_stays_flat_and_a_bent_one_bends(project: Project, clip: SyntheticClip) -> None:
    x, y = middle_of(clip, 1)
    bent = PlacedPicture(project, 0, At(x, y, frame=1), (50, 40), 1.0)
    rigid = PlacedPicture(project, 0, At(x, y, frame=1, rigid=True), (50, 40), 1.0)
    for frame in range(FRAMES):
        assert flatness(project, rigid, frame) < 0.06
    assert flatness(project, bent, 1) < 0.06
    assert max(flatness(project, bent, frame) for frame in range(FRAMES)) > 0.5


def test_a_rigid_picture_follows_its_spot(project: Project, clip: SyntheticClip) -> None:
    """Its middle stays near the texel it was placed on; its size there is that of the surface."""
    x, y = middle_of(clip, 1)
    spot = PlacedPicture(project, 0, At(x, y, frame=1, rigid=True), (30, 30), 1.0)
    texel = project.uv_at(0, 1, np.array([[[x, y]]], np.float32))[0, 0]
    for frame in range(FRAMES):
        look_ups = spot.look_ups(float(frame))
        assert look_ups is not None
        column, row = texel[0] - 0.5 - look_ups.left, texel[1] - 0.5 - look_ups.top
        found = [
            cv2.getRectSubPix(plane, (1, 1), (float(column), float(row)))[0, 0] for plane in (look_ups.x, look_ups.y)
        ]
        assert np.abs(np.array(found) + 0.5 - np.array(spot.size) / 2).max() < 1


@pytest.mark.parametrize("rigid", [False, True])
@pytest.mark.parametrize("layer", [0, 1])
def test_a_picture_is_where_it_was_put_and_in_the_light(
    project: Project, clip: SyntheticClip, tmp_path: Path, layer: int, rigid: bool
) -> None:
    x, y = middle_of(clip, 2) if layer == 0 else (40.0, 30.0)
    place = At(x, y, frame=2, height=20.0, rotation_degrees=90.0, rigid=rigid)
    edited = run(project, [Place(clip.names[layer], picture(tmp_path), place)])
    # Turned clockwise by a right angle, its left half is above.
    for step, colour in ((-1, (220, 30, 30)), (1, (30, 40, 220))):
        for across in (-6, 0, 6):
            row, column = round(y + 8 * step), round(x + across)
            expected = np.array(colour) / 255 * clip.lighting[layer, 2, row, column]
            assert np.abs(edited[2, row, column] - np.clip(expected, 0, 1)).max() < 0.02
    shown = np.abs(edited[2] - media.to_float(clip.frames[2])).max(-1) > 0.04
    rows, columns = np.nonzero(shown)
    # Bilinear interpolation adds up to a pixel on each side.
    assert 19 <= np.ptp(columns) + 1 <= 23 and 33 <= np.ptp(rows) + 1 <= 37


def test_a_picture_on_texels_is_an_overlay_with_it_at_that_place(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path)
    width, height = project.layers[1].canvas
    overlay = np.zeros((height, width, 4), np.uint8)
    overlay[50:74, 60:100] = np.asarray(Image.open(file))
    media.write_image(tmp_path / "overlay.png", overlay)
    placed = run(project, [Place("background", file, At(80.0, 62.0))])
    np.testing.assert_array_equal(placed, run(project, [Overlay("background", tmp_path / "overlay.png")]))


def test_corners_pin_a_picture(project: Project, clip: SyntheticClip, tmp_path: Path) -> None:
    corners = ((30.0, 20.0), (90.0, 30.0), (84.0, 60.0), (34.0, 70.0))
    edited = run(project, [Place("background", picture(tmp_path), At(frame=2, corners=corners))])
    changed = (edited[2] != media.to_float(clip.frames[2])).any(-1)
    expected = np.zeros(changed.shape, np.uint8)
    cv2.fillConvexPoly(expected, np.array(corners, np.int32), 1)
    alone = clip.alpha[1, 2] == 1
    near_outline = cv2.dilate(expected, np.ones((5, 5))) != cv2.erode(expected, np.ones((5, 5)))
    np.testing.assert_array_equal(changed[alone & ~near_outline], expected[alone & ~near_outline] > 0)
    with pytest.raises(LayerloomError, match="corners go around it"):
        run(
            project,
            [Place("background", tmp_path / "picture.png", At(corners=corners[::2] + corners[1::2]))],
        )


@pytest.mark.parametrize("rigid", [False, True])
def test_a_film_shows_its_frames_one_after_the_other(project: Project, tmp_path: Path, rigid: bool) -> None:
    """At half the shot's rate each frame is shown twice; three frames loop or hold."""
    colours = [(200, 40, 40), (40, 200, 40), (40, 40, 200)]
    with media.open_writer(
        tmp_path / "film.mkv", (16, 12), [Fraction(i, 12) for i in range(2)], Fraction(12), "ffv1"
    ) as film:
        for colour in colours[:2]:
            film.write(np.full((12, 16, 3), colour, np.uint8))
    place = At(50.0, 40.0, frame=0, height=30.0, rigid=rigid)
    for ends, order in (("loop", [0, 0, 1, 1, 0, 0]), ("hold", [0, 0, 1, 1, 1, 1])):
        edited = run(project, [Place("background", tmp_path / "film.mkv", place, ends=ends)])
        for number in set(order):
            media.write_image(tmp_path / f"{number}.png", np.full((12, 16, 4), (*colours[number], 255), np.uint8))
            still = run(project, [Place("background", tmp_path / f"{number}.png", place)])
            for frame in np.flatnonzero(np.array(order) == number):
                np.testing.assert_array_equal(edited[frame], still[frame])


def test_a_film_may_cover_the_canvas_and_lie_between_other_edits(project: Project, tmp_path: Path) -> None:
    width, height = project.layers[1].canvas
    with media.open_writer(tmp_path / "film.mkv", (width, height), [Fraction(0)], Fraction(24), "ffv1") as film:
        film.write(np.full((height, width, 3), 128, np.uint8))
    media.write_image(tmp_path / "grey.png", np.full((height, width, 4), (128, 128, 128, 255), np.uint8))
    below = Text("background", "below", At(60.0, 40.0, frame=0))
    above = Text("background", "above", At(60.0, 60.0, frame=0), colour="#00ff00")
    film_edit, still = (Overlay("background", tmp_path / name, "multiply") for name in ("film.mkv", "grey.png"))
    first, second = (run(project, [below, edit, above]) for edit in (film_edit, still))
    assert np.abs(first - second).max() < 1.01 / 255
    assert (first != run(project, [below, above])).any()


def test_words_are_as_high_and_as_coloured_as_asked(project: Project, clip: SyntheticClip) -> None:
    place = At(120.0, 40.0, frame=2, height=80.0)
    edited = run(project, [Text("background", "HHH", place, colour="#10e020")])
    changed = np.abs(edited[2] - media.to_float(clip.frames[2])).max(-1) > 0.02
    rows, columns = np.nonzero(changed)
    # A capital is about 0.7 of the font's height; three of them are wider than they are high.
    assert 0.6 * 80 < np.ptp(rows) + 1 < 0.85 * 80 and np.ptp(columns) > 2 * np.ptp(rows)
    assert (
        abs((rows.min() + rows.max()) / 2 + 0.5 - 40) < 1.5
        and abs((columns.min() + columns.max()) / 2 + 0.5 - 120) < 1.5
    )
    core = cv2.erode(changed.astype(np.uint8), np.ones((7, 7))) > 0
    expected = np.array([0x10, 0xE0, 0x20]) / 255 * clip.lighting[1, 2]
    core &= clip.alpha[1, 2] == 1
    assert core.sum() > 20 and np.abs(edited[2] - np.clip(expected, 0, 1))[core].max() < 0.03


def test_words_in_lines_are_higher(project: Project) -> None:
    plain = run(project, [])
    heights = []
    for text in ("one", "one\ntwo"):
        edited = run(project, [Text("background", text, At(60.0, 60.0, frame=0))])
        heights.append(np.ptp(np.nonzero((edited[0] != plain[0]).any((1, 2)))[0]))
    assert heights[1] > 1.6 * heights[0]


def test_places_that_cannot_be(project: Project, tmp_path: Path) -> None:
    file = picture(tmp_path)
    with pytest.raises(LayerloomError, match=r"texel .* of layer 'object', outside of its canvas"):
        render_images(project, [Place("object", file, At(2.0, 2.0, frame=0))])
    with pytest.raises(LayerloomError, match=r"frame 9: .* has frames 0:6"):
        render_images(project, [Place("object", file, At(2.0, 2.0, frame=9))])
    with pytest.raises(LayerloomError, match="more than 16384 texels"):
        render_images(project, [Place("background", file, At(60.0, 60.0, height=16000.0))])
    (tmp_path / "no.ttf").write_text("no font")
    with pytest.raises(LayerloomError, match=r"no.ttf: not a font that can be read"):
        render_images(project, [Text("background", "a", At(60.0, 60.0), font=tmp_path / "no.ttf")])
    with pytest.raises(LayerloomError, match=r"'Grüße 日': the plain font has no üß日; name one .* font FILE"):
        render_images(project, [Text("background", "Grüße 日", At(60.0, 60.0))])
    with pytest.raises(LayerloomError, match=r"absent.mp4: no such file"):
        render_images(project, [Place("background", tmp_path / "absent.mp4", At(60.0, 60.0))])
