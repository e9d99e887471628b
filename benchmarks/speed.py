"""How fast the parts are, with the bound beside each figure; one JSON line a figure goes to results/speed.jsonl.

    python benchmarks/speed.py kernels            # on the GPU if there is one, else on the CPU
    python benchmarks/speed.py sweep              # block sizes and warps of the encode kernels (GPU)

GPU times are replays of a CUDA graph between events, so they hold no launch gaps (the reference encode cannot be
recorded and is launched as usual). The bound of an encode counts each
table entry that an 8 × 8 tile needs once per tile, at the rate at which this chip reads or adds 8-byte entries at
random rows, measured in the same run; the bound of an MLP is its products at the chip's measured bfloat16 rate or its
bytes at the measured copy bandwidth, whichever takes longer.
"""

import argparse
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from itertools import pairwise, product
from pathlib import Path

import torch
from torch import Tensor

from layerloom.kernels import reference
from layerloom.kernels.dispatch import Kernel, hash_encode, mlp, use_kernel
from layerloom.kernels.reference import GridLayout

RESULTS = Path(__file__).parent / "results" / "speed.jsonl"
TILE_POINTS = 64
FRAME_PIXELS = 768
FRAMES = 60

Work = Callable[[], object]


@dataclass(frozen=True)
class Figure:
    """One measurement: the middle and the 10th and 90th percentile of the repeats, in milliseconds."""

    what: str
    case: str
    kernel: str
    median_ms: float
    low_ms: float
    high_ms: float
    bound_ms: float | None
    repeats: int


# Timing


