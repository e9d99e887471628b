# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""The grid encoding in Triton: same meaning, values and gradients as `reference.hash_encode`.

One launch covers all levels: a program takes one block of points on one level. What a level needs to know comes from a
small table (`level_table`), so a layout compiles nothing new.

Neighbouring points (batches are made of small image tiles) lie in the same cell of a coarse level, where all points
contend for a few entries. So there the table's gradient is first summed over runs of points in the same cell, by a
segmented scan in registers, and only each run's last point adds to memory. The points' gradient is written per level
and summed afterwards: streaming `levels × n × d` floats twice costs less than as many atomic additions.
"""

from functools import lru_cache
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

from layerloom.ops.hash_encode.layout import HASH_PRIMES, GridLayout

FORWARD_LAUNCH = {"BLOCK": 128, "num_warps": 4}
BACKWARD_LAUNCH = {"BLOCK": 64, "num_warps": 1}
LATTICE_LAUNCH = {"BLOCK": 64, "num_warps": 2}


def hash_encode(
    points: Float32[Tensor, "n d"],
    table: Float32[Tensor, "rows features"],
    layout: GridLayout,
    output_dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n levels_features"]:
    """See `reference.hash_encode`; a power of two of features is fastest.

    Computed in float32, returned as `output_dtype` (float32 or bfloat16). Differentiable once, in points and table.
    Can be captured in a CUDA graph after one call outside of it.
    """
    if not torch.is_grad_enabled():
        return encoded(points.contiguous(), table.contiguous(), layout, output_dtype)
    return Encode.apply(points, table, layout, output_dtype)


class Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, layout: GridLayout, output_dtype: torch.dtype) -> Tensor:
        points, table = points.contiguous(), table.contiguous()
        ctx.save_for_backward(points, table)
        ctx.layout = layout
        return encoded(points, table, layout, output_dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        points, table = ctx.saved_tensors
        needs_points, needs_table = ctx.needs_input_grad[:2]
        levels = len(ctx.layout.resolutions)
        grad_table = torch.zeros_like(table) if needs_table else None
        grad_points = torch.empty(levels, *points.shape, device=points.device) if needs_points else None
        encode_backward(points, table, ctx.layout, grad_output.contiguous(), grad_points, grad_table)
        return grad_points.sum(0) if grad_points is not None else None, grad_table, None, None


def encoded(points: Tensor, table: Tensor, layout: GridLayout, output_dtype: torch.dtype) -> Tensor:
    """`encode` into a new tensor."""
    output = torch.empty(len(points), layout.output_features, dtype=output_dtype, device=points.device)
    encode(points, table, layout, output)
    return output


def encode(
    points: Float32[Tensor, "n columns"],
    table: Float32[Tensor, "rows features"],
    layout: GridLayout,
    output: Float[Tensor, "n levels_features"],
) -> None:
    """Fill `output`. A point is the first `layout.dimensions` columns of its row. All tensors are contiguous."""
    if len(points):
        levels = len(layout.resolutions)
        grid = (triton.cdiv(len(points), FORWARD_LAUNCH["BLOCK"]), levels)
        arrays = (points, table, level_table(layout, points.device), output)
        forward_kernel[grid](*arrays, len(points), levels, **block_shape(layout, points), **FORWARD_LAUNCH)


def encode_backward(
    points: Float32[Tensor, "n columns"],
    table: Float32[Tensor, "rows features"],
    layout: GridLayout,
    grad_output: Float[Tensor, "n _"],
    grad_points: Float32[Tensor, "levels n d"] | None,
    grad_table: Float32[Tensor, "rows features"] | None,
    summed: bool = False,
) -> None:
    """Fill `grad_points`, one part per level, and add to `grad_table`, where they are given.

    summed: `grad_output` is that of the levels' sum (see `lattice`), and has `layout.features` columns only.
    """
    if len(points):
        levels = len(layout.resolutions)
        grid = (triton.cdiv(len(points), BACKWARD_LAUNCH["BLOCK"]), levels)
        arrays = (points, table, level_table(layout, points.device), grad_output, grad_points, grad_table)
        needs = {"NEEDS_POINTS": grad_points is not None, "NEEDS_TABLE": grad_table is not None, "SUMMED": summed}
        shape = block_shape(layout, points)
        backward_kernel[grid](*arrays, len(points), levels, **shape, **needs, **BACKWARD_LAUNCH)


def lattice(
    points: Float32[Tensor, "n columns"],
    table: Float32[Tensor, "rows features"],
    layout: GridLayout,
    output: Float32[Tensor, "n features"],
) -> None:
    """Fill `output` with the sum of the encoding's levels."""
    if len(points):
        grid = (triton.cdiv(len(points), LATTICE_LAUNCH["BLOCK"]),)
        arrays = (points, table, level_table(layout, points.device), output)
        shape = block_shape(layout, points)
        lattice_kernel[grid](*arrays, len(points), len(layout.resolutions), **shape, **LATTICE_LAUNCH)


