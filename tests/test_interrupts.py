"""Nothing learned is lost: runs that are ended at any moment, or by a full disk, come to the same result in the end."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from layerloom.core.interrupts import Terminated, postponed_interrupts, terminations_as_interrupts

HERE = Path(__file__).parent
LONG = (
    *("start:0:TERM", "read:0:KILL", "flow:0:HUP", "masks:0:INT", "motion:0:KILL", "motion:0:TERM"),
    *(
        "motion:1:KILL",
        "train:0:TERM",
        "train:0.3:KILL",
        "train:0.6:INT",
        "train:0.9:HUP",
        "train:1.2:TERM",
        "train:2:INT",
    ),
    *("bake:0:KILL", "bake:0.05:TERM", "bake:0.2:INT", "bake:0:HUP", "store:0:KILL", "store:0:TERM", "store:0.01:INT"),
)
"""Over all stages; with LAYERLOOM_LONG_TESTS in the environment."""
SHORT = ("read:0:KILL", "motion:0:TERM", "train:0:HUP", "train:0.5:KILL", "train:1:INT", "bake:0:KILL", "store:0:TERM")
CODES = {"KILL": -9, "TERM": 143, "HUP": 129, "INT": 130}


def run_campaign(folder: Path, moments: tuple[str, ...]) -> list[dict[str, Any]]:
    command = [sys.executable, HERE / "kills.py", folder, *moments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.timeout(1800)
def test_a_run_that_is_ended_comes_to_the_same_result(tmp_path: Path) -> None:
    moments = LONG if "LAYERLOOM_LONG_TESTS" in os.environ else SHORT
    outcomes = run_campaign(tmp_path, moments)
    assert [outcome["moment"] for outcome in outcomes] == list(moments)
    for outcome in outcomes:
        stage, _, event = outcome["moment"].split(":")
        assert outcome["again"] == 0 and outcome["same"] and outcome["left"] == [], outcome
        assert outcome["code"] in (CODES[event], 0), outcome  # it may have ended before
        if event != "KILL" and outcome["code"]:
            assert outcome["said"].startswith("layerloom: interrupted"), outcome
        if (stage in ("bake", "store") or (stage == "train" and event != "KILL")) and outcome["code"]:
            assert outcome["resumed"], "all that was learned was kept"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1g", "tmpfs", str(folder)]
    if os.name == "nt" or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a small disk can only be had as root of Linux")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_loses_nothing(small_disk: Path) -> None:
    outcomes = run_campaign(small_disk, ("flow:0:FULL", "train:2:FULL", "bake:0:FULL", "store:0:FULL"))
    for outcome in outcomes:
        assert outcome["again"] == 0 and outcome["same"] and outcome["left"] == [], outcome
        assert outcome["code"] in (0, 2), outcome
        if outcome["code"]:
            assert "No space left" in outcome["said"] or "GiB of disk" in outcome["said"], outcome
        if outcome["code"] and not outcome["moment"].startswith("flow"):
            assert outcome["resumed"] and "--resume" in outcome["said"], outcome


def test_terminations_raise_and_are_put_back() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        with pytest.raises(Terminated) as caught, terminations_as_interrupts():
            signal.raise_signal(number)
        assert caught.value.number == number
        assert signal.getsignal(number) is signal.SIG_DFL


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminations_as_interrupts():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


def test_an_interrupt_waits_for_the_end() -> None:
    done: list[str] = []
    with pytest.raises(KeyboardInterrupt), postponed_interrupts():
        signal.raise_signal(signal.SIGINT)
        done.append("all of it")
    assert done and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_insists_is_heard_at_once() -> None:
    with pytest.raises(KeyboardInterrupt), postponed_interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_threads_are_left_alone() -> None:
    seen: list[str] = []

    def work() -> None:
        with terminations_as_interrupts(), postponed_interrupts():
            seen.append("done")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["done"]


def test_the_second_of_two_runs_is_refused_at_once(tmp_path: Path) -> None:
    import kills

    kills.write_footage(tmp_path)
    out = tmp_path / "clip.loom"
    program = "import layerloom.train.trainer as t, time\nstep = t.Trainer.take_step\n"
    program += "def slow(self):\n    step(self)\n    time.sleep(1)\nt.Trainer.take_step = slow\n"
    program += "from layerloom.cli.main import main\nmain()"
    words = kills.command(tmp_path, out)[1:]
    environment = {**os.environ, "LAYERLOOM_CACHE": "off"}
    command = [sys.executable, "-c", program, *words]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert first.stdout is not None
    while json.loads(first.stdout.readline()).get("stage") != "read":
        pass
    started = time.perf_counter()
    second = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    first.kill()
    first.wait()
    assert second.returncode == 2 and "another run is making this project" in second.stderr
    assert time.perf_counter() - started < 60
    assert '"flow"' not in second.stdout, "refused before anything was done"
