"""What is filled in where nothing is known."""

import numpy as np

from layerloom.core.gaps import fill_in_time, fill_smoothly


def test_gaps_in_time_are_filled_from_both_sides() -> None:
    values = np.array([9, 2, 9, 9, 8, 9], np.float32).reshape(6, 1, 1, 1)
    known = np.array([0, 1, 0, 0, 1, 0], bool).reshape(6, 1, 1)
    np.testing.assert_allclose(fill_in_time(values, known).ravel(), [2, 2, 4, 6, 8, 8])


def test_known_values_and_places_never_known_stay() -> None:
    values = np.random.default_rng(0).random((4, 2, 3, 3)).astype(np.float32)
    known = np.ones((4, 2, 3), bool)
    np.testing.assert_array_equal(fill_in_time(values, known), values)
    known[:, 1] = False
    np.testing.assert_array_equal(fill_in_time(values, known), values)


def test_a_hole_is_filled_from_around_it() -> None:
    y, x = np.mgrid[0:40, 0:61].astype(np.float32)
    slope = np.stack([0.1 * x, 0.05 * y, 0.02 * x + 3], -1)
    known = np.ones((40, 61), np.float32)
    known[14:26, 20:34] = 0
    filled = fill_smoothly(np.where(known[..., None] > 0, slope, np.float32(99)), known)
    np.testing.assert_array_equal(filled[known > 0], slope[known > 0])
    assert np.abs(filled - slope).max() < 0.35
