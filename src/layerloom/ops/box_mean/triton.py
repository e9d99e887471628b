# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false, reportOperatorIssue=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""Means over neighbourhoods in Triton: same meaning as `reference.neighbourhood_mean`.

Boxes along x and along y may be taken in any order, so both along one axis are one pass: a pixel's outer box is a sum
over the inner boxes of its neighbours, each of which follows from the one before by a pixel that enters and one that
leaves.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float32
from torch import Tensor

from layerloom.ops.box_mean.reference import NEIGHBOURHOOD_PIXELS

LAUNCH = {"ROWS": 16, "COLUMNS": 64, "num_warps": 4}


def neighbourhood_mean(images: Float32[Tensor, "n c h w"]) -> Float32[Tensor, "n c h w"]:
    """See `reference.neighbourhood_mean`. Not differentiable."""
    images = images.contiguous()
    planes, rows, columns = images.shape[0] * images.shape[1], *images.shape[2:]
    along_x, both = torch.empty_like(images), torch.empty_like(images)
    if images.numel():
        grid = (planes, triton.cdiv(rows, LAUNCH["ROWS"]), triton.cdiv(columns, LAUNCH["COLUMNS"]))
        reach = NEIGHBOURHOOD_PIXELS // 2
        mean_kernel[grid](images, along_x, rows, columns, ALONG_X=True, REACH=reach, **LAUNCH)
        mean_kernel[grid](along_x, both, rows, columns, ALONG_X=False, REACH=reach, **LAUNCH)
    return both


@triton.jit
def mean_kernel(
    images, means, rows, columns, ALONG_X: tl.constexpr, REACH: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    inside = (row < rows) & (column < columns)
    # Planes of a batch may hold more than 2³¹ pixels together.
    pixel = tl.program_id(0).to(tl.int64) * rows * columns + row * columns + column
    place = tl.zeros([ROWS, COLUMNS], tl.int32) + (column if ALONG_X else row)
    length = columns if ALONG_X else rows
    stride = 1 if ALONG_X else columns
    box = tl.zeros([ROWS, COLUMNS], tl.float32)
    for shift in tl.static_range(-2 * REACH, 0):
        at = place + shift
        box += tl.load(images + pixel + shift * stride, mask=inside & (at >= 0) & (at < length), other=0.0)
    total = tl.zeros([ROWS, COLUMNS], tl.float32)
    own_count = tl.zeros([ROWS, COLUMNS], tl.float32)
    for shift in tl.static_range(-REACH, REACH + 1):
        enters, leaves, middle = place + shift + REACH, place + shift - REACH - 1, place + shift
        mask = inside & (enters >= 0) & (enters < length)
        box += tl.load(images + pixel + (shift + REACH) * stride, mask=mask, other=0.0)
        if shift > -REACH:
            mask = inside & (leaves >= 0) & (leaves < length)
            box -= tl.load(images + pixel + (shift - REACH - 1) * stride, mask=mask, other=0.0)
        count = tl.minimum(middle, REACH) + tl.minimum(length - 1 - middle, REACH) + 1
        counts = (middle >= 0) & (middle < length)
        total += tl.where(counts, box / tl.maximum(count, 1).to(tl.float32), 0.0)
        own_count += counts.to(tl.float32)
    tl.store(means + pixel, total / own_count, mask=inside)
