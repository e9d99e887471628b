"""One measurement: a JSON line and a row of a table."""

import json
import platform
import statistics
import subprocess
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

RESULTS = Path(__file__).parents[1] / "results" / "speed.jsonl"


@dataclass(frozen=True)
class Figure:
    """The middle of the repeats, their 10th and 90th percentile (lowest and highest of fewer than five), and the bound
    where one is known. `peak_mib`: most memory of the GPU (of the process, on a CPU) that the work had."""

    what: str
    case: str
    kernel: str
    unit: str
    median: float
    low: float
    high: float
    bound: float | None
    repeats: int
    peak_mib: float | None = None


def figure(
    what: str,
    case: str,
    values: Sequence[float],
    unit: str,
    kernel: str = "",
    bound: float | None = None,
    peak_mib: float | None = None,
) -> Figure:
    few = len(values) < 5
    low, high = (min(values), max(values)) if few else (statistics.quantiles(values, n=10)[i] for i in (0, -1))
    return Figure(what, case, kernel, unit, statistics.median(values), low, high, bound, len(values), peak_mib)


def describe_device(device: str) -> dict[str, str | int]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "commit": commit()}


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def store(figures: Sequence[Figure], device: str) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    shared = {"date": time.strftime("%Y-%m-%d %H:%M:%S"), **describe_device(device)}
    with RESULTS.open("a", encoding="utf-8") as file:
        for entry in figures:
            file.write(json.dumps({**shared, **asdict(entry)}) + "\n")


def show(figures: Sequence[Figure]) -> None:
    names = "what", "case", "kernel"
    widths = [max(len(name), *(len(getattr(f, name)) for f in figures)) + 2 for name in names]
    heads = "".join(f"{name:{width}}" for name, width in zip(names, widths, strict=True))
    print(f"{heads}{'median':>10}    {'10–90 %':>19}{'bound':>10}{'MiB':>8}")
    for f in figures:
        labels = "".join(f"{getattr(f, name):{width}}" for name, width in zip(names, widths, strict=True))
        spread = f"{f.low:.4g}–{f.high:.4g}"
        bound = "" if f.bound is None else f"{f.bound:.4g}"
        peak = "" if f.peak_mib is None else f"{f.peak_mib:.0f}"
        print(f"{labels}{f.median:10.4g} {f.unit:3}{spread:>19}{bound:>10}{peak:>8}", flush=True)
