"""Measures against answers worked out by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.evaluate import davis, matting, measures

RNG = np.random.default_rng(5)
PICTURE = RNG.uniform(0.2, 0.8, (40, 60, 3)).astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(offset=st.floats(0.001, 0.2))
def test_psnr_of_a_constant_error_is_its_logarithm(offset: float) -> None:
    assert measures.psnr(PICTURE, PICTURE + np.float32(offset)) == pytest.approx(-20 * np.log10(offset), abs=0.01)


def test_psnr_counts_only_the_picked_pixels_and_stays_finite() -> None:
    spoiled, half = PICTURE.copy(), np.zeros((40, 60), np.bool_)
    half[:, :30] = True
    spoiled[:, 30:] += 0.5
    assert measures.psnr(PICTURE, spoiled, half) == measures.PSNR_LIMIT_DB
    assert measures.psnr(PICTURE, spoiled, ~half) == pytest.approx(6.02, abs=0.01)
    assert np.isnan(measures.psnr(PICTURE, spoiled, np.zeros_like(half)))


def test_ssim_is_one_for_equal_pictures_and_the_luminance_term_for_flat_ones() -> None:
    assert measures.ssim(PICTURE, PICTURE) == pytest.approx(1.0, abs=1e-5)
    dark, bright = np.full((30, 30, 3), 0.2, np.float32), np.full((30, 30, 3), 0.8, np.float32)
    expected = (2 * 0.16 + 1e-4) / (0.04 + 0.64 + 1e-4)
    assert measures.ssim(dark, bright) == pytest.approx(expected, abs=1e-4)
    noisy = PICTURE + RNG.normal(0, 0.2, PICTURE.shape).astype(np.float32)
    assert measures.ssim(PICTURE, noisy) < 0.8


def test_overlap_of_two_squares() -> None:
    first, second = _square(10, 10), _square(10, 15)
    assert measures.intersection_over_union(first, second) == pytest.approx(10 * 5 / (10 * 15))
    empty = np.zeros_like(first)
    assert measures.intersection_over_union(empty, empty) == 1
    assert measures.intersection_over_union(first, empty) == 0


def test_boundaries_agree_within_the_tolerance_and_not_beyond() -> None:
    """The picture's diagonal is 200, so that outlines 2 pixels apart agree and 8 apart mostly do not."""
    assert davis.boundary_f(_square(40, 40, 50), _square(40, 40, 50)) == 1
    assert davis.boundary_f(_square(40, 40, 50), _square(42, 40, 50)) == pytest.approx(1, abs=0.02)
    assert davis.boundary_f(_square(40, 40, 50), _square(48, 48, 50)) < 0.25
    empty = np.zeros((120, 160), np.bool_)
    assert davis.boundary_f(empty, empty) == 1 and davis.boundary_f(_square(40, 40), empty) == 0


def test_a_thin_outline_lies_half_a_pixel_off_and_not_along_the_border() -> None:
    """As DAVIS draws it: where a pixel differs from its neighbours to the right and below."""
    mask = np.zeros((6, 6), np.bool_)
    mask[2:, 2:] = True
    shifted = np.zeros_like(mask)
    shifted[3:, 2:] = True
    assert davis.boundary_f(mask, shifted) == 1, "one pixel off is within the tolerance, rounded up"
    assert davis.boundary_f(np.ones((6, 6), np.bool_), np.ones((6, 6), np.bool_)) == 1


def test_objects_are_summed_up_as_davis_does() -> None:
    j = [0.9, 0.8, 0.6, 0.4, 0.4, 0.4, 0.3, 0.2]
    found = davis.sum_up(j)
    assert found.mean == pytest.approx(np.mean(j)) and found.recall == pytest.approx(3 / 8)
    # Bins of DAVIS' program share their ends: frames 0 to 2 and 5 to 7.
    assert found.decay == pytest.approx(np.mean(j[0:3]) - np.mean(j[5:8]))
    some = davis.sum_up([float("nan"), 0.8, float("nan"), 0.4])
    assert some.mean == pytest.approx(0.6) and some.recall == pytest.approx(0.5)
    assert davis.sum_up([float("nan")] * 4).mean is None


