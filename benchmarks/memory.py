"""How much of the host's memory a decompose takes at most, by stage, and how much more for each frame.

    python benchmarks/memory.py                         # 24 and 48 frames of 1920×1080, one object, masks given, DIS
    python benchmarks/memory.py --frames 36 60 --device cuda

Each length is a process of its own, whose memory is looked at every hundredth of a second. Learning takes a few steps,
as its memory does not grow with them. On a CPU what it learns from lies in the same memory.
"""

import layerloom  # noqa: F401, I001  (sets how threads wait, before PyTorch is imported)

import argparse
import tempfile
import threading
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import psutil
from timing.clips import moving_discs

from layerloom import media
from layerloom.core.progress import Progress
from layerloom.decompose import decompose
from layerloom.prepare.prepare import prepare
from layerloom.train.settings import settings_for

STEPS = 5
SIZE = (1920, 1080)
LOOK_EVERY_SECONDS = 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs=2, default=(24, 48), metavar=("FEWER", "MORE"))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args()
    fewer, more = options.frames
    peaks: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as name, get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
        for count in (fewer, more):
            folder = Path(name) / str(count)
            pool.apply(write_clip, (count, folder))
            peaks.append(pool.apply(measure, (folder, options.device)))
    print(f"| stage | {fewer} frames, MiB | {more} frames, MiB | a frame, MiB |\n|---|---|---|---|")
    for stage in (*peaks[1], "whole"):
        low, high = (max(peak.values()) if stage == "whole" else peak[stage] for peak in peaks)
        print(f"| {stage} | {low:.0f} | {high:.0f} | {(high - low) / (more - fewer):.1f} |")


def measure(folder: Path, device: Literal["cpu", "cuda"]) -> dict[str, float]:
    """Most MiB in use during each stage of a decompose, in the order of the stages."""
    peaks: dict[str, float] = {}
    stage, process = "read", psutil.Process()

    def look() -> None:
        while stage:
            peaks[stage] = max(peaks.get(stage, 0.0), process.memory_info().rss / 2**20)
            time.sleep(LOOK_EVERY_SECONDS)

    def note(progress: Progress) -> None:
        nonlocal stage
        stage = progress.stage

    watcher = threading.Thread(target=look)
    watcher.start()
    decompose(
        lambda: prepare(
            folder / "frames", masks=folder / "masks", long_edge=max(SIZE), device=device, on_progress=note
        ),
        folder / "clip.loom",
        device=device,
        settings=replace(settings_for("draft", device), steps=STEPS),
        on_progress=note,
    )
    stage = ""
    watcher.join()
    return peaks


def write_clip(frames: int, folder: Path) -> None:
    clip = moving_discs(SIZE, frames, 1)
    (folder / "frames").mkdir(parents=True)
    (folder / "masks" / "disc").mkdir(parents=True)
    for number, (frame, mask) in enumerate(zip(clip.frames, clip.masks.coverage[0], strict=True)):
        cv2.imwrite(str(folder / "frames" / f"{number:05d}.jpg"), frame[..., ::-1])
        media.write_image(folder / "masks" / "disc" / f"{number:05d}.png", np.ascontiguousarray(mask))


if __name__ == "__main__":
    main()
