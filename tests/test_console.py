"""What the user sees while a command works."""

import json

import pytest

from layerloom.cli import console
from layerloom.cli.console import Console
from layerloom.core.progress import Progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that have passed, to be set."""
    now = [0.0]
    monkeypatch.setattr(console.time, "perf_counter", lambda: now[0])
    return now


def test_time_left_does_not_count_the_first_piece(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    """It loads and compiles: as a measure of the others it would announce hours."""
    with Console(as_json=True) as shown:
        for clock[0], done in ((0.0, 0.0), (60.0, 0.01), (61.0, 0.02), (89.0, 0.30)):
            shown.report(Progress("train", done))
    left = [json.loads(line).get("seconds_left") for line in capsys.readouterr().out.splitlines()]
    assert left == [None, None, pytest.approx(98), pytest.approx(70)]


def test_lines_of_a_log_say_what_is_done_and_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    with Console(as_json=False) as shown:
        for step in range(101):
            clock[0] = step / 2
            shown.report(Progress("train", step / 100, psnr_db=30.0))
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"train {20 * n}% {50 - 10 * n} s left, 30.0 dB" for n in range(1, 5)] + ["train 100% 30.0 dB"]


def test_a_message_stays_whatever_comes_after(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    for as_json in (False, True):
        with Console(as_json) as shown:
            shown.report(Progress("masks", 1.0, message="nothing moves"))
            shown.report(Progress("motion", 0.0))
    read = capsys.readouterr()
    assert read.err.splitlines() == ["nothing moves"]
    assert json.loads(read.out.splitlines()[0])["message"] == "nothing moves"
