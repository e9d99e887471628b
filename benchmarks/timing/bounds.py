"""What a device can do, measured, and how much work there is: the times that nothing can be faster than."""

import statistics
from functools import cache
from itertools import pairwise, product

import torch
from torch import Tensor, nn

from layerloom.model.encoding import EncodedNetwork, Lattice
from layerloom.ops.hash_encode.layout import GridLayout, table_index
from layerloom.train.trainer import Trainer
from timing.clock import own_stream, time_work

TILE_POINTS = 64


def entries_per_tile(points: Tensor, layout: GridLayout) -> int:
    """Distinct table entries that each tile needs, summed over tiles and levels."""
    total = 0
    for level, cells in enumerate(layout.resolutions):
        counts = torch.tensor(cells, device=points.device)
        corner = torch.minimum((points * counts).long(), counts - 1)
        rows = [
            table_index(corner + torch.tensor(bits, device=points.device), layout, level)
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


def mlp_bounds(widths: tuple[int, ...], count: int) -> dict[str, float]:
    bandwidth, products = copy_and_product_rates()
    operations = 2 * count * sum(a * b for a, b in pairwise(widths))
    x_bytes, y_bytes = 2 * count * widths[0], 4 * count * widths[-1]
    return {
        "forward": max(operations / products, (x_bytes + y_bytes) / bandwidth),
        "backward": max(3 * operations / products, (2 * x_bytes + y_bytes) / bandwidth),
    }


@torch.no_grad()
def step_bound(trainer: Trainer) -> dict[str, float]:
    """Milliseconds that one training step needs at least on this GPU, by resource, and `bound`: the longer of memory
    (all but the products) and products.

    From what a step evaluates: table entries that 64 neighbouring points need, once, read on the way there and added
    to on the way back (read again where the points have a gradient, as texture's have); the networks' products there
    and twice back; Adam reading parameters, moments and gradients and writing all but the last, which are zeroed.
    """
    calls: list[tuple[nn.Module, Tensor]] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, inputs: calls.append((module, inputs[0])))
        for module in trainer.field.modules()
        if isinstance(module, Lattice | EncodedNetwork)
    ]
    for batch in trainer.sampler.read(trainer.sampler.draw()):
        trainer._evaluate(batch)
    for hook in hooks:
        hook.remove()
    entries = [_entry_pairs(module, points) for module, points in calls]
    textured = {id(layer.texture_network) for layer in trainer.field.layers}
    read_rate, add_rate = random_access_rates()
    bandwidth, products = copy_and_product_rates()
    once = sum(entries)
    twice = sum(count for count, (module, _) in zip(entries, calls, strict=True) if id(module) in textured)
    operations = sum(3 * _network_operations(module, len(points)) for module, points in calls)
    parameters = sum(p.numel() for p in trainer.field.parameters())
    parts = {
        "table reads": (once + twice) / read_rate,
        "table adds": once / add_rate,
        "Adam": parameters * 4 * 8 / bandwidth,
        "products": operations / products,
    }
    return {**parts, "bound": max(sum(parts.values()) - parts["products"], parts["products"])}


def _entry_pairs(module: nn.Module, points: Tensor) -> float:
    """In entries of two floats; of the whole groups of neighbours."""
    whole = points[: len(points) // TILE_POINTS * TILE_POINTS].clamp(0, 1)
    return entries_per_tile(whole, module.layout) * module.layout.features / 2 if len(whole) else 0.0


def _network_operations(module: nn.Module, count: int) -> float:
    if not isinstance(module, EncodedNetwork):
        return 0.0
    return 2.0 * count * sum(weight.numel() for weight in module.weights)
