"""Splatting for CPUs, compiled by Numba: same meaning and values as `reference`. Each thread owns rows of texels."""

import numpy as np
from jaxtyping import Float32
from numba import prange
from torch import Tensor

from layerloom.core.jit import compiled
from layerloom.ops.cpu_threads import use_torch_threads

Array = np.ndarray


def splat(
    values: Float32[Tensor, "c n"],
    positions: Float32[Tensor, "n 2"],
    size: tuple[int, int],
    into: Float32[Tensor, "texels c"],
) -> None:
    """See `reference.splat`."""
    threads = use_torch_threads()
    arrays = (tensor.detach().contiguous().numpy() for tensor in (values, positions))
    splat_bands(*arrays, *size, into.detach().numpy(), threads)


@compiled(parallel=True)
def splat_bands(values: Array, positions: Array, columns: int, rows: int, into: Array, bands: int) -> None:
    for band in prange(bands):
        first, end = band * rows // bands, (band + 1) * rows // bands
        for point in range(len(positions)):
            x, y = positions[point, 0] - np.float32(0.5), positions[point, 1] - np.float32(0.5)
            # Written so that a position that is not a number is dropped, too.
            if not (x > -1 and x < columns and y > first - 1 and y < end):
                continue
            left, top = int(np.floor(x)), int(np.floor(y))
            fx, fy = x - np.float32(left), y - np.float32(top)
            for corner in range(4):
                column, row = left + corner % 2, top + corner // 2
                if 0 <= column < columns and first <= row < end:
                    share = (fx if corner % 2 else 1 - fx) * (fy if corner // 2 else 1 - fy)
                    texel = row * columns + column
                    for channel in range(len(values)):
                        into[texel, channel] += values[channel, point] * share
