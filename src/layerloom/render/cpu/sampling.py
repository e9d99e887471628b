"""What a compiled loop looks up at one point: the definition's functions for a pixel, by Numba.

Maps and images are records of `packing`.
"""

from typing import Any

import numpy as np
from numba import njit

from layerloom.core.jit import compiled
from layerloom.render.cpu.addresses import blend_floats, blend_levels, levels_at
from layerloom.render.pyramid import BILINEAR_TEXELS_PER_PIXEL, FINEST_TEXELS_PER_PIXEL, HALVINGS_PER_TEXEL, MOST_PROBES
from layerloom.render.scene import DETAIL_MARGIN

FINEST, MOST = np.float32(FINEST_TEXELS_PER_PIXEL), np.float32(MOST_PROBES)
BILINEAR, HALVINGS = np.float32(BILINEAR_TEXELS_PER_PIXEL), np.float32(HALVINGS_PER_TEXEL)
DETAIL_OFFSET = np.float32(DETAIL_MARGIN - 0.5)
ALPHA_STEP = np.float32(1 / 65535)
ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)

FAST: dict[str, Any] = {"fastmath": {"contract", "nsz", "arcp", "nnan", "ninf"}, "error_model": "numpy"}
"""No checks for division by zero, and products may be fused with sums."""

Array = np.ndarray
Record = Any
Values = tuple[np.float32, np.float32, np.float32, np.float32]
Mapped = tuple[np.float32, np.float32, np.float32, np.float32, np.float32, np.float32]
"""u, v; derivatives of u by x and y, and of v by x and y."""
Ellipse = tuple[np.float32, np.float32, np.float32, np.float32]
"""Long axis x, y in texels; probes along it; how often to halve for them."""


@compiled(nogil=True)
def quantise(values: Array, scale: np.float32, levels: Array) -> None:
    """Fill `levels` (int16) with scaled values, rounded."""
    for row in range(values.shape[0]):
        for column in range(values.shape[1]):
            for k in range(4):
                levels[row, column, k] = np.int16(np.rint(values[row, column, k] * scale))


@njit(**FAST)
def move(place: Record, x: float, y: float) -> tuple[float, float]:
    """A homography's image of a point."""
    w = place.m20 * x + place.m21 * y + place.m22
    return (place.m00 * x + place.m01 * y + place.m02) / w, (place.m10 * x + place.m11 * y + place.m12) / w


@njit(inline="always", **FAST)
def cell(position: np.float32, count: int) -> tuple[int, np.float32]:
    """The entry below a position, clamped so that one more follows, and the fraction from it to the next."""
    position = min(max(position, ZERO), np.float32(count - 1))
    below = min(int(position), count - 2)
    return below, position - np.float32(below)


@njit(inline="always", **FAST)
def mix(a: np.float32, b: np.float32, share: np.float32) -> np.float32:
    return a + share * (b - a)


@njit(inline="always", **FAST)
def corners(columns: int, rows: int, x: np.float32, y: np.float32) -> tuple[int, int, Values]:
    """The entries at the upper and at the lower left of a place in a grid, and the weights of the four around it."""
    column, fx = cell(x, columns)
    row, fy = cell(y, rows)
    at, gx, gy = row * columns + column, ONE - fx, ONE - fy
    return at, at + columns, (gx * gy, fx * gy, gx * fy, fx * fy)


@njit(inline="always", **FAST)
def look_up(address: int, columns: int, rows: int, x: np.float32, y: np.float32) -> Values:
    """Four floats, bilinear; `x`, `y`: from the first entry's own place."""
    at, below, weights = corners(columns, rows, x, y)
    return blend_floats(address, at, below, *weights)


