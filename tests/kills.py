"""Runs of `layerloom decompose` that are ended at given moments, taken up again, and compared with one that was not.

    python tests/kills.py FOLDER read:0:KILL train:0.5:TERM store:0:FULL …

A moment is a stage, seconds after its first sign of life (of training: after its first steps), and what happens then: a
signal, or FULL: the disk of FOLDER (which must be small) is filled. One line of JSON for each: what became of the run,
and whether the result that the second run came to, with --resume where there is something to resume, is the same in
every file. Everything is imported once; runs are forks. The clip has flow files of its own, so that nothing depends on
how OpenCV was compiled.
"""

import contextlib
import hashlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from layerloom import media
from layerloom.cli.main import main
from layerloom.synthetic.clip import make_clip
from layerloom.train.settings import TrainSettings, settings_for
from layerloom.train.trainer import Trainer

SIZE, FRAMES, STEPS = (96, 64), 8, 240
STEP_SECONDS = 0.01
"""Steps are held up, so that there is time to end a run between two of them."""


def write_footage(folder: Path) -> None:
    clip = make_clip(SIZE, FRAMES, seed=4)
    for name in ("frames", "flow", "masks/ball"):
        (folder / name).mkdir(parents=True)
    for number in range(FRAMES):
        media.write_image(folder / "frames" / f"{number:05d}.png", clip.frames[number])
        media.write_image(folder / "masks" / "ball" / f"{number:05d}.png", clip.masks[0, number])
        for name in (f"forward_{number:05d}", f"backward_{number:05d}"):
            np.save(folder / "flow" / f"{name}.npy", np.full((*clip.frames.shape[1:3], 2), 0.5, np.float32))


def command(folder: Path, out: Path, *more: str) -> list[str]:
    given = ["--masks", str(folder / "masks"), "--flow", str(folder / "flow"), "--device", "cpu", "--json"]
    return ["layerloom", "decompose", str(folder / "frames"), "--out", str(out), *given, *more]


def start(words: list[str], errors: Path) -> tuple[int, int]:
    """A fork that runs a command; its process and the reading end of its standard output."""
    reading, writing = os.pipe()
    process = os.fork()
    if process:
        os.close(writing)
        return process, reading
    code = 1
    try:
        os.dup2(writing, 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        sys.argv = words
        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise AssertionError


def run(words: list[str], folder: Path, moment: str = "") -> tuple[int, str]:
    """Exit code (negative: by this signal) and the last line on standard error."""
    stage, delay, event = moment.split(":") if moment else ("", "0", "")
    errors = Path(tempfile.gettempdir()) / f"errors-{os.getpid()}"  # on a disk with room
    process, reading = start(words, errors)
    happened: list[threading.Timer] = []
    with os.fdopen(reading) as lines:
        for line in lines:
            report = json.loads(line)
            begun = report.get("stage") == stage and (stage != "train" or report["done"] > 0)
            if begun and not happened:
                happened.append(threading.Timer(float(delay), happen, (event, process, folder)))
                happened[0].start()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    for timer in happened:
        timer.cancel()
        timer.join()
    (folder / "ballast").unlink(missing_ok=True)
    said = errors.read_text().splitlines() or [""]
    errors.unlink()
    return code, said[-1]


def happen(event: str, process: int, folder: Path) -> None:
    if event == "FULL":
        fill(folder)
    else:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, getattr(signal, f"SIG{event}"))


def fill(folder: Path) -> None:
    """Take all that is free on the disk."""
    with (folder / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(2**16))


def contents(project: Path) -> dict[str, str]:
    """Hash of every file but the header, which holds times, and what holds its hash."""
    files = sorted(path for path in project.rglob("*") if path.is_file() and path.name != "project.json")
    return {str(path.relative_to(project)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def campaign(folder: Path, moments: list[str]) -> None:
    write_footage(folder)
    out = folder / "out" / "clip.loom"
    out.parent.mkdir()
    code, said = run(command(folder, out), folder)
    assert code == 0, said
    whole = contents(out)
    shutil.rmtree(out)
    for moment in moments:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        code, said = run(command(folder, out), folder, moment)
        resumable = (out.with_name("clip.loom.partial") / "checkpoint.safetensors").exists()
        begun = ["--resume"] * out.with_name("clip.loom.partial").exists()
        again, problem = (0, "") if out.exists() else run(command(folder, out, *begun), folder)
        result = {
            "moment": moment,
            "code": code,
            "said": said,
            "resumed": resumable,
            "again": again,
            "problem": problem,
            "same": out.exists() and contents(out) == whole,
            "left": sorted(path.name for path in out.parent.iterdir() if path != out),
        }
        print(json.dumps(result), flush=True)
        shutil.rmtree(out.parent)
        out.parent.mkdir()


def hold_up_steps() -> None:
    def few(quality: str, device: str, seed: int = 0) -> TrainSettings:
        return replace(settings_for(quality, device, seed), steps=STEPS, tiles=16)  # pyright: ignore

    take_step = Trainer.take_step

    def slowly(trainer: Trainer) -> None:
        take_step(trainer)
        time.sleep(STEP_SECONDS)

    import layerloom.decompose as module

    module.settings_for = few
    Trainer.take_step = slowly


if __name__ == "__main__":
    place = Path(sys.argv[1])
    os.environ["LAYERLOOM_CACHE"] = str(place / "cache")
    hold_up_steps()
    campaign(place, sys.argv[2:])
