"""A training step: its time beside its bound, its kernels, and what so many of them reach."""

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.profiler import ProfilerActivity, profile

from layerloom.core.geometry import Size
from layerloom.data.clip import Clip
from layerloom.model.field import composite
from layerloom.train.settings import TILE, TrainSettings, settings_for
from layerloom.train.trainer import Trainer
from timing.bounds import step_bound
from timing.clips import moving_discs
from timing.clock import finish, peak_mib
from timing.figures import Figure, figure

CHECKED_TILES = 1024
"""Spread at random over the clip; their PSNR is what is reached."""
MOST_STEPS = 10**6


def step_figures(device: str, size: Size, frames: int, tiles: int | None, repeats: int) -> list[Figure]:
    """Of two and three layers, with all losses and without those of the first tenth; median over groups of steps."""
    figures: list[Figure] = []
    for objects in (1, 2):
        trainer = ready_trainer(moving_discs(size, frames, objects), device, tiles)
        bound = step_bound(trainer) if device == "cuda" else {}
        label = f"{size[0]}×{size[1]}×{frames}, {objects + 1} layers, {trainer.settings.tiles} tiles"
        for name, begin in (("all losses", 0), ("after a tenth", MOST_STEPS // 2)):
            trainer.step = begin
            times = step_times(trainer, device, repeats)
            case = f"{label}, {name}"
            figures.append(figure("step", case, times, "ms", _kernel(trainer), bound.get("bound"), peak_mib(device)))
        figures += [figure("step, bound", f"{label}: {name}", [value], "ms") for name, value in bound.items()]
    return figures


def ready_trainer(clip: Clip, device: str, tiles: int | None = None) -> Trainer:
    settings = settings_for("standard", device)
    return Trainer(clip, replace(settings, steps=MOST_STEPS, tiles=tiles or settings.tiles), torch.device(device))


def step_times(trainer: Trainer, device: str, repeats: int) -> list[float]:
    """Milliseconds a step, of `repeats` groups of steps after warming up."""
    group = 20 if device == "cuda" else 2
    take_steps(trainer, group)
    times: list[float] = []
    for _ in range(repeats):
        finish(device)
        started = time.perf_counter()
        take_steps(trainer, group)
        finish(device)
        times.append((time.perf_counter() - started) * 1e3 / group)
    return times


def take_steps(trainer: Trainer, count: int) -> None:
    for _ in range(count):
        trainer.take_step()


def profile_step(device: str, size: Size, frames: int, tiles: int | None, objects: int) -> list[Figure]:
    """Milliseconds a step of each kernel (on a CPU, of each operation), longest first; those under 0.5 % together."""
    trainer = ready_trainer(moving_discs(size, frames, objects), device, tiles)
    trainer.step = MOST_STEPS // 2
    steps = 20 if device == "cuda" else 2
    take_steps(trainer, steps)
    finish(device)
    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    with profile(activities=[activity]) as found:
        take_steps(trainer, steps)
        finish(device)
    rows = [
        (event.self_device_time_total if device == "cuda" else event.self_cpu_time_total, event.count, event.key)
        for event in found.key_averages()
    ]
    least = 0.005 * sum(microseconds for microseconds, _, _ in rows)
    shown = sorted((row for row in rows if row[0] >= least), reverse=True)
    others = [row for row in rows if row not in shown]
    for name, group in (("all others", others), ("together", rows)):
        shown.append((sum(row[0] for row in group), sum(row[1] for row in group), name))
    return [
        figure("profile", f"{name[:60]} × {count / steps:g}", [microseconds / steps / 1e3], "ms")
        for microseconds, count, name in shown
    ]


def reach_figures(
    name: str, clip: Clip, settings: TrainSettings, device: str, targets: Sequence[float], seconds: float
) -> list[Figure]:
    """Seconds of training until the PSNR of random tiles has passed each target; checking does not count.

    Compiling does not count either: a trainer before has taken its first steps. The last figure says what was reached
    in the end; targets beyond it have none.
    """
    take_steps(Trainer(clip, settings, torch.device(device)), 5)
    finish(device)
    started = time.perf_counter()
    trainer = Trainer(clip, settings, torch.device(device))
    take_steps(trainer, 1)
    finish(device)
    begin = spent = time.perf_counter() - started
    curve: list[tuple[float, float]] = []
    group = max(5, settings.steps // 200)
    while trainer.step < trainer.schedule.steps and (spent < seconds or not curve):
        started = time.perf_counter()
        take_steps(trainer, min(group, trainer.schedule.steps - trainer.step))
        finish(device)
        spent += time.perf_counter() - started
        curve.append((spent, psnr(trainer)))
    case = f"{name}, {clip.size[0]}×{clip.size[1]}×{len(clip.frames)}"
    figures = [figure("reach", f"{case}, first step", [begin], "s", _kernel(trainer), None, peak_mib(device))]
    for target in targets:
        reached = [at for at, level in curve if level >= target][:1]
        figures += [figure("reach", f"{case}, {target:g} dB", [at], "s", _kernel(trainer)) for at in reached]
    at, level = curve[-1]
    return [*figures, figure("reach", f"{case}, after {at:.1f} s ({trainer.step} steps)", [level], "dB")]


@torch.no_grad()
def psnr(trainer: Trainer) -> float:
    """In dB, of tiles that are the same each time."""
    sampler, device = trainer.sampler, trainer.device
    generator = torch.Generator().manual_seed(0)

    def pick(count: int) -> torch.Tensor:
        return torch.randint(count, (CHECKED_TILES, 1), generator=generator).to(device)

    frame, left, top = pick(len(sampler.frames)), pick(sampler.size[0] - TILE), pick(sampler.size[1] - TILE)
    inside = torch.arange(TILE * TILE, device=device)
    row, column = top + inside // TILE, left + inside % TILE
    seen = sampler.frames[frame, row, column].float() / 255
    sample = trainer.field(torch.stack([column, row], -1) + 0.5, frame[:, 0], False)
    return -10 * float((composite(sample) - seen).square().mean().log10())


def _kernel(trainer: Trainer) -> str:
    return "fused" if trainer._fused is not None else "plain"
