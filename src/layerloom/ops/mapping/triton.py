# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""A layer's mapping in Triton, one program a tile: same meaning and gradients as `Layer.mapping`.

Beside texels it gives the positions in [0, 1] at which the layer's grids are read, so that nothing is computed twice.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from jaxtyping import Float32, Int32, Integer
from torch import Tensor

from layerloom.ops.hash_encode.layout import GridLayout
from layerloom.ops.hash_encode.triton import encode_backward, interpolate, level_table

SMALLEST_BLOCK = 16
POINTS_A_PROGRAM = 128


@dataclass(frozen=True)
class Mapping:
    """What a layer's mapping is made of; tensors on the device.

    motion: homographies (t 3 3); affine: learned (t 2 3), see `Layer`; table: of the offset's lattice.
    """

    motion: Float32[Tensor, "t 3 3"]
    affine: Float32[Tensor, "t 2 3"]
    table: Float32[Tensor, "rows 2"]
    layout: GridLayout
    canvas: tuple[int, int]
    frames: int

    @property
    def numbers(self) -> dict[str, float]:
        width, height = self.canvas
        half = max(width, height) / 2
        return {
            "centre_x": width / 2,
            "centre_y": height / 2,
            "per_half": 1 / half,
            "per_width": 1 / width,
            "per_height": 1 / height,
            "per_frame": 1 / self.frames,
        }


@dataclass(frozen=True)
class MappedTiles:
    """Where k points of n tiles are: in texels; and as shares of the canvas, with the time, for the grids."""

    uv: Float32[Tensor, "n k 2"]
    start: Float32[Tensor, "n k 2"]
    unit_uv: Float32[Tensor, "n k 3"] | None
    unit_start: Float32[Tensor, "n k 3"]


def map_tiles(mapping: Mapping, xy: Float32[Tensor, "n k 2"], frame: Int32[Tensor, " n"], output: MappedTiles) -> None:
    """Fill `output` for pixel positions in frames."""
    tiles, points, _ = xy.shape
    m = mapping
    arrays = (xy, frame, m.motion, m.affine, m.table, level_table(m.layout, xy.device))
    outputs = (output.uv, output.start, output.unit_uv, output.unit_start)
    block = max(SMALLEST_BLOCK, triton.next_power_of_2(points))
    levels = len(m.layout.resolutions)
    counts = (points, tiles * points, levels)
    map_kernel[(tiles,)](*arrays, *outputs, *counts, **m.numbers, ONE_FRAME=False, BLOCK=block, num_warps=2)


def map_points(
    mapping: Mapping, xy: Float32[Tensor, "k 2"], frame: Integer[Tensor, " 1"]
) -> tuple[Float32[Tensor, "k 2"], Float32[Tensor, "k 2"]]:
    """Texels at pixel positions of one frame, and where the motion prior alone would look; as `Layer.mapping`."""
    m, xy = mapping, xy.contiguous()
    uv, start = torch.empty_like(xy), torch.empty_like(xy)
    if len(xy):
        arrays = (xy, frame, m.motion, m.affine, m.table, level_table(m.layout, xy.device), uv, start, None, None)
        counts = (POINTS_A_PROGRAM, len(xy), len(m.layout.resolutions))
        kernel = map_kernel[(triton.cdiv(len(xy), POINTS_A_PROGRAM),)]
        kernel(*arrays, *counts, **m.numbers, ONE_FRAME=True, BLOCK=POINTS_A_PROGRAM, num_warps=4)
    return uv, start


def map_tiles_backward(
    mapping: Mapping,
    frame: Int32[Tensor, " n"],
    mapped: MappedTiles,
    grad_uv: Float32[Tensor, "n k 2"],
    grad_unit_uv: Float32[Tensor, "parts n*k 2"] | None,
    share: Float32[Tensor, " tiles"] | None,
    grad_affine: Float32[Tensor, "t 2 3"],
    grad_table: Float32[Tensor, "rows 2"],
) -> None:
    """Add to `grad_affine` and `grad_table`.

    grad_uv is with respect to texels, and is overwritten; grad_unit_uv to shares of the canvas, in parts to be summed,
    of which each tile's `share` counts; all where there is none.
    """
    tiles, points, _ = grad_uv.shape
    m = mapping
    parts = 0 if grad_unit_uv is None else len(grad_unit_uv)
    arrays = (frame, mapped.start, grad_uv, grad_unit_uv, share, grad_affine)
    block = max(SMALLEST_BLOCK, triton.next_power_of_2(points))
    map_backward_kernel[(tiles,)](*arrays, tiles, points, parts, **m.numbers, BLOCK=block, num_warps=2)
    positions = mapped.unit_start.view(-1, 3)
    encode_backward(positions, m.table, m.layout, grad_uv.view(-1, 2), None, grad_table, summed=True)


