"""When rates fall, and when training ends."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.train.schedule import Schedule


def play(schedule: Schedule, psnr_db: Callable[[int], float]) -> int:
    """Train to the end; return the last step."""
    step = 0
    while step < schedule.steps:
        step += 1
        if schedule.is_watching(step):
            schedule.note(psnr_db(step))
    return step


def test_what_goes_on_gaining_takes_all_steps() -> None:
    """A decibel with every doubling."""
    schedule = Schedule(4000, 0.4, 0.03, patience_db=0.5)
    assert play(schedule, lambda step: 20 + math.log2(step)) == 4000
    assert len(schedule.psnr_db) == 16


def test_what_has_stopped_gaining_ends_early() -> None:
    """After 480 steps nothing more is gained: 800 have 0.53 dB over 400, 1000 have nothing over 500."""
    schedule = Schedule(4000, 0.4, 0.03, patience_db=0.5)
    assert play(schedule, lambda step: 20 + 2 * math.log2(min(step, 480))) == 1000 / 0.4


def test_impatience_never_comes_before_the_first_losses_have_ended() -> None:
    assert play(Schedule(4000, 0.4, 0.03, patience_db=100.0), lambda step: 30.0) == 400 / 0.4


def test_without_patience_nothing_is_watched() -> None:
    schedule = Schedule(400, 0.3, 0.01, patience_db=0.0)
    assert play(schedule, lambda step: 30.0) == 400 and not schedule.psnr_db


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(0.0, 0.9), st.floats(0.001, 1.0), st.lists(st.floats(0, 60), min_size=40))
def test_rates_fall_from_one_to_the_final_share(steps: int, begin: float, final: float, psnr_db: list[float]) -> None:
    schedule = Schedule(steps, begin, final, patience_db=0.5)
    values = iter(psnr_db * 3)
    shares = [1.0]
    step = 0
    while step < schedule.steps:
        shares.append(schedule.share_of_rates(step))
        step += 1
        if schedule.is_watching(step):
            schedule.note(next(values))
    assert step <= steps
    assert all(0 < later <= earlier * (1 + 1e-9) for earlier, later in pairwise(shares))
    assert schedule.share_of_rates(step) == pytest.approx(final)
