"""Encode and MLP kernels, forward and backward, beside their bounds."""

from itertools import pairwise

import torch
from torch import Tensor

from layerloom.ops.dispatch import Kernel, hash_encode, mlp, use_kernel
from layerloom.ops.hash_encode.layout import GridLayout
from timing.bounds import TILE_POINTS, entries_per_tile, mlp_bounds, random_access_rates
from timing.clock import Work, own_stream, time_work
from timing.figures import Figure, figure

FRAME_PIXELS = 768
FRAMES = 60


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
            figures += [figure(f"encode {what}", case, t, "ms", kernel, bounds[what]) for what, t in times.items()]
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
            figures += [figure(f"mlp {what}", case, t, "ms", name, bounds[what]) for what, t in times.items()]
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


def sweep_figures() -> list[Figure]:
    """Launch shapes of the encode kernels; each figure's kernel names the shape."""
    from layerloom.ops.hash_encode import triton as hashgrid

    figures: list[Figure] = []
    for case, (points, layout) in encode_cases("cuda").items():
        for block, warps in ((32, 1), (64, 1), (64, 2), (128, 1), (128, 2), (128, 4), (256, 4), (256, 8), (512, 8)):
            for launch in (hashgrid.FORWARD_LAUNCH, hashgrid.BACKWARD_LAUNCH):
                launch.update(BLOCK=block, num_warps=warps)
            name = f"triton, {block} points, {warps} warps"
            times = encode_times(points, layout, "triton", "cuda", 10)
            figures += [figure(f"encode {what}", case, t, "ms", name) for what, t in times.items()]
    return figures
