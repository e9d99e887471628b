# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false, reportOperatorIssue=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""Bilinear splatting in Triton: same meaning as `reference.splat`."""

import triton
import triton.language as tl
from jaxtyping import Float32
from torch import Tensor

LAUNCH = {"BLOCK": 256, "num_warps": 4}


def splat(
    values: Float32[Tensor, "c n"],
    positions: Float32[Tensor, "n 2"],
    size: tuple[int, int],
    into: Float32[Tensor, "texels c"],
) -> None:
    """See `reference.splat`. Points without any value are passed over."""
    channels, count = values.shape
    if count:
        grid = (triton.cdiv(count, LAUNCH["BLOCK"]),)
        width = triton.next_power_of_2(channels)
        arrays = (values.contiguous(), positions.contiguous(), into)
        splat_kernel[grid](*arrays, count, *size, CHANNELS=channels, WIDTH=width, **LAUNCH)


@triton.jit
def splat_kernel(
    values, positions, into, count, columns, rows,
    CHANNELS: tl.constexpr, WIDTH: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    channel = tl.arange(0, WIDTH)[None, :]
    fits = (index < count)[:, None] & (channel < CHANNELS)
    value = tl.load(values + channel * count + index[:, None], mask=fits, other=0.0)
    any_value = tl.max(tl.abs(value), 1) > 0
    x = tl.load(positions + index * 2, mask=index < count, other=0.0) - 0.5
    y = tl.load(positions + index * 2 + 1, mask=index < count, other=0.0) - 0.5
    left, top = tl.floor(x), tl.floor(y)
    right_share, lower_share = x - left, y - top
    for down in tl.static_range(2):
        for across in tl.static_range(2):
            column, row = left.to(tl.int32) + across, top.to(tl.int32) + down
            inside = any_value & (column >= 0) & (column < columns) & (row >= 0) & (row < rows)
            share = (right_share if across else 1 - right_share) * (lower_share if down else 1 - lower_share)
            texel = (row.to(tl.int64) * columns + column) * CHANNELS
            tl.atomic_add(
                into + texel[:, None] + channel, value * share[:, None], mask=fits & inside[:, None], sem="relaxed"
            )
