"""Baking: what is filled in where nothing was learned."""

import torch

from layerloom.bake import fill_in_time


def test_gaps_in_time_are_filled_from_both_sides() -> None:
    values = torch.tensor([9.0, 2.0, 9.0, 9.0, 8.0, 9.0]).view(6, 1, 1)
    known = torch.tensor([False, True, False, False, True, False]).view(6, 1)
    torch.testing.assert_close(fill_in_time(values, known).flatten(), torch.tensor([2.0, 2.0, 4.0, 6.0, 8.0, 8.0]))


def test_known_values_and_places_never_known_stay() -> None:
    values = torch.rand(4, 3, 2)
    known = torch.ones(4, 3, dtype=torch.bool)
    torch.testing.assert_close(fill_in_time(values, known), values)
    known[:, 1] = False
    torch.testing.assert_close(fill_in_time(values, known), values)