def block_shape(layout: GridLayout, points: Tensor) -> dict[str, int]:
    width = triton.next_power_of_2(layout.features)
    sizes = {"DIMENSIONS": layout.dimensions, "COLUMNS": points.shape[1]}
    return {**sizes, "FEATURES": layout.features, "WIDTH": width}


@lru_cache(maxsize=64)
def level_table(layout: GridLayout, device: torch.device) -> Tensor:
    """Per level: cells in x, y, z; factor of y and z in the index (stride if dense, prime if hashed); first row of the
    level; mask of the hash, 0 if dense. Factors are uint32 kept in int32: the products' low bits are the same.
    """
    rows: list[list[int]] = []
    for level, cells in enumerate(layout.resolutions):
        x, y, z = (*cells, 1)[:3]
        hashed = layout.is_hashed(level)
        factors = HASH_PRIMES[1:] if hashed else (x + 1, (x + 1) * (y + 1))
        mask = layout.max_entries - 1 if hashed else 0
        rows.append([x, y, z, *factors, layout.offsets[level], mask, 0])
    return torch.tensor(rows, dtype=torch.int64).to(torch.int32).to(device)


@triton.jit
def load_coordinate(points, index, axis: tl.constexpr, count, DIMENSIONS: tl.constexpr, COLUMNS: tl.constexpr):
    """One coordinate of the points at `index`; 0 for an axis they do not have."""
    if axis < DIMENSIONS:
        inside = (index >= 0) & (index < count)
        coordinate = tl.load(points + index * COLUMNS + axis, mask=inside, other=0.0)
    else:
        coordinate = (index * 0).to(tl.float32)
    return coordinate


@triton.jit
def find_cell(coordinate, cells):
    """Cell of a coordinate and fraction within it. A NaN takes cell 0 and stays NaN in the fraction."""
    clamped = tl.clamp(coordinate, 0.0, 1.0, propagate_nan=tl.PropagateNan.ALL)
    position = clamped * cells.to(tl.float32)
    cell = tl.maximum(tl.minimum(position.to(tl.int32), cells - 1), 0)
    return cell, position - cell.to(tl.float32)


@triton.jit
def entry_mask(inside, feature, FEATURES: tl.constexpr, WIDTH: tl.constexpr):
    """Which elements of a block of entries exist. Kept free of `feature` where it can, so that access is vectorised."""
    if FEATURES == WIDTH:
        mask = inside[:, None]
    else:
        mask = inside[:, None] & (feature < FEATURES)
    return mask


@triton.jit
def corner_row(x, y, z, first_row, mask):
    """Table row of a node, given its coordinates times the level's factors."""
    index = tl.where(mask != 0, (x ^ y ^ z) & mask, x + y + z)
    return (index + first_row).to(tl.int64)


@triton.jit
def interpolate(table, info, x, y, z, inside, feature, DIMENSIONS: tl.constexpr, FEATURES: tl.constexpr):
    """One level's entries around the points (x, y, z) in [0, 1], interpolated: (points, features).

    `info`: the level's row of the level table; `inside`: which of the elements exist.
    """
    factor_y, factor_z = tl.load(info + 3), tl.load(info + 4)
    first_row, mask = tl.load(info + 5), tl.load(info + 6)
    cell_x, x = find_cell(x, tl.load(info))
    cell_y, y = find_cell(y, tl.load(info + 1))
    cell_z, z = find_cell(z, tl.load(info + 2))
    total = tl.zeros(inside.shape, tl.float32) + feature * 0.0
    for far in tl.static_range(DIMENSIONS - 1):
        for down in tl.static_range(2):
            for right in tl.static_range(2):
                row = corner_row(cell_x + right, (cell_y + down) * factor_y, (cell_z + far) * factor_z, first_row, mask)
                entry = tl.load(table + row[:, None] * FEATURES + feature, mask=inside, other=0.0)
                weight = (x if right else 1 - x) * (y if down else 1 - y)
                if DIMENSIONS == 3:
                    weight = weight * (z if far else 1 - z)
                total += weight[:, None] * entry
    return total


