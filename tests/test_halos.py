"""The halo is the width of the old background that an edit leaves; exact mattes leave none."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom import media
from layerloom.data.project import Project
from layerloom.edits.document import Hide
from layerloom.evaluate import halos
from layerloom.evaluate.halos import Cutout, cut_out, edit_error, halo_px, outline_band, triangulate
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.synthetic.scene import Conditions


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip((320, 180), 2, seed=1)


def widened_project(clip: SyntheticClip, folder: Path, by_px: int) -> Project:
    """The truth, but for the object's matte, which is grown, or for negative numbers shrunk."""
    project = make_truth_project(folder, clip)
    change = cv2.dilate if by_px > 0 else cv2.erode
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(by_px) + 1, 2 * abs(by_px) + 1))
    stored = [project.layers[0].alpha(frame) for frame in range(len(clip.frames))]
    project.layers[0].alpha = lambda frame: change(stored[frame], disk)
    return project


def mean_halo(clip: SyntheticClip, project: Project) -> float:
    background = render_images(project, [Hide("object")], mode="synthesis")
    frames = zip(clip.frames, background, cut_out(project), strict=True)
    return float(np.mean([halo_px(media.to_float(frame), media.to_float(b), cutout) for frame, b, cutout in frames]))


@pytest.mark.parametrize(
    ("by_px", "low", "high"), [(-2, -0.15, 0.15), (0, -0.1, 0.2), (1, 0.4, 1.1), (2, 1.4, 2.1), (3, 2.3, 3.1)]
)
def test_a_matte_too_wide_leaves_as_much_of_the_old_background(
    by_px: int, low: float, high: float, clip: SyntheticClip, tmp_path: Path
) -> None:
    assert low < mean_halo(clip, widened_project(clip, tmp_path, by_px)) < high


def test_a_soft_outline_is_no_halo(tmp_path: Path) -> None:
    clip = make_clip((320, 180), 2, seed=1, conditions=Conditions(edge=12.0))
    assert mean_halo(clip, make_truth_project(tmp_path, clip)) < 0.3


def test_the_object_is_cut_out_as_it_was_put_in() -> None:
    rng = np.random.default_rng(0)
    alpha, colour = rng.uniform(size=(6, 8)).astype(np.float32), rng.uniform(size=(6, 8, 3)).astype(np.float32)
    foreground = colour * alpha[..., None]
    green, magenta = (foreground + (1 - alpha[..., None]) * np.array(screen, np.float32) for screen in halos.COLOURS)
    found = triangulate(green, magenta)
    np.testing.assert_allclose(found.alpha, alpha, atol=1e-6)
    np.testing.assert_allclose(found.foreground, foreground, atol=1e-6)


def test_screens_show_the_truths_own_matte(clip: SyntheticClip, tmp_path: Path) -> None:
    found = next(cut_out(make_truth_project(tmp_path, clip)))
    assert np.abs(found.alpha - clip.alpha[0, 0]).max() < 2 / 255


def test_without_an_outline_there_is_nothing_to_say() -> None:
    nothing = Cutout(np.zeros((40, 50), np.float32), np.zeros((40, 50, 3), np.float32))
    source = np.full((40, 50, 3), 0.5, np.float32)
    assert np.isnan(halo_px(source, source, nothing)) and np.isnan(edit_error(nothing, nothing))


def test_the_band_goes_along_the_outline() -> None:
    alpha = np.zeros((60, 80), np.float32)
    alpha[:, 40:] = 1
    assert np.flatnonzero(outline_band(alpha)[30]).tolist() == list(range(36, 44))
    alpha[:, 30:40] = 0.5
    assert np.flatnonzero(outline_band(alpha)[30]).tolist() == list(range(27, 43))


def test_the_edits_error_is_that_of_the_pictures() -> None:
    """Half of the band is off by a quarter in the matte alone: one of green's channels, two of magenta's."""
    alpha = np.zeros((60, 80), np.float32)
    alpha[:, 40:] = 1
    wrong, none = alpha.copy(), np.zeros((60, 80, 3), np.float32)
    wrong[:, 40:44] = 0.75
    assert edit_error(Cutout(alpha, none), Cutout(alpha, none)) == 0
    assert edit_error(Cutout(wrong, none), Cutout(alpha, none)) == pytest.approx(255 * 0.25 / 2 * (1 / 3 + 2 / 3) / 2)
