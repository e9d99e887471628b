"""Where a tile of the output may lie on a layer's canvas: what leaves out the work for tiles that no edit reaches.

These are bounds for sure: between nodes uv is bilinear, so over a part of the source it stays within what the affine
map and the nodes around that part allow; and a homography takes a tile to a part of the source that its corners bound.
"""

import numpy as np
from numba import njit

from layerloom.render.cpu.addresses import bytes_at, levels_at
from layerloom.render.cpu.packing import BLOCK_TEXELS
from layerloom.render.cpu.sampling import FAST, ZERO, Record, cell, move
from layerloom.render.pyramid import FAR

Box = tuple[float, float, float, float]
"""Least and greatest x, least and greatest y."""
EVERYWHERE: Box = (-FAR, FAR, -FAR, FAR)


@njit(**FAST)
def canvas_box(instance: Record, first: Record, second: Record, tile: Box) -> tuple[Box, float]:
    """The texels that an instance shows in a tile, from its maps on both sides of its time, and how many of them one
    pixel of the source covers at most, along the ellipse's long axis."""
    if not is_ahead(instance, tile):
        return EVERYWHERE, FAR
    source = source_box(instance, tile)
    box, stretch = mapped_box(first, source)
    if instance.share > ZERO:
        other, other_stretch = mapped_box(second, source)
        box = (min(box[0], other[0]), max(box[1], other[1]), min(box[2], other[2]), max(box[3], other[3]))
        stretch = max(stretch, other_stretch)
    return box, stretch


@njit(**FAST)
def is_something(image: Record, box: Box, slack: float) -> bool:
    """Whether an image holds anything in a box of texels and around it."""
    left, right, top, bottom = box[0] - slack, box[1] + slack, box[2] - slack, box[3] + slack
    if left > image.high_x or right < image.low_x or top > image.high_y or bottom < image.low_y:
        return False
    # A border that goes on is that of the outermost blocks.
    columns, rows, blocks = image.block_columns, image.block_rows, bytes_at(image.blocks_at)
    begin, end = block_at(left - image.left[0], columns), block_at(right - image.left[0], columns)
    for row in range(block_at(top - image.top[0], rows), block_at(bottom - image.top[0], rows) + 1):
        for column in range(begin, end + 1):
            if blocks[row * columns + column]:
                return True
    return False


@njit(**FAST)
def block_at(texel: float, count: int) -> int:
    """The block that holds a texel, of so many in a row; the nearest one beyond the ends."""
    return int(min(max(texel / BLOCK_TEXELS, 0.0), count - 1.0))


@njit(**FAST)
def is_ahead(instance: Record, tile: Box) -> bool:
    """Whether all of a tile lies on one side of an instance's horizon."""
    least, greatest = FAR, -FAR
    for x in tile[:2]:
        for y in tile[2:]:
            w = instance.m20 * x + instance.m21 * y + instance.m22
            least, greatest = min(least, w), max(greatest, w)
    return least > 0 or greatest < 0


@njit(**FAST)
def source_box(instance: Record, tile: Box) -> Box:
    """The part of the source in which a tile ahead of the horizon looks."""
    low_x, high_x, low_y, high_y = FAR, -FAR, FAR, -FAR
    for tile_x in tile[:2]:
        for tile_y in tile[2:]:
            x, y = move(instance, tile_x, tile_y)
            low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    return low_x, high_x, low_y, high_y


@njit(**FAST)
def mapped_box(maps: Record, source: Box) -> tuple[Box, float]:
    """The texels that a layer shows in a part of the source, and the most that one of its pixels covers."""
    left = cell(np.float32(source[0]) * maps.node_per_x, maps.node_columns)[0]
    right = cell(np.float32(source[1]) * maps.node_per_x, maps.node_columns)[0] + 2
    top = cell(np.float32(source[2]) * maps.node_per_y, maps.node_rows)[0]
    bottom = cell(np.float32(source[3]) * maps.node_per_y, maps.node_rows)[0] + 2
    least_u, most_u, right_u, down_u = level_range(maps, left, right, top, bottom, 0)
    least_v, most_v, right_v, down_v = level_range(maps, left, right, top, bottom, 1)
    low_u, high_u = product_range(maps.a00, source[0], source[1], maps.a01, source[2], source[3])
    low_v, high_v = product_range(maps.a10, source[0], source[1], maps.a11, source[2], source[3])
    u, v = maps.a02 + maps.low_x, maps.a12 + maps.low_y
    box = (
        u + low_u + maps.step_x * least_u,
        u + high_u + maps.step_x * most_u,
        v + low_v + maps.step_y * least_v,
        v + high_v + maps.step_y * most_v,
    )
    bent = np.hypot(right_u * maps.step_x, right_v * maps.step_y) * maps.node_per_x
    bent += np.hypot(down_u * maps.step_x, down_v * maps.step_y) * maps.node_per_y
    return box, longest_axis(maps) + bent


@njit(**FAST)
def level_range(
    maps: Record, left: int, right: int, top: int, bottom: int, which: int
) -> tuple[np.int32, np.int32, np.int32, np.int32]:
    """Least and greatest level of u or v at some nodes, and the greatest steps between neighbours to the right and
    downwards."""
    nodes, stride = levels_at(maps.node_at), 2 * maps.node_columns
    least, most, across, down = np.int32(65535), np.int32(0), np.int32(0), np.int32(0)
    for row in range(top, bottom):
        here, above = row * stride + which, max(row - 1, top) * stride + which
        for column in range(left, right):
            level = np.int32(nodes[here + 2 * column])
            least, most = min(least, level), max(most, level)
            across = max(across, abs(level - np.int32(nodes[here + 2 * max(column - 1, left)])))
            down = max(down, abs(level - np.int32(nodes[above + 2 * column])))
    return least, most, across, down


@njit(**FAST)
def product_range(a: float, low_x: float, high_x: float, b: float, low_y: float, high_y: float) -> tuple[float, float]:
    """Least and greatest a x + b y."""
    least = min(a * low_x, a * high_x) + min(b * low_y, b * high_y)
    return least, max(a * low_x, a * high_x) + max(b * low_y, b * high_y)


@njit(**FAST)
def longest_axis(maps: Record) -> float:
    """Of the ellipse of texels that the affine map makes of a pixel: its greatest singular value."""
    spread = maps.a00**2 + maps.a01**2 + maps.a10**2 + maps.a11**2
    area = 2 * abs(maps.a00 * maps.a11 - maps.a01 * maps.a10)
    return (np.sqrt(spread + area) + np.sqrt(max(spread - area, 0.0))) / 2
