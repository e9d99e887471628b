"""One function to resize, warp, average and smooth: what each promises."""

import cv2
import numpy as np
import pytest

from layerloom.core.imaging import GuidedFilter, masked_mean, resize, resize_all, warp, window_around


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape).astype(np.float32)


def test_shrinking_averages_areas_whatever_the_number_of_channels() -> None:
    image = noise(8, 12, 9)
    means = image.reshape(4, 2, 6, 2, 9).mean((1, 3))
    np.testing.assert_allclose(resize(image, (6, 4)), means, rtol=1e-5)
    np.testing.assert_allclose(resize(image[..., :3], (6, 4)), means[..., :3], rtol=1e-5)
    np.testing.assert_allclose(resize(image[..., 0], (6, 4)), means[..., 0], rtol=1e-5)


def test_a_single_channel_stays_an_axis() -> None:
    assert resize(noise(8, 12, 1), (6, 4)).shape == (4, 6, 1)
    assert resize_all(noise(3, 8, 12, 1), (24, 16)).shape == (3, 16, 24, 1)


def test_half_precision_comes_back_as_single_and_the_same_size_as_it_is() -> None:
    half = noise(2, 4, 6).astype(np.float16)
    assert resize_all(half, (6, 4)) is half
    assert resize_all(half, (3, 2)).dtype == np.float32


def test_enlarging_follows_a_ramp() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32), (4, 1))
    straight = (np.arange(32) + 0.5) / 4 - 0.5
    np.testing.assert_allclose(resize(ramp, (32, 16))[8, 4:-4], straight[4:-4], atol=1e-5)
    np.testing.assert_allclose(resize(ramp, (32, 16), "cubic")[8, 4:-4], straight[4:-4], atol=0.1)


def test_an_image_that_grows_along_one_side_is_interpolated() -> None:
    step = np.repeat(np.float32([[0, 0, 1, 1]]), 4, 0)
    wide = resize(step, (16, 2))
    assert ((wide > 0.01) & (wide < 0.99)).any()  # areas would leave it hard


def test_warp_reads_between_pixels_and_beyond_the_border() -> None:
    image = noise(4, 6)
    x, y = np.float32([[1.5, -3.0]]), np.float32([[2.0, 2.0]])
    np.testing.assert_allclose(warp(image, x, y), [[image[2, 1:3].mean(), image[2, 0]]], atol=1e-4)
    assert warp(image, x, y, "zero")[0, 1] == 0
    assert warp(image, x + np.float32(0.3), y, nearest=True)[0, 0] == image[2, 2]


def test_a_window_holds_what_it_should_and_stays_in_the_image() -> None:
    where = np.zeros((20, 30), bool)
    assert window_around(where) == (slice(0, 0), slice(0, 0))
    where[5:8, 10:28] = True
    assert window_around(where, 3) == (slice(2, 11), slice(7, 30))


def test_a_masked_mean_ignores_what_has_no_weight() -> None:
    values, weights = noise(20, 20, 3), np.zeros((20, 20), np.float32)
    weights[:10] = 1
    values[:10] = 0.25
    mean, share = masked_mean(values, weights, 2.0)
    np.testing.assert_allclose(mean[:14], 0.25, atol=1e-5)
    assert share[0, 0] > 0.99 and share[-1, 0] < 1e-3
    np.testing.assert_allclose(masked_mean(values[..., 0], weights, 2.0)[0], mean[..., 0], atol=1e-6)


@pytest.mark.parametrize("channels", [0, 3])
def test_a_guided_filter_smooths_but_not_over_the_guides_edges(channels: int) -> None:
    guide = np.zeros((24, 32), np.float32)
    guide[:, 16:] = 1
    image = guide + 0.2 * noise(24, 32)
    guided = GuidedFilter(guide if channels == 0 else np.dstack([guide] * channels), 3, 1e-3).smooth(image)
    assert guided[4:-4, :12].std() < 0.4 * image[4:-4, :12].std()
    assert guided[:, 17].mean() - guided[:, 14].mean() > 0.9
    assert cv2.blur(image, (7, 7))[:, 17].mean() - cv2.blur(image, (7, 7))[:, 14].mean() < 0.6
