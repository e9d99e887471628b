"""Multiresolution grid encoding for CPUs, compiled by Numba: same meaning, values and gradients as `reference`.

Forward: blocks of points in parallel. Backward: each thread owns whole levels, so the table's gradient needs no
atomics and does not depend on timing; the points' gradient is summed per thread first.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numba import njit, prange
from torch import Tensor
from torch.autograd.function import once_differentiable

from layerloom.core.jit import compiled
from layerloom.ops.cpu_threads import use_torch_threads
from layerloom.ops.hash_encode.layout import HASH_PRIMES, GridLayout

POINTS_PER_BLOCK = 256

Array = np.ndarray
Metadata = tuple[Array, Array, Array]


def hash_encode(
    points: Float32[Tensor, "n d"], table: Float32[Tensor, "rows features"], layout: GridLayout
) -> Float32[Tensor, "n levels_features"]:
    """See `reference.hash_encode`. Differentiable once, in points and table."""
    return Encode.apply(points, table, layout)  # pyright: ignore[reportReturnType]


class Encode(torch.autograd.Function):
    """Hands the tensors' memory to the compiled loops; works out only the gradients that are asked for."""

    @staticmethod
    def forward(ctx: Any, points: Tensor, table: Tensor, layout: GridLayout) -> Tensor:
        points, table = points.contiguous(), table.contiguous()
        output = torch.empty(points.shape[0], layout.output_features)
        use_torch_threads()
        loops = encode_2d if layout.dimensions == 2 else encode_3d
        cells, factors, masks = metadata(layout)
        loops(_array(points), _array(table), cells, factors, masks, _array(output))
        ctx.save_for_backward(points, table)
        ctx.layout = layout
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        points, table = ctx.saved_tensors
        needs_points, needs_table, _ = ctx.needs_input_grad
        workers = min(use_torch_threads(), len(ctx.layout.resolutions))
        # What nobody asks for stays empty, which the loops take as a sign to skip it.
        per_worker = torch.zeros(workers, points.shape[0] if needs_points else 0, points.shape[1])
        grad_table = torch.zeros(table.shape[0] if needs_table else 0, table.shape[1])
        grads = _array(grad_output.contiguous()), _array(per_worker), _array(grad_table)
        loops = encode_2d_backward if ctx.layout.dimensions == 2 else encode_3d_backward
        cells, factors, masks = metadata(ctx.layout)
        loops(_array(points), _array(table), *grads, cells, factors, masks)
        return per_worker.sum(0) if needs_points else None, grad_table if needs_table else None, None


def _array(tensor: Tensor) -> Array:
    return tensor.detach().numpy()


@lru_cache(maxsize=64)
def metadata(layout: GridLayout) -> Metadata:
    """Per level: cells per axis; factor of each axis in the index (strides if dense, primes if hashed), first row;
    mask of the hash, 0 if dense.
    """
    levels, dimensions = len(layout.resolutions), layout.dimensions
    factors = np.ones((levels, dimensions + 1), np.int64)
    masks = np.zeros(levels, np.int64)
    for level, cells in enumerate(layout.resolutions):
        if layout.is_hashed(level):
            factors[level, :dimensions] = HASH_PRIMES[:dimensions]
            masks[level] = layout.max_entries - 1
        else:
            factors[level, 1:dimensions] = np.cumprod([count + 1 for count in cells[:-1]])
        factors[level, dimensions] = layout.offsets[level]
    return np.array(layout.resolutions, np.int64), factors, masks


@njit(inline="always")
def locate(coordinate: np.float32, cells: int) -> tuple[int, np.float32]:
    """Cell and fraction within it, of a clamped coordinate. A NaN takes cell 0 and stays NaN in the fraction."""
    position = min(max(coordinate, np.float32(0)), np.float32(1)) * np.float32(cells)
    corner = 0
    if position >= 0:
        corner = min(int(position), cells - 1)
    return corner, position - np.float32(corner)


@njit(inline="always")
def row_2d(x: int, y: int, first_row: int, mask: int) -> int:
    if mask:
        return ((x ^ y) & mask) + first_row
    return x + y + first_row


@njit(inline="always")
def row_3d(x: int, y: int, z: int, first_row: int, mask: int) -> int:
    if mask:
        return ((x ^ y ^ z) & mask) + first_row
    return x + y + z + first_row