@triton.jit
def forward_kernel(
    points, table, levels_table, output, count, levels,
    DIMENSIONS: tl.constexpr, COLUMNS: tl.constexpr, FEATURES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    level = tl.program_id(1)
    feature = tl.arange(0, WIDTH)[None, :]
    inside = entry_mask(index < count, feature, FEATURES, WIDTH)
    x = load_coordinate(points, index, 0, count, DIMENSIONS, COLUMNS)
    y = load_coordinate(points, index, 1, count, DIMENSIONS, COLUMNS)
    z = load_coordinate(points, index, 2, count, DIMENSIONS, COLUMNS)
    total = interpolate(table, levels_table + level * 8, x, y, z, inside, feature, DIMENSIONS, FEATURES)
    place = (index[:, None].to(tl.int64) * levels + level) * FEATURES + feature
    tl.store(output + place, total.to(output.dtype.element_ty), mask=inside)


@triton.jit
def lattice_kernel(
    points, table, levels_table, output, count, levels,
    DIMENSIONS: tl.constexpr, COLUMNS: tl.constexpr, FEATURES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    feature = tl.arange(0, WIDTH)[None, :]
    inside = entry_mask(index < count, feature, FEATURES, WIDTH)
    x = load_coordinate(points, index, 0, count, DIMENSIONS, COLUMNS)
    y = load_coordinate(points, index, 1, count, DIMENSIONS, COLUMNS)
    z = load_coordinate(points, index, 2, count, DIMENSIONS, COLUMNS)
    total = tl.zeros([BLOCK, WIDTH], tl.float32)
    for level in range(levels):
        total += interpolate(table, levels_table + level * 8, x, y, z, inside, feature, DIMENSIONS, FEATURES)
    tl.store(output + index[:, None].to(tl.int64) * FEATURES + feature, total, mask=inside)


@triton.jit
def add_in_run(
    start_1, a_1, b_1, c_1, d_1,
    start_2, a_2, b_2, c_2, d_2,
):  # fmt: skip
    """Associative step of a segmented sum of four values: a run that starts on the right forgets the left."""
    starts = start_2 != 0
    a = tl.where(starts, a_2, a_1 + a_2)
    b = tl.where(starts, b_2, b_1 + b_2)
    c = tl.where(starts, c_2, c_1 + c_2)
    d = tl.where(starts, d_2, d_1 + d_2)
    return start_1 | start_2, a, b, c, d


@triton.jit
def same_cell(points, index, count, cell_x, cell_y, cell_z, info, DIMENSIONS: tl.constexpr, COLUMNS: tl.constexpr):
    """Whether the points at `index` exist and lie in the given cells."""
    other_x, _ = find_cell(load_coordinate(points, index, 0, count, DIMENSIONS, COLUMNS), tl.load(info))
    other_y, _ = find_cell(load_coordinate(points, index, 1, count, DIMENSIONS, COLUMNS), tl.load(info + 1))
    same = (index >= 0) & (index < count) & (other_x == cell_x) & (other_y == cell_y)
    if DIMENSIONS == 3:
        other_z, _ = find_cell(load_coordinate(points, index, 2, count, DIMENSIONS, COLUMNS), tl.load(info + 2))
        same = same & (other_z == cell_z)
    return same


@triton.jit
def backward_kernel(
    points, table, levels_table, grad_output, grad_points, grad_table, count, levels,
    DIMENSIONS: tl.constexpr, COLUMNS: tl.constexpr, FEATURES: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
    NEEDS_POINTS: tl.constexpr, NEEDS_TABLE: tl.constexpr, SUMMED: tl.constexpr,
):  # fmt: skip
    lane = tl.arange(0, BLOCK)
    index = tl.program_id(0) * BLOCK + lane
    level = tl.program_id(1)
    feature = tl.arange(0, WIDTH)[None, :]
    inside = index < count
    fits = entry_mask(inside, feature, FEATURES, WIDTH)
    info = levels_table + level * 8
    cells_x, cells_y, cells_z = tl.load(info), tl.load(info + 1), tl.load(info + 2)
    factor_y, factor_z = tl.load(info + 3), tl.load(info + 4)
    first_row, mask = tl.load(info + 5), tl.load(info + 6)

    point_x = load_coordinate(points, index, 0, count, DIMENSIONS, COLUMNS)
    point_y = load_coordinate(points, index, 1, count, DIMENSIONS, COLUMNS)
    point_z = load_coordinate(points, index, 2, count, DIMENSIONS, COLUMNS)
    cell_x, x = find_cell(point_x, cells_x)
    cell_y, y = find_cell(point_y, cells_y)
    cell_z, z = find_cell(point_z, cells_z)
    place = index[:, None].to(tl.int64) * FEATURES + feature
    if not SUMMED:
        place = (index[:, None].to(tl.int64) * levels + level) * FEATURES + feature
    grad = tl.load(grad_output + place, mask=fits, other=0.0).to(tl.float32)

    if NEEDS_TABLE:
        same_before = same_cell(points, index - 1, count, cell_x, cell_y, cell_z, info, DIMENSIONS, COLUMNS)
        same_after = same_cell(points, index + 1, count, cell_x, cell_y, cell_z, info, DIMENSIONS, COLUMNS)
        run_starts = (lane == 0) | ~same_before
        run_ends = (lane == BLOCK - 1) | ~same_after
        starts = tl.broadcast_to(run_starts[:, None], [BLOCK, WIDTH]).to(tl.int32)
        # On fine levels nearly every point is a run of its own: adding up would cost more than it saves.
        runs = tl.sum((run_ends & inside).to(tl.int32))
        adds = fits & tl.where(runs * 4 < BLOCK * 3, run_ends, inside)[:, None]
        for far in tl.static_range(DIMENSIONS - 1):
            far_grad = grad * (z if far else 1 - z)[:, None]
            high, low = far_grad * (1 - y)[:, None], far_grad * y[:, None]
            left, right = (1 - x)[:, None], x[:, None]
            high_left, high_right, low_left, low_right = high * left, high * right, low * left, low * right
            if runs * 4 < BLOCK * 3:
                _, high_left, high_right, low_left, low_right = tl.associative_scan(
                    (starts, high_left, high_right, low_left, low_right), 0, add_in_run
                )
            row_x, row_y, row_z = cell_x, cell_y * factor_y, (cell_z + far) * factor_z
            row = corner_row(row_x, row_y, row_z, first_row, mask)[:, None] * FEATURES + feature
            tl.atomic_add(grad_table + row, high_left, mask=adds, sem="relaxed")
            row = corner_row(row_x + 1, row_y, row_z, first_row, mask)[:, None] * FEATURES + feature
            tl.atomic_add(grad_table + row, high_right, mask=adds, sem="relaxed")
            row = corner_row(row_x, row_y + factor_y, row_z, first_row, mask)[:, None] * FEATURES + feature
            tl.atomic_add(grad_table + row, low_left, mask=adds, sem="relaxed")
            row = corner_row(row_x + 1, row_y + factor_y, row_z, first_row, mask)[:, None] * FEATURES + feature
            tl.atomic_add(grad_table + row, low_right, mask=adds, sem="relaxed")

    if NEEDS_POINTS:
        slope_x, slope_y, slope_z = x * 0, x * 0, x * 0
        for far in tl.static_range(DIMENSIONS - 1):
            for down in tl.static_range(2):
                for right in tl.static_range(2):
                    row_y, row_z = (cell_y + down) * factor_y, (cell_z + far) * factor_z
                    row = corner_row(cell_x + right, row_y, row_z, first_row, mask)
                    entry = tl.load(table + row[:, None] * FEATURES + feature, mask=fits, other=0.0)
                    change = tl.sum(entry * grad, 1)
                    weight_x, weight_y, weight_z = (
                        (x if right else 1 - x),
                        (y if down else 1 - y),
                        (z if far else 1 - z),
                    )
                    slope_x += change * weight_y * weight_z * (2 * right - 1)
                    slope_y += change * weight_x * weight_z * (2 * down - 1)
                    slope_z += change * weight_x * weight_y * (2 * far - 1)
        target = grad_points + (level.to(tl.int64) * count + index) * DIMENSIONS
        slope_x = tl.where((point_x >= 0) & (point_x <= 1), slope_x * cells_x, 0.0)
        slope_y = tl.where((point_y >= 0) & (point_y <= 1), slope_y * cells_y, 0.0)
        tl.store(target, slope_x, mask=inside)
        tl.store(target + 1, slope_y, mask=inside)
        if DIMENSIONS == 3:
            slope_z = tl.where((point_z >= 0) & (point_z <= 1), slope_z * cells_z, 0.0)
            tl.store(target + 2, slope_z, mask=inside)
