"""Evaluation of projects whose quality is known: the truth itself, and the truth made worse by a known amount."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from trunks import trunk_state
from truth_project import make_truth_project

from layerloom.core.errors import LayerloomError
from layerloom.data.clip import Masks
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.evaluate import lpips
from layerloom.evaluate.charts import line_chart
from layerloom.evaluate.evaluate import evaluate, interior_owner
from layerloom.evaluate.figures import Agreement, Evaluation, LayerTracks, mean_or_none
from layerloom.evaluate.probes import render_pattern, render_unlit
from layerloom.evaluate.report import frames_to_show, headlines, write_report
from layerloom.evaluate.report_pictures import checkerboard
from layerloom.synthetic.clip import SyntheticClip, make_clip


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip((160, 96), 10, seed=1)


@pytest.fixture(scope="module")
def project(clip: SyntheticClip, tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make_truth_project(tmp_path_factory.mktemp("evaluate"), clip)


def given_masks(clip: SyntheticClip) -> Masks:
    return Masks(clip.names[:-1], clip.masks, np.full_like(clip.masks, 255))


@pytest.fixture(scope="module")
def told() -> list[float]:
    """The shares of the work that were told to be done."""
    return []


@pytest.fixture(scope="module")
def measured(clip: SyntheticClip, project: Project, told: list[float]) -> Evaluation:
    return evaluate(project, given_masks(clip), progress=lambda done, total: told.append(done / total))


@pytest.fixture(scope="module")
def figures(measured: Evaluation) -> dict[str, Any]:
    return measured.to_json()


def test_the_truth_is_found_good(figures: dict[str, Any]) -> None:
    assert figures["reconstruction"]["psnr"] > 36 > figures["reconstruction"]["psnr_unlit"] + 5
    assert figures["reconstruction"]["ssim"] > 0.98
    assert figures["mattes"]["iou"]["object"] > 0.99 and figures["mattes"]["boundary_f"]["object"] > 0.99
    assert figures["mattes"]["undecided"] < 0.04
    assert abs(figures["mattes"]["halo_px"]) < 0.2 and figures["mattes"]["ramp_px"] == {
        "object": pytest.approx(2.0, abs=0.1)
    }
    carried = figures["tracks"]["corners"]["background"]
    assert carried["all"]["count"] > 100
    assert carried["all"]["within"]["1"] > 0.94 and carried["uv_wander_texels"] < 0.2
    assert figures["tracks"]["sift"]["background"]["all"]["median_px"] < 0.2
    edit = figures["edit"]["background"]
    assert edit["corners"]["all"]["within"]["1"] > 0.95
    assert 0 < edit["survival"]["edited_frames"] <= edit["survival"]["source_frames"]
    assert figures["warp"]["flicker"]["rebuilt"] < 1.5
    assert set(figures["warp"]["matte_instability"]) == {"object", "background"}


def test_figures_are_plain_json_with_a_value_for_each_frame(clip: SyntheticClip, figures: dict[str, Any]) -> None:
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures
    assert {len(values) for values in figures["per_frame"].values()} == {len(clip.frames)}
    assert figures["reconstruction"]["psnr"] == pytest.approx(np.mean(figures["per_frame"]["psnr"]))


def test_figures_are_values_with_names(measured: Evaluation, figures: dict[str, Any]) -> None:
    assert measured.reconstruction.psnr_db == figures["reconstruction"]["psnr"]
    found = measured.tracks["corners"]["background"]
    assert figures["tracks"]["corners"]["background"]["8"]["count"] == found.by_length["8"].count
    with pytest.raises(AttributeError):
        measured.frames = 3  # pyright: ignore


def test_headlines_name_the_longest_tracks_of_which_there_are_enough(measured: Evaluation) -> None:
    def said(**counts: int) -> tuple[str, str]:
        found = {
            key.strip("n"): Agreement(count=count, median_px=0, mean_px=0, within={"2": 0.5 if count else None})
            for key, count in counts.items()
        }
        corners = {"dog": LayerTracks(tracks=1, uv_wander_texels=None, by_length=found)}
        return headlines(msgspec.structs.replace(measured, tracks={"corners": corners}))[-1]

    assert said(all=90, n8=40, n16=30, n30=2) == ("50.0 % of 30", "16-frame tracks within 2 px, dog")
    assert said(all=90, n8=1) == ("50.0 % of 90", "points of tracks within 2 px, dog")
    assert said(all=0) == ("– of 0", "points of tracks within 2 px, dog")


def test_progress_goes_to_the_end(figures: dict[str, Any], told: list[float]) -> None:
    assert told == sorted(told) and told[-1] == 1 and len(told) > figures["frames"]


def test_a_shifted_map_scores_worse_by_the_shift(clip: SyntheticClip, tmp_path: Path) -> None:
    """From the fifth frame on, the background's texture looks 3 pixels off; its tracks across that frame are, too."""
    project = make_truth_project(tmp_path, clip)
    affine = project.layers[1].uv_affine
    affine[4:, :, 2] += affine[4:, :, :2] @ np.array([3.0, 0.0])
    figures = evaluate(project).to_json()
    background, other = figures["tracks"]["corners"]["background"]["8"], figures["tracks"]["corners"]["object"]["all"]
    assert background["median_px"] == pytest.approx(3.0, abs=0.2)
    assert background["within"]["2"] < 0.05 and background["within"]["4"] > 0.9
    assert other["within"]["2"] > 0.9
    assert figures["warp"]["flicker"]["rebuilt"] > 2
    worst = figures["per_frame"]["psnr"]
    assert max(worst[4:]) < min(worst[:4])