@triton.jit
def map_kernel(
    xy, frame, motion, affine, table, levels_table, uv, start, unit_uv, unit_start, points, count, levels,
    centre_x, centre_y, per_half, per_width, per_height, per_frame, ONE_FRAME: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    place = tile * points + lane
    inside = (lane < points) & (place < count)
    t = tl.load(frame) if ONE_FRAME else tl.load(frame + tile)
    x, y = tl.load(xy + place * 2, mask=inside, other=0.0), tl.load(xy + place * 2 + 1, mask=inside, other=0.0)

    h = motion + t * 9
    depth = tl.load(h + 6) * x + tl.load(h + 7) * y + tl.load(h + 8)
    start_x = (tl.load(h) * x + tl.load(h + 1) * y + tl.load(h + 2)) / depth
    start_y = (tl.load(h + 3) * x + tl.load(h + 4) * y + tl.load(h + 5)) / depth
    from_centre_x, from_centre_y = (start_x - centre_x) * per_half, (start_y - centre_y) * per_half
    a = affine + t * 6
    u = start_x + tl.load(a + 2) + tl.load(a) * from_centre_x + tl.load(a + 1) * from_centre_y
    v = start_y + tl.load(a + 5) + tl.load(a + 3) * from_centre_x + tl.load(a + 4) * from_centre_y

    unit_x, unit_y = start_x * per_width, start_y * per_height
    time = (t.to(tl.float32) + 0.5) * per_frame + unit_x * 0
    axis = tl.arange(0, 2)[None, :]
    offset = tl.zeros([BLOCK, 2], tl.float32)
    for level in range(levels):
        offset += interpolate(table, levels_table + level * 8, unit_x, unit_y, time, inside[:, None], axis, 3, 2)
    u += tl.sum(tl.where(axis == 0, offset, 0.0), 1)
    v += tl.sum(tl.where(axis == 1, offset, 0.0), 1)

    tl.store(uv + place * 2, u, mask=inside)
    tl.store(uv + place * 2 + 1, v, mask=inside)
    tl.store(start + place * 2, start_x, mask=inside)
    tl.store(start + place * 2 + 1, start_y, mask=inside)
    if unit_uv is not None:
        store_point(unit_uv, place, u * per_width, v * per_height, time, inside)
    if unit_start is not None:
        store_point(unit_start, place, unit_x, unit_y, time, inside)


@triton.jit
def store_point(target, place, x, y, z, inside):
    tl.store(target + place * 3, x, mask=inside)
    tl.store(target + place * 3 + 1, y, mask=inside)
    tl.store(target + place * 3 + 2, z, mask=inside)


@triton.jit
def map_backward_kernel(
    frame, start, grad_uv, grad_unit_uv, share, grad_affine, tiles, points, parts,
    centre_x, centre_y, per_half, per_width, per_height, per_frame, BLOCK: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0)
    lane = tl.arange(0, BLOCK)
    inside = lane < points
    place = tile * points + lane
    u, v = (
        tl.load(grad_uv + place * 2, mask=inside, other=0.0),
        tl.load(grad_uv + place * 2 + 1, mask=inside, other=0.0),
    )
    if grad_unit_uv is not None:
        counted = 1.0
        if share is not None:
            counted = tl.load(share + tile)
        for part in range(parts):
            more = grad_unit_uv + (part * tiles * points + place) * 2
            u += tl.load(more, mask=inside, other=0.0) * per_width * counted
            v += tl.load(more + 1, mask=inside, other=0.0) * per_height * counted
    tl.store(grad_uv + place * 2, u, mask=inside)
    tl.store(grad_uv + place * 2 + 1, v, mask=inside)

    x = (tl.load(start + place * 2, mask=inside, other=0.0) - centre_x) * per_half
    y = (tl.load(start + place * 2 + 1, mask=inside, other=0.0) - centre_y) * per_half
    a = grad_affine + tl.load(frame + tile) * 6
    tl.atomic_add(a, tl.sum(u * x), sem="relaxed")
    tl.atomic_add(a + 1, tl.sum(u * y), sem="relaxed")
    tl.atomic_add(a + 2, tl.sum(u), sem="relaxed")
    tl.atomic_add(a + 3, tl.sum(v * x), sem="relaxed")
    tl.atomic_add(a + 4, tl.sum(v * y), sem="relaxed")
    tl.atomic_add(a + 5, tl.sum(v), sem="relaxed")