def test_whole_frames_are_judged_in_the_units_of_papers() -> None:
    truth = _disc(40, 4)
    off = (0.5 * truth).astype(np.float32)
    found = matting.frame_errors(off, truth)
    assert found["mad"] == pytest.approx(1000 * 0.5 * truth.mean(), rel=1e-5)
    assert found["mse"] == pytest.approx(1000 * 0.25 * np.square(truth, dtype=np.float64).mean(), rel=1e-5)
    assert set(matting.frame_errors(truth, truth).values()) == {0.0}
    # Kernels of energy 1 make a step some 2.2 high where one per pixel makes it 0.28.
    step = np.zeros((60, 80), np.float32)
    step[:, 40:] = 1
    kernel = np.exp(-np.square(np.arange(-4, 5) / 1.4) / 2)
    slope = np.arange(-4, 5) * kernel
    height = slope[5:].sum() * kernel.sum() / np.sqrt(np.square(np.outer(kernel, slope)).sum())
    assert matting.frame_errors(np.zeros_like(step), step)["grad"] > 2 * 60 * (0.9 * height) ** 2 / 1000


def test_what_hangs_on_nothing_is_disconnected() -> None:
    """A spot apart from the object costs its alpha in connectedness; one that is joined to it costs nothing."""
    truth = np.zeros((40, 60), np.float32)
    truth[10:30, 10:30] = 1
    apart, joined = truth.copy(), truth.copy()
    apart[15:20, 45:50] = 0.5
    joined[15:20, 30:35] = 0.1
    assert matting.connectivity_error(truth, truth) == 0
    assert matting.connectivity_error(apart, truth) == pytest.approx(25 * 0.5, rel=1e-5)
    assert matting.connectivity_error(joined, truth) == 0, "less than the slack"


def test_a_matte_that_flickers_differs_in_its_changes() -> None:
    still = np.full((10, 10), 0.5, np.float32)
    assert matting.dtssd(still, still + np.float32(0.2), still, still) == pytest.approx(20, rel=1e-5)
    assert matting.dtssd(still, still + np.float32(0.2), still - np.float32(0.3), still - np.float32(0.1)) < 1e-4


def test_small_pictures_have_flow_too() -> None:
    narrow = np.random.default_rng(0).integers(0, 255, (6, 64), np.uint8)
    flow = measures.pair_flow(narrow, narrow)
    assert flow.forward.shape == (6, 64, 2) and flow.agrees.mean() > 0.9


def _square(row: int, column: int, side: int = 10) -> np.ndarray:
    mask = np.zeros((120, 160), np.bool_)
    mask[row : row + side, column : column + side] = True
    return mask


def test_undecided_pixels_are_those_without_an_owner() -> None:
    alpha = np.zeros((2, 4, 5), np.float32)
    alpha[0] = 0.95
    alpha[0, 0] = 0.6
    alpha[1] = 1 - alpha[0]
    assert measures.undecided_share(alpha) == pytest.approx(0.25)


def test_correlation_of_lines_is_plus_or_minus_one() -> None:
    line = np.arange(10.0)
    assert measures.correlation(line, 3 * line + 2) == pytest.approx(1)
    assert measures.correlation(line, -line) == pytest.approx(-1)
    assert np.isnan(measures.correlation(line, np.ones(10)))