@njit(**FAST)
def map_point(maps: Record, x: float, y: float) -> Mapped:
    """Texel position at a source position, and its derivatives."""
    node_x, node_y = np.float32(x) * maps.node_per_x, np.float32(y) * maps.node_per_y
    column, fx = cell(node_x, maps.node_columns)
    row, fy = cell(node_y, maps.node_rows)
    nodes, at = levels_at(maps.node_at), 2 * (row * maps.node_columns + column)
    below = at + 2 * maps.node_columns
    inside_x = maps.node_per_x if 0 <= node_x <= maps.node_columns - 1 else ZERO
    inside_y = maps.node_per_y if 0 <= node_y <= maps.node_rows - 1 else ZERO
    u, ux, uy = between(nodes[at], nodes[at + 2], nodes[below], nodes[below + 2], fx, fy)
    v, vx, vy = between(nodes[at + 1], nodes[at + 3], nodes[below + 1], nodes[below + 3], fx, fy)
    return (
        np.float32(maps.a00 * x + maps.a01 * y + maps.a02) + (maps.low_x + maps.step_x * u),
        np.float32(maps.a10 * x + maps.a11 * y + maps.a12) + (maps.low_y + maps.step_y * v),
        np.float32(maps.a00) + maps.step_x * inside_x * ux,
        np.float32(maps.a01) + maps.step_x * inside_y * uy,
        np.float32(maps.a10) + maps.step_y * inside_x * vx,
        np.float32(maps.a11) + maps.step_y * inside_y * vy,
    )


@njit(inline="always", **FAST)
def between(
    a: np.uint16, b: np.uint16, c: np.uint16, d: np.uint16, fx: np.float32, fy: np.float32
) -> tuple[np.float32, np.float32, np.float32]:
    """Bilinear value of four levels, and its slopes to the right and downwards."""
    upper, lower = np.float32(b) - np.float32(a), np.float32(d) - np.float32(c)
    left, right = np.float32(a) + fx * upper, np.float32(c) + fx * lower
    return mix(left, right, fy), mix(upper, lower, fy), right - left


@njit(**FAST)
def own_alpha(maps: Record, x: np.float32, y: np.float32) -> np.float32:
    """Zero outside of the source's frame."""
    alphas = levels_at(maps.alpha_at)
    columns, rows = maps.alpha_columns, maps.alpha_rows
    x, y = x * maps.alpha_per_x, y * maps.alpha_per_y
    if not (0 <= x <= columns and 0 <= y <= rows):
        return ZERO
    x, y = min(max(x - HALF, ZERO), np.float32(columns - 1)), min(max(y - HALF, ZERO), np.float32(rows - 1))
    left, top = int(x), int(y)
    fx, fy = x - np.float32(left), y - np.float32(top)
    at = top * columns + left
    right = 1 if left < columns - 1 else 0
    below = at + (columns if top < rows - 1 else 0)
    upper = mix(np.float32(alphas[at]), np.float32(alphas[at + right]), fx)
    return mix(upper, mix(np.float32(alphas[below]), np.float32(alphas[below + right]), fx), fy) * ALPHA_STEP


@njit(**FAST)
def ellipse(ux: np.float32, uy: np.float32, vx: np.float32, vy: np.float32) -> Ellipse:
    """What a pixel covers of a canvas, from the derivatives of its texel position."""
    uu, vv, uv = ux * ux + uy * uy, vx * vx + vy * vy, ux * vx + uy * vy
    limit = BILINEAR * BILINEAR
    if uu <= limit and vv <= limit and (limit - uu) * (limit - vv) >= uv * uv:
        return ZERO, ZERO, ONE, ZERO
    mean, difference = (uu + vv) * HALF, (uu - vv) * HALF
    root = np.sqrt(difference * difference + uv * uv)
    long, short = np.sqrt(mean + root), np.sqrt(max(mean - root, ZERO))
    probes = min(max(np.floor(long / max(short, FINEST) + HALF), ONE), MOST)
    if difference >= 0:
        axis_x, axis_y = root + difference, uv
    else:
        axis_x, axis_y = uv, root - difference
    scale = long / max(np.sqrt(axis_x * axis_x + axis_y * axis_y), np.float32(1e-20))
    covered = max(long / probes, short)
    level = max(min(np.log2(max(covered / FINEST, ONE)), (covered - BILINEAR) * HALVINGS), ZERO)
    return axis_x * scale, axis_y * scale, probes, level


