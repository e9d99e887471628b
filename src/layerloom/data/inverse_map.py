"""The inverse of a layer's uv map: where in a frame each texel lies, by Newton's method, compiled by Numba."""

from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from layerloom.core.geometry import Size
from layerloom.core.jit import compiled
from layerloom.core.parallel import do_in_threads, thread_count

STEPS = 13
"""Newton steps at most: a texel ends earlier where a step no longer moves it."""
LEAST_ROWS = 16
"""Of texels that are worth a thread."""
STEPS_A_NODE = np.float32(32)
STEP = np.float32(1 / 32)
"""Places between two nodes that are told apart: OpenCV's `remap`, by which uv is read everywhere, has as many."""


def invert_map(
    uv: Float32[np.ndarray, "h w 2"],
    affine: Float64[np.ndarray, "2 3"],
    offset: Float32[np.ndarray, "rows columns 2"],
    size: Size,
) -> tuple[Float32[np.ndarray, "h w 2"], Float32[np.ndarray, "h w 2"]]:
    """Positions in a frame (source pixels) at which a map leads to texels `uv`, and by how many texels it misses them.

    affine, offset: of the map, as a BakedLayer has them; size: of the source's frames. The Jacobian is the affine
    part's, so that steps may run away where the map bends sharply: there it misses by much.
    """
    xy, error = np.empty_like(uv), np.empty_like(uv)
    inverse = np.linalg.inv(affine[:, :2]).astype(np.float32)
    per_pixel = (np.float32((offset.shape[1] - 1) / size[0]), np.float32((offset.shape[0] - 1) / size[1]))
    threads = max(1, min(thread_count(), len(uv) // LEAST_ROWS))

    def invert(band: int) -> None:
        rows = slice(len(uv) * band // threads, len(uv) * (band + 1) // threads)
        _invert(uv[rows], affine, inverse, offset, per_pixel, xy[rows], error[rows])

    if threads == 1:
        invert(0)
    else:
        do_in_threads(invert, range(threads))
    return xy, error


Array = np.ndarray


@compiled(nogil=True)
def _invert(
    uv: Array, affine: Array, inverse: Array, offset: Array, per_pixel: tuple[Any, Any], xy: Array, error: Array
) -> None:
    """Fill `xy` and `error`. Rounded as OpenCV and BLAS round, so that `LayerMaps.uv_at` agrees to the last bit."""
    i00, i01, i10, i11 = inverse[0, 0], inverse[0, 1], inverse[1, 0], inverse[1, 1]
    for row in range(uv.shape[0]):
        for column in range(uv.shape[1]):
            u, v = uv[row, column, 0], uv[row, column, 1]
            du, dv = u - np.float32(affine[0, 2]), v - np.float32(affine[1, 2])
            x, y = np.float32(0), np.float32(0)
            last_x, last_y = x, y
            for step in range(STEPS):
                next_x, next_y = x + _fused(du, i00, dv, i01), y + _fused(du, i10, dv, i11)
                # Between two places to and fro: as after the last step, which is an even number of them away.
                turns = next_x == last_x and next_y == last_y and (STEPS - step) % 2 == 0
                if turns or (next_x == x and next_y == y):
                    break
                last_x, last_y, x, y = x, y, next_x, next_y
                there_u, there_v = _map(x, y, affine, offset, per_pixel)
                du, dv = u - there_u, v - there_v
            xy[row, column, 0], xy[row, column, 1] = x, y
            error[row, column, 0], error[row, column, 1] = du, dv


@compiled(nogil=True, inline="always")
def _fused(a: Any, b: Any, c: Any, d: Any) -> Any:
    """a b + c d in single precision, the second product added before it is rounded."""
    return np.float32(np.float64(a * b) + np.float64(c) * np.float64(d))


@compiled(nogil=True, inline="always")
def _map(x: Any, y: Any, affine: Array, offset: Array, per_pixel: tuple[Any, Any]) -> tuple[Any, Any]:
    """Texel position at a source position."""
    rows, columns = offset.shape[:2]
    fine_x, fine_y = _steps(x * per_pixel[0], columns), _steps(y * per_pixel[1], rows)
    left, top = fine_x >> 5, fine_y >> 5
    fx, fy = np.float32(fine_x & 31) * STEP, np.float32(fine_y & 31) * STEP
    one = np.float32(1)
    a, b, c, d = (one - fy) * (one - fx), (one - fy) * fx, fy * (one - fx), fy * fx
    right, bottom = min(max(left + 1, 0), columns - 1), min(max(top + 1, 0), rows - 1)
    left, top = min(max(left, 0), columns - 1), min(max(top, 0), rows - 1)
    bent_u = offset[top, left, 0] * a + offset[top, right, 0] * b
    bent_u = bent_u + offset[bottom, left, 0] * c + offset[bottom, right, 0] * d
    bent_v = offset[top, left, 1] * a + offset[top, right, 1] * b
    bent_v = bent_v + offset[bottom, left, 1] * c + offset[bottom, right, 1] * d
    u = np.float32(np.float64(x) * affine[0, 0] + np.float64(y) * affine[0, 1] + affine[0, 2])
    v = np.float32(np.float64(x) * affine[1, 0] + np.float64(y) * affine[1, 1] + affine[1, 2])
    return u + bent_u, v + bent_v


@compiled(nogil=True, inline="always")
def _steps(position: Any, count: int) -> int:
    """Steps from the first node, rounded; far outside, as many as lead beyond the nodes."""
    bounded = min(max(position, np.float32(-2)), np.float32(count + 1))
    return int(np.rint(bounded * STEPS_A_NODE))