def test_flow_follows_a_shift_and_the_warped_error_is_what_was_added() -> None:
    large = measures.grey(_blurred())
    earlier, later = large[10:90, 10:130], large[8:88, 5:125]  # What was at (x, y) is at (x + 5, y + 2).
    flow = measures.pair_flow(np.ascontiguousarray(earlier), np.ascontiguousarray(later))
    assert flow.agrees[10:-10, 10:-10].mean() > 0.95
    np.testing.assert_allclose(np.median(flow.forward[flow.agrees], 0), [5, 2], atol=0.1)
    first, second = (np.repeat(image[..., None] / np.float32(255), 3, 2) for image in (earlier, later))
    plain = measures.warp_error(first, second, flow)
    assert plain < 1.0
    assert measures.warp_error(first, second + np.float32(0.1), flow) == pytest.approx(25.5, abs=1.5)
    assert measures.flicker(first + np.float32(0.1), second + np.float32(0.1), first, second, flow) < 0.001
    assert measures.flicker(first, second + np.float32(0.1), first, second, flow) == pytest.approx(25.5, abs=0.1)


def test_a_matte_that_moves_with_the_picture_is_stable() -> None:
    large = _blurred()
    earlier, later = large[10:90, 10:130], large[8:88, 5:125]
    flow = measures.pair_flow(measures.grey(earlier), measures.grey(later))
    matte = np.zeros(large.shape[:2], np.float32)
    matte[40:70, 50:90] = 1
    moving = measures.matte_instability(matte[10:90, 10:130], matte[8:88, 5:125], flow)
    standing = measures.matte_instability(matte[10:90, 10:130], matte[10:90, 10:130], flow)
    assert moving < 0.03 and standing > 4 * moving


def _disc(radius: float, ramp: float) -> np.ndarray:
    """Alpha goes evenly from 1 to 0 over `ramp` pixels around the radius."""
    y, x = np.mgrid[0:140, 0:160] + 0.5
    return np.clip((radius - np.hypot(x - 80, y - 70)) / ramp + 0.5, 0, 1).astype(np.float32)


@pytest.mark.parametrize("radius", [20.0, 45.0])
@pytest.mark.parametrize("ramp", [2.0, 6.0, 15.0])
def test_a_disc_has_its_perimeter_and_its_ramps_width(radius: float, ramp: float) -> None:
    disc = _disc(radius, ramp)
    assert measures.gradient(disc).sum() == pytest.approx(2 * np.pi * radius, rel=0.01)
    assert measures.ramp_px(disc) == pytest.approx(ramp, rel=0.03)
    assert np.isnan(measures.ramp_px(np.zeros_like(disc)))


def test_matte_errors_of_a_known_difference() -> None:
    truth, band = _disc(40, 4), np.zeros((140, 160), np.bool_)
    band[10:60, 20:60] = True
    off = truth.copy()
    off[10:35, 20:60] += np.float32(0.2)
    errors = matting.band_errors(off, truth, band)
    assert errors["matte_mad"] == pytest.approx(0.1) and errors["matte_mse"] == pytest.approx(0.02)
    assert errors["matte_sad"] == pytest.approx(0.2) and errors["matte_gradient"] > 0
    assert set(matting.band_errors(truth, truth, band).values()) == {0.0}
    assert all(np.isnan(value) for value in matting.band_errors(off, truth, ~np.ones_like(band)).values())
    # Across a straight outline, blurred or not, the gradient's error is that of two Gaussians' heights.
    step = np.zeros((60, 80), np.float32)
    step[:, 40:] = 1
    blurred = np.repeat(np.clip((np.arange(80) - 35.5) / 8, 0, 1)[None], 60, 0).astype(np.float32)
    heights = measures.gradient(step) - measures.gradient(blurred)
    everywhere = np.ones_like(step, np.bool_)
    found = matting.band_errors(step, blurred, everywhere)["matte_gradient"]
    assert found == pytest.approx(float(np.square(heights).sum()) / 1000) and found > 0.2 * 60 * 0.2 / 1000


def _blurred() -> np.ndarray:
    noise = np.random.default_rng(1).uniform(0, 1, (100, 140)).astype(np.float32)
    kernel = np.hanning(9)[1:-1]
    for axis in (0, 1):
        noise = np.apply_along_axis(np.convolve, axis, noise, kernel / kernel.sum(), "same")
    spread = (noise - noise.min()) / (noise.max() - noise.min())
    return np.repeat(spread[..., None], 3, 2).astype(np.float32)