@njit(inline="always", **FAST)
def look_up_level(image: Record, number: int, x: np.float32, y: np.float32) -> Values:
    """A copy of an image, bilinear; x, y: texels of the canvas."""
    per_texel = image.per_texel[number]
    x, y = (x - image.left[number]) * per_texel + HALF, (y - image.top[number]) * per_texel + HALF
    at, below, weights = corners(image.columns[number], image.rows[number], x, y)
    a, b, c, d = blend_levels(image.at[number], at, below, *weights)
    return a * image.step, b * image.step, c * image.step, d * image.step


@njit(**FAST)
def filtered(image: Record, u: np.float32, v: np.float32, covered: Ellipse) -> Values:
    """An image over what a pixel covers."""
    axis_x, axis_y, probes, level = covered
    if probes == ONE and level == ZERO:
        return look_up_level(image, 0, u, v)
    level = min(level, np.float32(image.levels - 1))
    finer = int(level)
    coarser = min(finer + 1, image.levels - 1)
    share = level - np.float32(finer)
    a = b = c = d = ZERO
    for probe in range(int(probes)):
        along = (np.float32(probe) + HALF) / probes - HALF
        px, py = u + along * axis_x, v + along * axis_y
        fine = look_up_level(image, finer, px, py)
        coarse = look_up_level(image, coarser, px, py)
        a, b = a + mix(fine[0], coarse[0], share), b + mix(fine[1], coarse[1], share)
        c, d = c + mix(fine[2], coarse[2], share), d + mix(fine[3], coarse[3], share)
    return a / probes, b / probes, c / probes, d / probes


@njit(**FAST)
def pixel_of(picture: Array, x: float, y: float, channel: int) -> np.float32:
    """One channel of a picture, bilinear; pixels' centres at +0.5, the border goes on."""
    rows, columns = picture.shape[:2]
    px = min(max(np.float32(x) - HALF, ZERO), np.float32(columns - 1))
    py = min(max(np.float32(y) - HALF, ZERO), np.float32(rows - 1))
    left, top = int(px), int(py)
    fx, fy = px - np.float32(left), py - np.float32(top)
    right, bottom = min(left + 1, columns - 1), min(top + 1, rows - 1)
    upper = mix(np.float32(picture[top, left, channel]), np.float32(picture[top, right, channel]), fx)
    lower = mix(np.float32(picture[bottom, left, channel]), np.float32(picture[bottom, right, channel]), fx)
    return mix(upper, lower, fy)


@njit(**FAST)
def is_inside(picture: Array, x: float, y: float) -> bool:
    return 0 <= x <= picture.shape[1] and 0 <= y <= picture.shape[0]


@njit(**FAST)
def place_of(maps: Record, x: float, y: float, u: np.float32, v: np.float32) -> tuple[np.float32, np.float32]:
    """Where a texel lies in a frame, one Newton step from a place near it."""
    mapped = map_point(maps, x, y)
    du, dv = u - mapped[0], v - mapped[1]
    return (
        np.float32(x) + maps.inverse00 * du + maps.inverse01 * dv,
        np.float32(y) + maps.inverse10 * du + maps.inverse11 * dv,
    )


@njit(**FAST)
def carried(maps: Record, x: np.float32, y: np.float32, kept: np.float32) -> tuple[np.float32, np.float32, np.float32]:
    x, y = x + DETAIL_OFFSET, y + DETAIL_OFFSET
    a, b, c, share = look_up(maps.detail_at, maps.detail_columns, maps.detail_rows, x, y)
    weight = min(kept, share)
    return weight * a, weight * b, weight * c