def test_edits_that_slide_are_found_by_tracking_them(
    clip: SyntheticClip, figures: dict[str, Any], tmp_path: Path
) -> None:
    """The background's map drifts by 0.5 px a frame, and so does what is painted on it."""
    project = make_truth_project(tmp_path, clip)
    affine = project.layers[1].uv_affine
    for frame in range(len(clip.frames)):
        affine[frame, :, 2] += affine[frame, :, :2] @ np.array([0.5 * frame, 0.0])
    sliding = evaluate(project).edit["background"]
    assert sliding.corners["8"].median_px == pytest.approx(0.5 * 7, abs=0.4)
    assert sliding.sift.median_px == pytest.approx(0.5 * 8, abs=0.5)
    assert figures["edit"]["background"]["corners"]["8"]["median_px"] < 0.5


def test_masks_that_differ_lower_the_overlap_and_missing_ones_do_not_count(
    clip: SyntheticClip, project: Project
) -> None:
    coverage = np.roll(clip.masks, 6, axis=3)
    trust = np.full_like(coverage, 255)
    trust[:, 5:] = 0
    figures = evaluate(project, Masks(clip.names[:-1], coverage, trust)).to_json()
    expected = [
        (clip.masks[0, frame] & coverage[0, frame] > 0).sum() / (clip.masks[0, frame] | coverage[0, frame] > 0).sum()
        for frame in range(5)
    ]
    assert figures["mattes"]["iou"]["object"] == pytest.approx(np.mean(expected), abs=0.01)
    assert figures["per_frame"]["iou/object"][5:] == [None] * 5


def test_given_tracks_are_measured(clip: SyntheticClip, project: Project, tmp_path: Path) -> None:
    xy, seen = clip.tracks(1, np.array([[20.5, 10.5], [140.5, 20.5], [30.5, 80.5]]), 4)
    points = xy.transpose(1, 0, 2) / np.array([160, 96])
    np.savez(tmp_path / "tracks.npz", points=points, occluded=~seen.T)
    figures = evaluate(project, track_file=tmp_path / "tracks.npz")
    given = figures.tracks["given"]["background"]
    assert given.tracks > 0 and (given.by_length["all"].median_px or 0) < 0.05
    assert figures.tapvid is not None and figures.tapvid.delta_average == 1
    assert figures.tapvid.average_jaccard == figures.tapvid.occlusion_accuracy == 1


