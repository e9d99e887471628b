"""Complete or not at all, leftovers of killed runs, and one writer at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from layerloom.core.atomic import atomic_file, clean_once, leftovers, new_folder, only_writer

KILLED = """
import os, sys
from pathlib import Path
from layerloom.core.atomic import atomic_file, new_folder, only_writer
folder = Path(sys.argv[1])
with new_folder(folder / "clip.loom") as filling, atomic_file(folder / "o.mp4") as file, only_writer(folder / "lock"):
    (filling / "part").write_text("half")
    file.write_text("half")
    print("ready", flush=True)
    sys.stdin.read()
"""


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", KILLED, str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_what_a_killed_run_leaves_goes_away_with_the_next_one(tmp_path: Path) -> None:
    process = start(tmp_path)
    assert len(names(tmp_path)) == 3 and not list(leftovers(tmp_path)), "it lives: nothing is abandoned"
    process.kill()
    process.wait()
    assert len(list(leftovers(tmp_path))) == 2
    (tmp_path / ".mine.partial").write_text("the user's own")
    clean_once.cache_clear()
    with atomic_file(tmp_path / "other.png") as file:
        file.write_text("whole")
    assert names(tmp_path) == {"other.png", "lock", ".mine.partial"}


def test_leftovers_of_another_machine_are_kept_for_a_week(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.b") as file:
        file.write_text("half")
        machine, _, number = file.name.split(".")[2].split("-")
    other = f"{int(machine, 16) ^ 1:04x}"
    new, old = (tmp_path / f".clip.{other}-{os.getpid()}-{number[:5]}{n}.partial.mp4" for n in (1, 2))
    for file in (new, old):
        file.write_text("half")
    os.utime(old, (0, 0))
    assert list(leftovers(tmp_path)) == [old]


def test_names_as_long_as_the_system_allows(tmp_path: Path) -> None:
    with atomic_file(tmp_path / (251 * "x" + ".png")) as file:
        file.write_text("whole")
    with new_folder(tmp_path / (255 * "y")):
        pass
    assert {len(name) for name in names(tmp_path)} == {255}


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    with only_writer(lock), pytest.raises(BlockingIOError), only_writer(lock):
        raise AssertionError("two at once")
    with only_writer(lock):
        assert lock.exists()
    assert not lock.exists()


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    process = start(tmp_path)
    with pytest.raises(BlockingIOError), only_writer(tmp_path / "lock"):
        raise AssertionError("two at once")
    process.kill()
    process.wait()
    with only_writer(tmp_path / "lock"):
        pass
    assert not (tmp_path / "lock").exists()
