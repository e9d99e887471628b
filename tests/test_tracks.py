"""Tracks of known motion, and uv maps that are wrong by a known amount."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.core.errors import LayerloomError
from layerloom.evaluate import tapvid, tracks
from layerloom.evaluate.tracks import Tracks, UvMap
from layerloom.synthetic.clip import SyntheticClip, make_clip


@cache
def clip() -> SyntheticClip:
    return make_clip((160, 96), 16, seed=2)


@cache
def true_tracks(layer: int) -> Tracks:
    """Exact tracks of a layer's points seen in the first frame."""
    rows, columns = np.nonzero(clip().alpha[layer, 0] > 0.95)
    pick = np.random.default_rng(0).permutation(len(rows))[:60]
    xy, seen = clip().tracks(layer, np.stack([columns[pick], rows[pick]], -1) + 0.5, 0)
    return Tracks(xy.transpose(1, 0, 2).astype(np.float32), seen.T)


def true_map(layer: int) -> UvMap:
    return lambda frame, points: clip().uv_at(layer, points, frame)


@cache
def grey() -> np.ndarray:
    return clip().frames.mean(-1).round().astype(np.uint8)


@pytest.mark.parametrize("layer", [0, 1])
def test_the_true_map_carries_true_tracks_without_error(layer: int) -> None:
    errors = tracks.carry_errors(true_map(layer), true_tracks(layer))
    assert np.isnan(errors[:, 0]).all(), "the anchor is no measurement"
    assert np.nanmax(errors) < 0.01
    assert tracks.uv_wander(true_map(layer), true_tracks(layer)).max() < 0.001


@settings(max_examples=12, deadline=None)
@given(x=st.floats(-6, 6), y=st.floats(-6, 6))
def test_a_map_shifted_by_k_pixels_scores_k_worse(x: float, y: float) -> None:
    """From the second frame on, the map says of p what is true of p + shift: it carries tracks to p − shift."""
    shift = np.array([x, y])

    def shifted(frame: int, points: np.ndarray) -> np.ndarray:
        return clip().uv_at(1, points + shift * (frame > 0), frame)

    errors = tracks.carry_errors(shifted, true_tracks(1))
    np.testing.assert_allclose(errors[~np.isnan(errors)], np.hypot(x, y), atol=0.02)
    within = tracks.agreement(errors).within
    for limit in (1, 2, 4, 8):
        if abs(np.hypot(x, y) - limit) > 0.05:
            assert within[str(limit)] == (np.hypot(x, y) < limit)


def test_drifting_uv_wanders_by_as_much() -> None:
    tripod = Tracks(np.full((1, 5, 2), 20, np.float32), np.ones((1, 5), np.bool_))
    wander = tracks.uv_wander(lambda frame, points: points + frame * np.array([3.0, 4.0]), tripod)
    np.testing.assert_allclose(wander, 5 * np.sqrt(2))


def test_a_map_that_holds_the_texel_nowhere_is_infinitely_wrong() -> None:
    still = Tracks(np.full((1, 2, 2), 20, np.float32), np.ones((1, 2), np.bool_))
    errors = tracks.carry_errors(lambda frame, points: points * (frame == 0) + 7.0 * (frame > 0), still)
    assert np.isinf(errors[0, 1])
    figures = tracks.agreement(errors)
    assert figures.count == 1 and figures.median_px is None and figures.within["16"] == 0


def test_corners_follow_the_truth() -> None:
    found = tracks.track_corners(grey())
    assert len(found.points) > 100 and found.length.max() == 16
    errors = tracks.carry_errors(true_map(1), found.within(_inside(1, found)))
    assert np.nanmedian(errors) < 0.2
    assert (tracks.agreement(errors).within["1"] or 0) > 0.97


def test_following_the_same_video_gives_the_same_tracks_and_a_shifted_one_others() -> None:
    start = tracks.track_corners(grey())
    again = tracks.follow(grey(), start)
    both = start.seen & again.seen
    assert both.sum() > 0.99 * start.seen.sum()
    assert np.abs(again.points - start.points)[both].max() < 0.5
    drifting = np.stack([np.roll(frame, 2 * number, axis=1) for number, frame in enumerate(grey())])
    moved = tracks.follow(drifting, start)
    ninth = (start.anchor == 0) & start.seen[:, 8] & moved.seen[:, 8] & (start.points[:, 8, 0] < 100)
    assert ninth.sum() > 10
    np.testing.assert_allclose(np.median((moved.points - start.points)[ninth, 8], 0), [16, 0], atol=0.2)


