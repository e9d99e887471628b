"""Whole runs: each stage, the command as a user types it, and how time grows with the clip."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from layerloom.core.progress import Progress
from layerloom.core.quality import Quality
from layerloom.data.clip import Clip
from layerloom.decompose import decompose
from layerloom.prepare.prepare import prepare
from layerloom.train.settings import settings_for
from timing.clips import moving_discs
from timing.clock import peak_mib
from timing.figures import Figure, figure
from timing.steps import reach_figures, ready_trainer, step_times

SOURCE = Path(__file__).parents[2] / "src"
COMMAND = "from layerloom.cli.main import run; run()"
RESOLUTIONS = ((854, 480), (1280, 720), (1920, 1080))
LENGTHS = (30, 60, 120, 240)
LAYERS = (2, 3, 4)


@dataclass(frozen=True)
class Footage:
    """What to run, and how; as the options of `layerloom decompose`."""

    path: Path
    masks: Path | None
    quality: Quality
    long_edge: int | None
    frames: tuple[int | None, int | None]
    flow: str
    flow_weights: Path | None

    def options(self, device: str) -> list[str]:
        first, end = ("" if number is None else str(number) for number in self.frames)
        given = {
            "--masks": self.masks,
            "--quality": self.quality,
            "--long-edge": self.long_edge,
            "--frames": f"{first}:{end}" if first or end else None,
            "--flow": self.flow,
            "--flow-weights": self.flow_weights,
            "--device": device,
        }
        return [part for name, value in given.items() if value is not None for part in (name, str(value))]


@dataclass
class StageClock:
    """Seconds from each stage's first report to the next one's."""

    seconds: dict[str, float] = field(default_factory=dict)
    _stage: str = ""
    _since: float = 0.0

    def hear(self, progress: Progress) -> None:
        self.enter(progress.stage)

    def enter(self, stage: str) -> None:
        now = time.perf_counter()
        if stage != self._stage:
            if self._stage:
                self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
            self._stage, self._since = stage, now


def prepare_footage(footage: Footage, device: str, hear: Callable[[Progress], None]) -> Clip:
    return prepare(
        footage.path,
        masks=footage.masks,
        quality=footage.quality,
        frames=footage.frames,
        long_edge=footage.long_edge,
        flow=footage.flow,
        flow_weights=footage.flow_weights,
        device=device,
        on_progress=hear,
    )


def stage_figures(footage: Footage, device: str, repeats: int) -> list[Figure]:
    """In one process, so that later repeats find PyTorch loaded and kernels compiled; the first one is told apart."""
    runs: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(repeats + 1):
            clock, started = StageClock(), time.perf_counter()
            clip = prepare_footage(footage, device, clock.hear)
            out = Path(folder) / f"{number}.loom"
            decompose(clip, out, device=device, on_progress=clock.hear)
            clock.enter("end")
            runs.append({**clock.seconds, "together": time.perf_counter() - started})
            shutil.rmtree(out)
    case = f"{footage.path.name}, {clip.size[0]}×{clip.size[1]}×{len(clip.frames)}"
    first, later = runs[0], runs[1:]
    figures = [figure("stage, first run", f"{case}: {stage}", [value], "s") for stage, value in first.items()]
    if later:
        values = {stage: [run[stage] for run in later] for stage in first}
        figures += [figure("stage", f"{case}: {stage}", seconds, "s") for stage, seconds in values.items()]
    return [*figures[:-1], replace(figures[-1], peak_mib=peak_mib(device))]


def whole_figures(footage: Footage, device: str, repeats: int) -> list[Figure]:
    """The command as a process of its own: until its first report, its stages, all of it, and the PSNR it tells."""
    runs = [_run_command(footage, device) for _ in range(repeats)]
    case = footage.path.name
    return [
        figure("whole", f"{case}: {name}", [run[name] for run in runs], "dB" if name == "PSNR" else "s")
        for name in runs[0]
    ]


def _run_command(footage: Footage, device: str) -> dict[str, float]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "clip.loom"
        command = [sys.executable, "-c", COMMAND, "decompose", str(footage.path), "--out", str(out), "--json"]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*command, *footage.options(device)], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        clock, first_report, psnr = StageClock(), float("nan"), float("nan")
        for line in process.stdout:
            entry = json.loads(line)
            if entry["event"] == "progress":
                if not clock._stage:
                    first_report = time.perf_counter() - started
                clock.enter(entry["stage"])
            else:
                psnr = entry["psnr"]
        clock.enter("exit")
        if process.wait() != 0:
            raise SystemExit(f"layerloom decompose failed with {process.returncode}")
        together = time.perf_counter() - started
        clock.enter("end")
    return {"first report": first_report, **clock.seconds, "together": together, "PSNR": psnr}


def scaling_figures(device: str, axis: str, target: float, seconds: float, base: tuple[int, int, int]) -> list[Figure]:
    """A step, and training to `target` dB, along one axis: resolution, frames, or layers; `base` is the rest.

    `base` = (height, frames, layers).
    """
    height, frames, layers = base
    size = (round(height * 16 / 9 / 2) * 2, height)
    cases = {
        "resolution": [(other, frames, layers) for other in RESOLUTIONS],
        "frames": [(size, count, layers) for count in LENGTHS],
        "layers": [(size, frames, count) for count in LAYERS],
    }[axis]
    figures: list[Figure] = []
    for size, count, number in cases:
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        clip = moving_discs(size, count, number - 1)
        times = step_times(ready_trainer(clip, device), device, 10)
        case = f"{size[0]}×{size[1]}×{count}, {number} layers"
        figures.append(figure(f"scaling, {axis}", case, times, "ms", peak_mib=peak_mib(device)))
        settings = settings_for("standard", device)
        figures += reach_figures(f"{number} layers", clip, settings, device, [target], seconds)
        print(f"{case}: {statistics.median(times):.3g} ms a step", flush=True)
    return figures
