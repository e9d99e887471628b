"""A project made of the truth scores as the truth; one made wrong by a known amount scores worse by it."""

from pathlib import Path

import numpy as np
import pytest
from truth_project import make_truth_project

from layerloom.data.project import Project
from layerloom.edits.canvas import Paint
from layerloom.evaluate import truth, truth_edits
from layerloom.media import write_image
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip, make_clip


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip((128, 80), 6, seed=1)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("truth"), clip)


def paint_on(clip: SyntheticClip) -> np.ndarray:
    paint = np.zeros((*clip.frames.shape[1:3], 4), np.float32)
    paint[30:60, 20:100] = (0.1, 0.6, 0.5, 1.0)
    paint[30:60:6, 20:100, :3] = (0.5, 0.2, 0.1)
    return paint


def test_the_truth_scores_as_the_truth(clip: SyntheticClip, project: Project, tmp_path: Path) -> None:
    paint = paint_on(clip)
    write_image(tmp_path / "paint.png", paint)
    edited = np.stack(list(render_images(project, [Paint(3, tmp_path / "paint.png")])))
    edited_truth = clip.render(truth_edits.painted_textures(clip, 3, paint))
    edit = truth_edits.edit_figures(clip.render(), edited_truth, clip.frames, edited, painted_frame=3)
    figures = truth.truth_figures(project, clip, edit).to_json()
    assert figures["psnr"] > 34
    for name in clip.names:
        assert figures["track_px"][name] < 0.05
        assert figures["track_fraction"][name] > 0.99
        assert figures["iou"][name] > 0.99
        assert figures["light_correlation"][name] > 0.99
        assert figures["light_slope"][name] == pytest.approx(1, abs=0.02)
    assert set(figures["matte_mad"]) == set(clip.names[:-1])
    assert figures["matte_mad"]["object"] < 1e-4 > figures["matte_gradient"]["object"]
    assert figures["matte_ramp_px"]["object"] == pytest.approx(figures["true_ramp_px"]["object"], rel=1e-3)
    assert figures["background_edit_levels"] < 0.5
    assert figures["edit_psnr_inside"] > 26
    assert figures["edit_identical_outside"] is True
    assert figures["edit_changed_outside"] == 0
    assert figures["matting"]["object"]["mad"] < 0.1 > figures["matting"]["object"]["dtssd"]
    assert figures["hidden"]["psnr_covered"] is None or figures["hidden"]["psnr_covered"] > 25


def test_true_paint_looks_as_painted_in_its_own_frame(clip: SyntheticClip) -> None:
    paint = paint_on(clip)
    paint[..., :3] = (0.1, 0.6, 0.5)
    shown = clip.render(truth_edits.painted_textures(clip, 2, paint))[2]
    solid = (paint[..., 3] == 1) & (clip.alpha[:, 2].max(0) > 0.999)
    solid[[30, 59]] = False
    solid[:, [20, 99]] = False
    away = np.stack([np.roll(solid, shift, axis) for shift in (-3, 3) for axis in (0, 1)]).all(0)
    assert np.abs(shown[solid & away] - paint[solid & away][:, :3]).max() < 0.02
    untouched = paint[..., 3] == 0
    untouched[27:63, 17:103] = False
    np.testing.assert_array_equal(shown[untouched], clip.render()[2][untouched])


def test_edit_figures_find_a_shifted_edit_and_a_stray_pixel(clip: SyntheticClip) -> None:
    edited_truth = clip.render(truth_edits.painted_textures(clip, 0, paint_on(clip)))
    exact = np.floor(edited_truth * 255 + 0.5).astype(np.uint8)
    perfect = truth_edits.edit_figures(clip.render(), edited_truth, clip.frames, exact, 0)
    assert (perfect.psnr_inside_db or 0) > 50 and perfect.identical_outside
    shifted = np.roll(exact, 3, axis=2)
    found = truth_edits.edit_figures(clip.render(), edited_truth, clip.frames, shifted, 0)
    assert 0 < (found.psnr_inside_db or 0) < 25
    exact[2, 2, 2] += 1
    assert not truth_edits.edit_figures(clip.render(), edited_truth, clip.frames, exact, 0).identical_outside


def test_moving_one_layers_map_moves_its_tracks_alone(clip: SyntheticClip, tmp_path: Path) -> None:
    """The background's map is shifted by 3 px from the second frame on: its tracks are 3 px off, the object's right."""
    project = make_truth_project(tmp_path, clip)
    affine = project.layers[1].uv_affine
    affine[1:, :, 2] += affine[1:, :, :2] @ np.array([3.0, 0.0])
    figures = truth.truth_figures(project, clip).to_json()
    assert figures["track_px"]["background"] == pytest.approx(3, abs=0.1)
    assert 0.5 <= figures["track_fraction"]["background"] < 0.65, "within 4 and 8; all four for tracks that begin later"
    assert figures["track_px"]["object"] < 0.05
    assert "edit_identical_outside" not in figures


def test_a_matte_that_is_off_spoils_edits_of_the_background(clip: SyntheticClip, tmp_path: Path) -> None:
    project = make_truth_project(tmp_path, clip)
    stored = [project.layers[0].alpha(frame) for frame in range(len(clip.frames))]
    project.layers[0].alpha = lambda frame: np.roll(stored[frame], 2, axis=1)
    figures = truth.truth_figures(project, clip).to_json()
    assert figures["matte_mad"]["object"] > 0.1 and figures["background_edit_levels"] > 10
    assert figures["matte_sad"]["object"] > figures["matte_gradient"]["object"] > 0.001


def test_light_that_ignores_the_truth_does_not_correlate(clip: SyntheticClip, tmp_path: Path) -> None:
    project = make_truth_project(tmp_path, clip)
    grids = {frame: project.layers[0].lighting_grid(frame) for frame in range(len(clip.frames))}
    backwards = dict(zip(grids, reversed(list(grids.values())), strict=True))
    project.layers[0].lighting_grid = lambda frame: backwards[frame]
    assert truth.light_against_truth(project, clip, 0, 0).correlation < 0.5


@pytest.mark.parametrize("power", [0.5, 2.0])
def test_light_of_other_strength_correlates_but_its_slope_tells(
    power: float, clip: SyntheticClip, tmp_path: Path
) -> None:
    project = make_truth_project(tmp_path, clip)
    grids = [3 * project.layers[0].lighting_grid(frame) ** power for frame in range(len(clip.frames))]
    project.layers[0].lighting_grid = lambda frame: grids[frame]
    found = truth.light_against_truth(project, clip, 0, 0)
    assert found.correlation > 0.99, "scale and contrast are free"
    assert found.slope == pytest.approx(power, rel=0.02)