@pytest.mark.parametrize("change", [lambda masks: masks[:, :, :90], lambda masks: masks[:, :4]])
def test_masks_that_do_not_fit_are_refused(
    clip: SyntheticClip, project: Project, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    wrong = np.ascontiguousarray(change(clip.masks))
    with pytest.raises(LayerloomError, match="masks are"):
        evaluate(project, Masks(clip.names[:-1], wrong, wrong))


def test_masks_of_other_names_are_matched_by_overlap(tmp_path: Path) -> None:
    """The names are swapped against the layers', and one object was never found."""
    clip = make_clip((160, 96), 4, seed=1, objects=2)
    project = make_truth_project(tmp_path, clip)
    nowhere = np.zeros_like(clip.masks[0])
    nowhere[:, :8, :8] = 255
    coverage = np.stack([nowhere, clip.masks[1], clip.masks[0]])
    found = evaluate(project, Masks(("cat", "dog", "man"), coverage, np.full_like(coverage, 255))).mattes
    assert {name: match.layer for name, match in found.davis.items()} == {
        "cat": None,
        "dog": "object2",
        "man": "object1",
    }
    assert found.davis["dog"].j.mean is not None and found.davis["dog"].j.mean > 0.97
    assert found.davis["man"].f.recall == 1 and found.davis["cat"].j.mean == 0
    assert found.iou["man"] == found.davis["man"].j.mean


def test_lpips_is_measured_with_a_trunks_weights(
    measured: Evaluation, project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert measured.reconstruction.lpips is None and "reconstruction LPIPS" not in dict(headlines(measured)).values()
    torch.save(trunk_state("alexnet"), tmp_path / "alexnet.pth")
    seen = evaluate(project, lpips_weights=tmp_path / "alexnet.pth")
    lit, unlit = (np.array(seen.per_frame[name], float) for name in ("lpips", "lpips_unlit"))
    assert len(lit) == len(unlit) == seen.frames and 0 < min(lit) < max(lit) < 0.01
    assert seen.reconstruction.lpips == pytest.approx(np.mean(lit))
    assert seen.reconstruction.lpips_unlit == pytest.approx(np.mean(unlit)) and np.mean(unlit) > 2 * np.mean(lit)
    assert headlines(seen)[3] == (f"{np.mean(lit):.4f}", "reconstruction LPIPS")
    write_report(tmp_path / "report.html", project, seen)
    assert '<span class="title">LPIPS</span>' in (tmp_path / "report.html").read_text(encoding="utf-8")
    monkeypatch.setattr(lpips, "SMALLEST_SIDE", 97)
    with pytest.raises(LayerloomError, match="160x96; LPIPS needs 97 pixels"):
        evaluate(project, lpips_weights=tmp_path / "alexnet.pth")


def test_unlit_frames_are_the_truths(clip: SyntheticClip, project: Project) -> None:
    truth = clip.render(lit=False)[3]
    unlit = render_unlit(project, 3, mattes(project, 3, clip.frames[3]))
    assert np.abs(unlit - truth).mean() < 0.01


def test_the_pattern_covers_everything_and_stays_in_range(clip: SyntheticClip, project: Project) -> None:
    shown = next(iter(render_pattern(project, range(2, 3))))
    assert shown.dtype == np.uint8 and (shown == 255).mean() < 0.01
    assert np.abs(shown.astype(int) - clip.frames[2]).mean() > 15


def test_means_leave_out_what_is_not_known() -> None:
    assert mean_or_none([1.0, float("nan"), 3.0]) == 2.0
    assert mean_or_none([float("nan")]) is None


def test_the_report_is_whole_offline_and_shows_worst_frames_first(
    project: Project, measured: Evaluation, tmp_path: Path
) -> None:
    write_report(tmp_path / "report.html", project, measured)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    worst = int(np.argmin(np.array(measured.per_frame["psnr"])))
    assert page.index(f"<b>frame {worst}</b>") == page.index("<b>frame ")
    assert page.count("data:image/jpeg;base64,") == len(frames_to_show(measured.per_frame)) * (3 + 4 * 2 + 4) + 2
    assert "http" not in page and 'src="data' in page
    assert "<svg" in page and "object: uv" in page and "Settings" in page
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_the_report_escapes_what_it_is_given(
    clip: SyntheticClip, project: Project, measured: Evaluation, tmp_path: Path
) -> None:
    moved = project.path.parent / "a<b & c.loom"
    shutil.copytree(project.path, moved)
    write_report(tmp_path / "report.html", Project.open(moved), measured)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h1>a&lt;b &amp; c</h1>" in page and "a<b" not in page


def test_frames_to_show_begin_with_the_worst_and_do_not_repeat() -> None:
    psnr = [30.0, 20.0, None, 40.0, 41.0, 42.0, 25.0]
    assert list(frames_to_show({"psnr": psnr})) == [1, 6, 0, 3, 2, 4]
    assert frames_to_show({"psnr": [30.0, 20.0]}) == {1: "worst", 0: "worst"}
    shown = frames_to_show({"psnr": psnr, "iou/dog": [1.0, 1.0, None, 1.0, 1.0, 0.2, 1.0]})
    assert shown[5] == "worst matte of dog" and list(shown)[4] == 5


def test_charts_break_where_values_miss_and_vanish_without_any() -> None:
    chart = line_chart("one", {"one": [1.0, None, 2.0, 3.0]}, "frame")
    assert chart is not None and len(chart.lines) == 1
    assert chart.lines[0].path.count("M") == 2 and chart.lines[0].path.count("L") == 1
    assert line_chart("none", {"one": [None, None]}, "frame") is None


def test_checkerboard_cells_alternate() -> None:
    uv = np.array([[[5.0, 5.0], [29.0, 5.0], [29.0, 29.0]]], np.float32)
    bright = checkerboard(uv, (240, 120)).sum(-1)[0]
    assert bright[0] > bright[1] < bright[2]


def test_interior_keeps_the_trackers_window_off_other_layers_but_not_off_undecided_pixels() -> None:
    owner = np.zeros((1, 40, 60), np.int8)
    owner[:, :, 30:] = 1
    owner[:, :, 29:31] = -1
    owner[:, 10, 5] = -1
    owner = owner[0]
    interior = interior_owner(owner)[20]
    assert interior[:23].tolist() == [0] * 23 and interior[37:].tolist() == [1] * 23
    assert (interior[24:36] == -1).all()
    assert interior_owner(owner)[10, 4:7].tolist() == [0, -1, 0]