@compiled(parallel=True, fastmath={"contract"})
def encode_2d(points: Array, table: Array, cells: Array, factors: Array, masks: Array, output: Array) -> None:
    count, features = points.shape[0], table.shape[1]
    for block in prange((count + POINTS_PER_BLOCK - 1) // POINTS_PER_BLOCK):
        for level in range(len(masks)):
            fx, fy, first, mask = factors[level, 0], factors[level, 1], factors[level, 2], masks[level]
            for i in range(block * POINTS_PER_BLOCK, min(count, (block + 1) * POINTS_PER_BLOCK)):
                cx, x1 = locate(points[i, 0], cells[level, 0])
                cy, y1 = locate(points[i, 1], cells[level, 1])
                x0, y0 = np.float32(1) - x1, np.float32(1) - y1
                ax, ay = cx * fx, cy * fy
                bx, by = ax + fx, ay + fy
                r00, r10 = row_2d(ax, ay, first, mask), row_2d(bx, ay, first, mask)
                r01, r11 = row_2d(ax, by, first, mask), row_2d(bx, by, first, mask)
                for f in range(features):
                    low = x0 * table[r00, f] + x1 * table[r10, f]
                    high = x0 * table[r01, f] + x1 * table[r11, f]
                    output[i, level * features + f] = y0 * low + y1 * high


@compiled(parallel=True, fastmath={"contract"})
def encode_3d(points: Array, table: Array, cells: Array, factors: Array, masks: Array, output: Array) -> None:
    count, features = points.shape[0], table.shape[1]
    for block in prange((count + POINTS_PER_BLOCK - 1) // POINTS_PER_BLOCK):
        for level in range(len(masks)):
            fx, fy, fz, first = factors[level, 0], factors[level, 1], factors[level, 2], factors[level, 3]
            mask = masks[level]
            for i in range(block * POINTS_PER_BLOCK, min(count, (block + 1) * POINTS_PER_BLOCK)):
                cx, x1 = locate(points[i, 0], cells[level, 0])
                cy, y1 = locate(points[i, 1], cells[level, 1])
                cz, z1 = locate(points[i, 2], cells[level, 2])
                x0, y0, z0 = np.float32(1) - x1, np.float32(1) - y1, np.float32(1) - z1
                ax, ay, az = cx * fx, cy * fy, cz * fz
                bx, by, bz = ax + fx, ay + fy, az + fz
                r000, r100 = row_3d(ax, ay, az, first, mask), row_3d(bx, ay, az, first, mask)
                r010, r110 = row_3d(ax, by, az, first, mask), row_3d(bx, by, az, first, mask)
                r001, r101 = row_3d(ax, ay, bz, first, mask), row_3d(bx, ay, bz, first, mask)
                r011, r111 = row_3d(ax, by, bz, first, mask), row_3d(bx, by, bz, first, mask)
                for f in range(features):
                    low = x0 * table[r000, f] + x1 * table[r100, f]
                    high = x0 * table[r010, f] + x1 * table[r110, f]
                    near = y0 * low + y1 * high
                    low = x0 * table[r001, f] + x1 * table[r101, f]
                    high = x0 * table[r011, f] + x1 * table[r111, f]
                    output[i, level * features + f] = z0 * near + z1 * (y0 * low + y1 * high)


@njit(inline="always")
def free(coordinate: np.float32) -> np.bool:
    """Whether the clamp lets this coordinate's gradient through."""
    return (coordinate >= 0) & (coordinate <= 1)


@compiled(parallel=True, fastmath={"contract"})
def encode_2d_backward(
    points: Array,
    table: Array,
    grad_output: Array,
    grad_points: Array,
    grad_table: Array,
    cells: Array,
    factors: Array,
    masks: Array,
) -> None:
    count, features = points.shape[0], table.shape[1]
    needs_points, needs_table = grad_points.shape[1] > 0, grad_table.shape[0] > 0
    workers = grad_points.shape[0]
    for worker in prange(workers):
        for level in range(worker, len(masks), workers):
            fx, fy, first, mask = factors[level, 0], factors[level, 1], factors[level, 2], masks[level]
            for i in range(count):
                cx, x1 = locate(points[i, 0], cells[level, 0])
                cy, y1 = locate(points[i, 1], cells[level, 1])
                x0, y0 = np.float32(1) - x1, np.float32(1) - y1
                ax, ay = cx * fx, cy * fy
                bx, by = ax + fx, ay + fy
                r00, r10 = row_2d(ax, ay, first, mask), row_2d(bx, ay, first, mask)
                r01, r11 = row_2d(ax, by, first, mask), row_2d(bx, by, first, mask)
                if needs_table:
                    for f in range(features):
                        g = grad_output[i, level * features + f]
                        low, high = y0 * g, y1 * g
                        grad_table[r00, f] += x0 * low
                        grad_table[r10, f] += x1 * low
                        grad_table[r01, f] += x0 * high
                        grad_table[r11, f] += x1 * high
                if needs_points:
                    dx = dy = np.float32(0)
                    for f in range(features):
                        g = grad_output[i, level * features + f]
                        t00, t10, t01, t11 = table[r00, f], table[r10, f], table[r01, f], table[r11, f]
                        dx += g * (y0 * (t10 - t00) + y1 * (t11 - t01))
                        dy += g * (x0 * (t01 - t00) + x1 * (t11 - t10))
                    if free(points[i, 0]):
                        grad_points[worker, i, 0] += dx * np.float32(cells[level, 0])
                    if free(points[i, 1]):
                        grad_points[worker, i, 1] += dy * np.float32(cells[level, 1])


@compiled(parallel=True, fastmath={"contract"})
def encode_3d_backward(
    points: Array,
    table: Array,
    grad_output: Array,
    grad_points: Array,
    grad_table: Array,
    cells: Array,
    factors: Array,
    masks: Array,
) -> None:
    count, features = points.shape[0], table.shape[1]
    needs_points, needs_table = grad_points.shape[1] > 0, grad_table.shape[0] > 0
    workers = grad_points.shape[0]
    for worker in prange(workers):
        for level in range(worker, len(masks), workers):
            fx, fy, fz, first = factors[level, 0], factors[level, 1], factors[level, 2], factors[level, 3]
            mask = masks[level]
            for i in range(count):
                cx, x1 = locate(points[i, 0], cells[level, 0])
                cy, y1 = locate(points[i, 1], cells[level, 1])
                cz, z1 = locate(points[i, 2], cells[level, 2])
                x0, y0, z0 = np.float32(1) - x1, np.float32(1) - y1, np.float32(1) - z1
                ax, ay, az = cx * fx, cy * fy, cz * fz
                bx, by, bz = ax + fx, ay + fy, az + fz
                r000, r100 = row_3d(ax, ay, az, first, mask), row_3d(bx, ay, az, first, mask)
                r010, r110 = row_3d(ax, by, az, first, mask), row_3d(bx, by, az, first, mask)
                r001, r101 = row_3d(ax, ay, bz, first, mask), row_3d(bx, ay, bz, first, mask)
                r011, r111 = row_3d(ax, by, bz, first, mask), row_3d(bx, by, bz, first, mask)
                if needs_table:
                    for f in range(features):
                        g = grad_output[i, level * features + f]
                        g00, g10, g01, g11 = y0 * z0 * g, y1 * z0 * g, y0 * z1 * g, y1 * z1 * g
                        grad_table[r000, f] += x0 * g00
                        grad_table[r100, f] += x1 * g00
                        grad_table[r010, f] += x0 * g10
                        grad_table[r110, f] += x1 * g10
                        grad_table[r001, f] += x0 * g01
                        grad_table[r101, f] += x1 * g01
                        grad_table[r011, f] += x0 * g11
                        grad_table[r111, f] += x1 * g11
                if needs_points:
                    dx = dy = dz = np.float32(0)
                    for f in range(features):
                        g = grad_output[i, level * features + f]
                        t000, t100, t010, t110 = table[r000, f], table[r100, f], table[r010, f], table[r110, f]
                        t001, t101, t011, t111 = table[r001, f], table[r101, f], table[r011, f], table[r111, f]
                        near_low, near_high = t100 - t000, t110 - t010
                        far_low, far_high = t101 - t001, t111 - t011
                        dx += g * (z0 * (y0 * near_low + y1 * near_high) + z1 * (y0 * far_low + y1 * far_high))
                        near = x0 * (t010 - t000) + x1 * (t110 - t100)
                        far = x0 * (t011 - t001) + x1 * (t111 - t101)
                        dy += g * (z0 * near + z1 * far)
                        near = x0 * (t001 - t000) + x1 * (t101 - t100)
                        far = x0 * (t011 - t010) + x1 * (t111 - t110)
                        dz += g * (y0 * near + y1 * far)
                    if free(points[i, 0]):
                        grad_points[worker, i, 0] += dx * np.float32(cells[level, 0])
                    if free(points[i, 1]):
                        grad_points[worker, i, 1] += dy * np.float32(cells[level, 1])
                    if free(points[i, 2]):
                        grad_points[worker, i, 2] += dz * np.float32(cells[level, 2])