def time_work(work: Work, device: str, repeats: int = 40, recorded: bool = True) -> list[float]:
    """Milliseconds of each repeat, after warming up; on a GPU of a recorded graph, if it can be recorded."""
    for _ in range(3 if device == "cuda" else 1):
        work()
    if device == "cpu":
        return [_cpu_milliseconds(work) for _ in range(max(5, repeats // 4))]
    per_repeat = 10 if recorded else 1
    run = record(work).replay if recorded else work
    for _ in range(5):
        run()
    times: list[float] = []
    for _ in range(repeats):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        for _ in range(per_repeat):
            run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / per_repeat)
    return times


def record(work: Work) -> torch.cuda.CUDAGraph:
    """Record on the current stream, which `work`'s own forward pass ran on: autograd goes back on that one."""
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
        work()
    return graph


def own_stream(device: str) -> torch.cuda.StreamContext:
    """A stream of its own, since the default stream cannot be recorded (on the CPU: nothing)."""
    if device == "cpu":
        return torch.cuda.stream(None)
    torch.cuda.synchronize()
    return torch.cuda.stream(torch.cuda.Stream())


def _cpu_milliseconds(work: Work) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


def figure(what: str, case: str, kernel: str, times: list[float], bound_ms: float | None) -> Figure:
    deciles = statistics.quantiles(times, n=10)
    return Figure(what, case, kernel, statistics.median(times), deciles[0], deciles[-1], bound_ms, len(times))


# Inputs like those of training


def tile_points(count: int, dimensions: int, device: str) -> Tensor:
    """8 × 8 neighbouring pixels of random frames, at unit coordinates; a tile lies in one frame."""
    generator = torch.Generator().manual_seed(0)
    tiles = count // TILE_POINTS
    corner = torch.rand(tiles, 1, 2, generator=generator) * (FRAME_PIXELS - 8)
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    pixels = corner.floor() + torch.stack([x, y], -1).reshape(1, TILE_POINTS, 2) + 0.5
    frame = torch.randint(FRAMES, (tiles, 1, 1), generator=generator).expand(-1, TILE_POINTS, 1)
    points = torch.cat([pixels / FRAME_PIXELS, (frame + 0.5) / FRAMES], -1)[..., :dimensions]
    return points.reshape(count, dimensions).to(device)


def geometric_layout(dimensions: int, levels: int, coarsest: int, finest: int, max_entries: int) -> GridLayout:
    cells = [round(coarsest * (finest / coarsest) ** (level / (levels - 1))) for level in range(levels)]
    return GridLayout(tuple((count,) * dimensions for count in cells), max_entries, 2)


# Bounds


def entries_per_tile(points: Tensor, layout: GridLayout) -> int:
    """Distinct table entries that each tile needs, summed over tiles and levels."""
    total = 0
    for level, cells in enumerate(layout.resolutions):
        counts = torch.tensor(cells, device=points.device)
        corner = torch.minimum((points * counts).long(), counts - 1)
        rows = [
            reference.table_index(corner + torch.tensor(bits, device=points.device), layout, level)
            for bits in product((0, 1), repeat=layout.dimensions)
        ]
        per_tile = torch.stack(rows, -1).view(len(points) // TILE_POINTS, -1).sort(1).values
        total += int((per_tile[:, 1:] != per_tile[:, :-1]).sum()) + len(per_tile)
    return total


@cache
def random_access_rates() -> tuple[float, float]:
    """Entries of two float32 a millisecond that this GPU reads from, and adds to, random rows of a 64 MiB table."""
    import triton
    from random_access import add_rows, read_rows

    count = 2**23
    rows = torch.randint(2**23, (count,), device="cuda", dtype=torch.int32)
    table, output = torch.randn(2**23, 2, device="cuda"), torch.randn(count, 2, device="cuda")
    grid = (triton.cdiv(count, 256),)
    with own_stream("cuda"):
        read = statistics.median(time_work(lambda: read_rows[grid](rows, table, output, BLOCK=256), "cuda", 10))
        add = statistics.median(time_work(lambda: add_rows[grid](rows, table, output, BLOCK=256), "cuda", 10))
    return count / read, count / add


@cache
def copy_and_product_rates() -> tuple[float, float]:
    """Bytes a millisecond of a large copy (read and written), and bfloat16 operations a millisecond of a product."""
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    b = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    with own_stream("cuda"):
        copy = statistics.median(time_work(lambda: target.copy_(source), "cuda", 10))
        multiply = statistics.median(time_work(lambda: a @ b, "cuda", 10))
    return 2 * source.numel() * 4 / copy, 2 * 8192**3 / multiply


# Kernels


def kernel_figures(device: str) -> list[Figure]:
    figures = encode_figures(device)
    return figures + mlp_figures(device) if device == "cuda" else figures


def encode_cases(device: str) -> dict[str, tuple[Tensor, GridLayout]]:
    if device == "cpu":
        points, levels = 8192, 12
        ranges = {"2D 16..1024": (2, 16, 1024), "3D 8..400": (3, 8, 400)}
    else:
        points, levels = 65536, 16
        ranges = {"2D 16..1024": (2, 16, 1024), "2D 16..2048": (2, 16, 2048), "3D 8..400": (3, 8, 400)}
    cases: dict[str, tuple[Tensor, GridLayout]] = {}
    for name, (dimensions, coarsest, finest) in ranges.items():
        layout = geometric_layout(dimensions, levels, coarsest, finest, 2**19)
        cases[f"{name}, {levels} levels, {points} points"] = tile_points(points, dimensions, device), layout
    return cases


def encode_figures(device: str) -> list[Figure]:
    fast: Kernel = "cpu" if device == "cpu" else "triton"
    figures: list[Figure] = []
    for case, (points, layout) in encode_cases(device).items():
        entries = entries_per_tile(points, layout)
        read, add = random_access_rates() if device == "cuda" else (None, None)
        for kernel in (fast, "reference"):
            repeats = 40 if kernel == fast else 8
            times = encode_times(points, layout, kernel, device, repeats)
            bounds = {
                "forward": entries / read if read else None,
                "backward to table": entries / add if add else None,
                "backward to table and points": entries / add + entries / read if add and read else None,
            }
            figures += [figure(f"encode {what}", case, kernel, t, bounds[what]) for what, t in times.items()]
    return figures


def encode_times(
    points: Tensor, layout: GridLayout, kernel: Kernel, device: str, repeats: int
) -> dict[str, list[float]]:
    """Times of the forward pass and of the backward pass alone."""
    table = torch.randn(layout.offsets[-1], layout.features, device=device).requires_grad_()
    moving = points.clone().requires_grad_()
    projection = torch.randn(len(points), layout.output_features, device=device)

    def backward(leaves: list[Tensor]) -> Work:
        output = hash_encode(moving if len(leaves) == 2 else points, table, layout)
        return lambda: torch.autograd.grad(output, leaves, projection, retain_graph=True)

    recorded = kernel != "reference"
    with use_kernel(kernel), own_stream(device):
        with torch.no_grad():
            forward = time_work(lambda: hash_encode(points, table, layout), device, repeats, recorded)
        return {
            "forward": forward,
            "backward to table": time_work(backward([table]), device, repeats, recorded),
            "backward to table and points": time_work(backward([moving, table]), device, repeats, recorded),
        }


def mlp_figures(device: str) -> list[Figure]:
    figures: list[Figure] = []
    for widths in ((20, 64, 64, 3), (32, 64, 64, 3), (16, 32, 1)):
        case = "-".join(str(width) for width in widths) + ", 65536 points, bfloat16"
        bounds = mlp_bounds(widths, 65536)
        for kernel in ("triton", "reference"):
            times = mlp_times(widths, 65536, kernel, device)
            name = kernel if kernel == "triton" else "torch autocast"
            figures += [figure(f"mlp {what}", case, name, t, bounds[what]) for what, t in times.items()]
    return figures


def mlp_times(widths: tuple[int, ...], count: int, kernel: Kernel, device: str) -> dict[str, list[float]]:
    x = torch.randn(count, widths[0], device=device, dtype=torch.bfloat16).requires_grad_()
    weights = [(torch.randn(b, a, device=device) / a**0.5).requires_grad_() for a, b in pairwise(widths)]
    biases = [torch.randn(width, device=device).requires_grad_() for width in widths[1:]]
    projection = torch.randn(count, widths[-1], device=device)

    def forward() -> Tensor:
        # The cast weights must not be kept from one recording to the next.
        with torch.autocast("cuda", torch.bfloat16, enabled=kernel == "reference", cache_enabled=False):
            return mlp(x, weights, biases).float()

    with use_kernel(kernel), own_stream(device):
        with torch.no_grad():
            forward_times = time_work(forward, device)
        output = forward()
        leaves = [x, *weights, *biases]
        backward_times = time_work(lambda: torch.autograd.grad(output, leaves, projection, retain_graph=True), device)
        return {"forward": forward_times, "backward": backward_times}


def mlp_bounds(widths: tuple[int, ...], count: int) -> dict[str, float]:
    bandwidth, products = copy_and_product_rates()
    operations = 2 * count * sum(a * b for a, b in pairwise(widths))
    x_bytes, y_bytes = 2 * count * widths[0], 4 * count * widths[-1]
    return {
        "forward": max(operations / products, (x_bytes + y_bytes) / bandwidth),
        "backward": max(3 * operations / products, (2 * x_bytes + y_bytes) / bandwidth),
    }


def sweep_figures() -> list[Figure]:
    """Launch shapes of the encode kernels; each figure's kernel names the shape."""
    from layerloom.kernels import hashgrid

    figures: list[Figure] = []
    for case, (points, layout) in encode_cases("cuda").items():
        for block, warps in ((32, 1), (64, 1), (64, 2), (128, 1), (128, 2), (128, 4), (256, 4), (256, 8), (512, 8)):
            for launch in (hashgrid.FORWARD_LAUNCH, hashgrid.BACKWARD_LAUNCH):
                launch.update(BLOCK=block, num_warps=warps)
            name = f"triton, {block} points, {warps} warps"
            times = encode_times(points, layout, "triton", "cuda", 10)
            figures += [figure(f"encode {what}", case, name, t, None) for what, t in times.items()]
    return figures


# Results


def describe_device(device: str) -> dict[str, str | int]:
    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": name, "threads": torch.get_num_threads(), "torch": torch.__version__, "commit": commit()}


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def store(figures: list[Figure], device: str) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    shared = {"date": time.strftime("%Y-%m-%d %H:%M:%S"), **describe_device(device)}
    with RESULTS.open("a") as file:
        for entry in figures:
            file.write(json.dumps({**shared, **asdict(entry)}) + "\n")


def show(figures: list[Figure]) -> None:
    print(f"{'what':36}{'case':42}{'kernel':28}{'ms':>9}{'10–90 %':>19}{'bound':>9}")
    for f in figures:
        spread = f"{f.low_ms:.4f}–{f.high_ms:.4f}"
        bound = f"{f.bound_ms:9.4f}" if f.bound_ms is not None else f"{'':9}"
        print(f"{f.what:36}{f.case:42}{f.kernel:28}{f.median_ms:9.4f}{spread:>19}{bound}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["kernels", "sweep"])
    part = parser.parse_args().part
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if part == "sweep" and device == "cpu":
        parser.error("sweep needs a CUDA GPU")
    figures = sweep_figures() if part == "sweep" else kernel_figures(device)
    show(figures)
    store(figures, device)


if __name__ == "__main__":
    main()