def test_sift_matches_join_true_places() -> None:
    found = tracks.match_sift(grey(), 5)
    assert (found.seen.sum(1) == 2).all() and set(found.anchor.tolist()) == {0, 5, 10}
    errors = tracks.carry_errors(true_map(1), found.within(_inside(1, found)))
    assert np.isfinite(errors).sum() > 50
    assert np.nanmedian(errors) < 0.5


def _inside(layer: int, found: Tracks) -> np.ndarray:
    column, row = found.points.astype(int).transpose(2, 0, 1)
    height, width = grey().shape[1:]
    frames = np.arange(found.seen.shape[1])
    return clip().alpha[layer, frames, row.clip(0, height - 1), column.clip(0, width - 1)] > 0.9


def test_within_keeps_a_track_until_it_leaves_and_forgets_those_that_never_were_inside() -> None:
    seen = np.array([[1, 1, 0, 1, 1], [0, 1, 1, 1, 1]], np.bool_)
    inside = np.array([[1, 1, 0, 1, 0], [1, 0, 1, 1, 1]], np.bool_)
    kept = Tracks(np.zeros((2, 5, 2), np.float32), seen).within(inside)
    np.testing.assert_array_equal(kept.seen, [[True, True, False, True, False]])
    assert kept.anchor.tolist() == [0] and kept.length.tolist() == [4]


def test_agreement_is_split_by_length() -> None:
    seen = np.ones((2, 40), np.bool_)
    seen[1, 20:] = False
    errors = np.where(seen, np.arange(40.0)[None] / 10, np.nan)
    errors[:, 0] = np.nan
    split = tracks.agreement_by_length(errors, Tracks(np.zeros((2, 40, 2), np.float32), seen))
    assert [split[key].count for key in ("8", "16", "30")] == [2, 2, 1]
    assert split["30"].median_px == pytest.approx(2.9) and split["30"].within["2"] == 0
    assert split["16"].within["2"] == 1 and "60" not in split


def test_tapvid_tracks_are_read_in_pixels(tmp_path: Path) -> None:
    points = np.full((2, 3, 2), 0.5)
    np.savez(tmp_path / "good.npz", points=points, occluded=np.array([[0, 0, 1], [1, 1, 1]], np.bool_))
    read = tapvid.read_tapvid(tmp_path / "good.npz", (160, 96), 3)
    np.testing.assert_array_equal(read.points[0, 0], [80, 48])
    np.testing.assert_array_equal(read.seen, [[True, True, False]])


def test_other_files_are_refused_in_one_line(tmp_path: Path) -> None:
    np.savez(tmp_path / "pickled.npz", points=np.array([{}]), occluded=np.zeros((1, 3)), allow_pickle=True)
    np.savez(tmp_path / "short.npz", points=np.zeros((2, 3, 2)), occluded=np.zeros((2, 3)))
    (tmp_path / "text.npz").write_text("no")
    for name in ("pickled.npz", "text.npz", "absent.npz", "short.npz"):
        with pytest.raises(LayerloomError, match=name) as caught:
            tapvid.read_tapvid(tmp_path / name, (160, 96), 4)
        assert "\n" not in str(caught.value)


def test_a_tracker_is_judged_as_tapvid_does() -> None:
    """Two points of three frames after the query: worked out by hand on a raster of 256 pixels."""
    given = Tracks(np.full((2, 4, 2), 100, np.float32), np.array([[1, 1, 1, 0], [1, 1, 0, 1]], np.bool_))
    predicted = given.points.copy()
    predicted[0, 1, 0] += 3  # within 4, 8, 16
    visible = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], np.bool_)  # one too many, one too few
    counts = np.tile(np.arange(4) > 0, (2, 1))
    found = tapvid.tapvid_figures(predicted, visible, given, counts, (256, 256))
    assert found.occlusion_accuracy == pytest.approx(4 / 6)
    assert found.delta_average == pytest.approx((2 * 3 / 4 + 3 * 1) / 5)
    # Of four truly seen: two hits and two false ones within 1 and 2 px, then three and one.
    assert found.average_jaccard == pytest.approx((2 * 2 / (4 + 2) + 3 * 3 / (4 + 1)) / 5)
    nothing = tapvid.tapvid_figures(predicted, visible, given, np.zeros_like(counts), (256, 256))
    assert nothing.average_jaccard is None
