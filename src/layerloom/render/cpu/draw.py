"""Any shot on the CPU: the definition compiled by Numba, tile by tile, so that nothing is worked out in vain.

In `detail` a tile that no edit reaches stays the source's own, and so does every pixel on which no edit acts. In a tile
one row is drawn after the other, in passes over the row for each instance: what it covers, where it looks, what it
finds there. What passes hand on lies in rows of a tile's width, which stay in the core's own cache.
A call makes one frame on one core without holding Python's lock, so frames are made side by side.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from layerloom.core.jit import compiled
from layerloom.render.cpu.addresses import levels_at
from layerloom.render.cpu.sampling import (
    ALPHA_STEP,
    BILINEAR,
    FAST,
    HALF,
    ONE,
    ZERO,
    Array,
    Record,
    carried,
    cell,
    ellipse,
    filtered,
    is_inside,
    look_up,
    look_up_level,
    map_point,
    mix,
    move,
    own_alpha,
    pixel_of,
    place_of,
)
from layerloom.render.cpu.tiles import canvas_box, is_something

TILE_COLUMNS, TILE_ROWS = 128, 16

VIEW = np.dtype(
    [("simple", "?"), ("mapped", "?"), ("visible", "i4", TILE_COLUMNS)]
    + [(name, "f4", TILE_COLUMNS) for name in ("seen", "kept", "u", "v")]
    + [("covered", "f4", (4, TILE_COLUMNS))]
)
"""An instance in a row of a tile: its shares, where it is to be looked at, and, once it is `mapped`, where that lies on
the canvas and what a pixel covers there. `simple`, for the whole tile: so little that one probe is enough."""
PART = np.dtype([("reaches", "?"), ("change", "f4", (6, TILE_COLUMNS))])
"""Of a pass and an instance: whether its change reaches the tile; colour, and opacity of each colour."""
EDIT_PASS = np.dtype([("paint", "f4", (6, TILE_COLUMNS)), ("total", "f4", (6, TILE_COLUMNS))])
"""Of a pass: its painting, and its changes of all instances, lit and weighted."""
SUMS = np.dtype(
    [(name, "i4", TILE_COLUMNS) for name in ("needed", "acts", "level")]
    + [(name, "f4", TILE_COLUMNS) for name in ("own", "left_seen", "left_kept", "replaced", "residual", "value")]
    + [(name, "f4", (4, TILE_COLUMNS)) for name in ("content", "lacking", "light", "other")]
    + [(name, "f4", (4, TILE_COLUMNS)) for name in ("along", "explained", "picture")]
)
"""What one pass leaves for the next one, and the sums over all instances."""


class Rows(NamedTuple):
    """What passes over a row of a tile hand on."""

    views: np.ndarray
    parts: np.ndarray
    passes: np.ndarray
    sums: np.ndarray


class Tables(NamedTuple):
    """A shot as records, and what it is drawn from: see `packing`.

    numbers: of patches, by pass and instance, -1 for none (main, opacities). painting_numbers: by pass, -1 for none.
    taken: a single instance, where paintings over the source's picture are seen.
    """

    instances: np.ndarray
    maps: np.ndarray
    textures: np.ndarray
    patches: np.ndarray
    numbers: np.ndarray
    painting_numbers: np.ndarray
    paintings: np.ndarray
    taken: np.ndarray
    backdrop: np.ndarray


@compiled(nogil=True, **FAST)
def find_boxes(instances: Array, maps: Array, boxes: Array, width: int) -> None:
    """Fill in, by tile of a frame so wide and instance: the box of texels shown there (least and greatest x, then y),
    and 1 where a pixel covers so little of the canvas that a single probe is enough, else 0. Edits do not matter."""
    for tile_row in range(boxes.shape[0]):
        for tile_column in range(boxes.shape[1]):
            top, left = tile_row * TILE_ROWS, tile_column * TILE_COLUMNS
            right = min(left + TILE_COLUMNS, width)
            tile = (float(left), float(left + TILE_COLUMNS), float(top), float(top + TILE_ROWS))
            for i in range(len(instances)):
                instance = instances[i]
                first: Record = maps[instance.first]
                box, stretch = canvas_box(instance, first, maps[instance.second], tile)
                simple = not instance.moves and instance.share == ZERO and stretch <= BILINEAR
                simple &= right * first.node_per_x < np.float32(first.node_columns) - HALF
                for side in range(4):
                    boxes[tile_row, tile_column, i, side] = box[side]
                boxes[tile_row, tile_column, i, 4] = 1.0 if simple else 0.0


@compiled(nogil=True, **FAST)
def draw(tables: Tables, boxes: Array, rows: Rows, detail: bool, output: Array, band: tuple[int, int]) -> None:
    """Draw a shot, tile by tile: over the source's picture, which is in `output` (`detail`), or the layers alone.

    boxes: as `find_boxes` fills them. band: the first row of tiles that is drawn, and how many further the next is.
    """
    height, width = output.shape[:2]
    everywhere = not detail or tables.painting_numbers.max() >= 0
    for instance in tables.instances:
        everywhere |= instance.replaced
    for tile_row in range(band[0], boxes.shape[0], band[1]):
        top = tile_row * TILE_ROWS
        for tile_column in range(boxes.shape[1]):
            left = tile_column * TILE_COLUMNS
            if look_over(tables, boxes[tile_row, tile_column], rows) or everywhere:
                for row in range(top, min(top + TILE_ROWS, height)):
                    draw_row(tables, rows, detail, row, left, output[row, left : min(left + TILE_COLUMNS, width)])


@njit(**FAST)
def look_over(tables: Tables, boxes: Array, rows: Rows) -> bool:
    """Find out which changes may reach a tile, and whether any does."""
    patches, numbers = tables.patches, tables.numbers
    reached = False
    for i in range(len(boxes)):
        box = (boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3])
        simple = boxes[i, 4] == 1.0
        rows.views[i].simple = simple
        # How far beyond its texel a pixel looks: to the next one, or as far as it may be filtered.
        slack = 1.0 if simple else 2 + (box[1] - box[0] + box[3] - box[2]) / 4
        for edit_pass in range(len(numbers)):
            main, opacities = numbers[edit_pass, i]
            reaches = main >= 0 and is_something(patches[main], box, slack)
            reaches |= opacities >= 0 and is_something(patches[opacities], box, slack)
            rows.parts[edit_pass, i].reaches = reaches
            reached |= reaches
    return reached


@njit(**FAST)
def draw_row(tables: Tables, rows: Rows, detail: bool, row: int, left: int, output: Array) -> None:
    """A row of a tile."""
    instances, maps, patches, numbers = tables.instances, tables.maps, tables.patches, tables.numbers
    sums, passes = rows.sums[0], len(numbers)
    start(detail, len(output), sums)
    for i in range(len(instances)):
        instance, view = instances[i], rows.views[i]
        first, second = maps[instance.first], maps[instance.second]
        cover(instance, first, second, row, left, len(output), view, sums)
        for edit_pass in range(passes):
            part, (main, opacities) = rows.parts[edit_pass, i], numbers[edit_pass, i]
            if part.reaches:
                if find_kept(view, sums):
                    find_uv(instance, first, second, row, left, view)
                find_change(patches[main], patches[max(opacities, 0)], opacities >= 0, view, part.change, sums)
    for edit_pass in range(passes):
        painting = tables.painting_numbers[edit_pass]
        if painting >= 0:
            taken = tables.taken[0]
            take(taken, tables.paintings[painting], row, left, len(output), rows.passes[edit_pass], sums)
    if not sums.acts.any():
        return
    sums.explained[:] = ZERO
    sums.replaced[:] = ZERO
    sums.picture[:] = ZERO
    for edit_pass in range(passes):
        rows.passes[edit_pass].total[:] = ZERO
    for i in range(len(instances)):
        instance, view = instances[i], rows.views[i]
        if find_acting(view, sums):
            first, second = maps[instance.first], maps[instance.second]
            find_uv(instance, first, second, row, left, view)
            changes = False
            for edit_pass in range(passes):
                changes |= rows.parts[edit_pass, i].reaches
            find_content(instance, first, second, tables.textures[instance.texture], changes, view, sums)
            explain(instance, view, sums)
            if instance.backdrop:
                for column in range(len(output)):
                    for k in range(3):
                        sums.content[k, column] = tables.backdrop[row, left + column, k]
            find_carried(instance, first, second, row, left, view, sums)
            show(view, sums)
            for edit_pass in range(passes):
                if rows.parts[edit_pass, i].reaches:
                    if instance.as_solved and not view.simple:
                        restore(rows.parts[edit_pass, i].change, sums)
                    add_change(rows.parts[edit_pass, i].change, view, sums, rows.passes[edit_pass].total)
    finish(detail, rows.passes, sums, output)


@njit(**FAST)
def start(detail: bool, width: int, sums: Record) -> None:
    """Nothing covers anything yet. Beyond the frame there is nothing to cover."""
    sums.left_seen[:] = ZERO
    sums.left_seen[:width] = ONE
    sums.left_kept[:] = sums.left_seen
    sums.acts[:] = 0
    if not detail:
        sums.acts[:] = 1


@njit(**FAST)
def cover(
    instance: Record, first: Record, second: Record, row: int, left: int, width: int, view: Record, sums: Record
) -> None:
    """An instance's shares of a row's pixels: of all that is seen, and of what is kept."""
    view.mapped = False
    still = not instance.moves and instance.share == ZERO and first.alpha_per_x == ONE and first.alpha_per_y == ONE
    if instance.covers:
        sums.own[:] = ONE
    elif still and left + width <= first.alpha_columns and row < first.alpha_rows:
        alphas, at = levels_at(first.alpha_at), row * first.alpha_columns + left
        for column in range(width):
            sums.own[column] = np.float32(alphas[at + column]) * ALPHA_STEP
    else:
        for column in range(TILE_COLUMNS):
            view.visible[column] = (sums.left_seen[column] > ZERO) | (sums.left_kept[column] > ZERO)
        if instance.share > ZERO:
            find_uv(instance, first, second, row, left, view)
        find_coverage(instance, first, second, row, left, view, sums.own)
    keeps = ZERO if instance.hidden else ONE
    for column in range(TILE_COLUMNS):
        seen = sums.own[column] * sums.left_seen[column]
        kept = sums.own[column] * sums.left_kept[column] * keeps
        view.seen[column], view.kept[column] = seen, kept
        sums.left_seen[column] -= seen
        sums.left_kept[column] -= kept
        view.visible[column] = (seen > ZERO) | (kept > ZERO)
    if instance.replaced:
        for column in range(TILE_COLUMNS):
            sums.acts[column] |= np.int32(view.seen[column] > ZERO)


@njit(**FAST)
def find_coverage(
    instance: Record, first: Record, second: Record, row: int, left: int, view: Record, own: Array
) -> None:
    """Own coverage where it is no pixel of the matte. Between two frames it is blended from where the same texel lies
    in each: one Newton step away."""
    for column in range(TILE_COLUMNS):
        own[column] = ZERO
        if not view.visible[column]:
            continue
        x, y = move(instance, left + column + 0.5, row + 0.5)
        if instance.share == ZERO:
            own[column] = own_alpha(first, np.float32(x), np.float32(y))
        else:
            before_x, before_y = place_of(first, x, y, view.u[column], view.v[column])
            after_x, after_y = place_of(second, x, y, view.u[column], view.v[column])
            before = own_alpha(first, before_x, before_y)
            own[column] = mix(before, own_alpha(second, after_x, after_y), instance.share)


@njit(**FAST)
def find_uv(instance: Record, first: Record, second: Record, row: int, left: int, view: Record) -> None:
    """Texel positions, and what pixels cover there, once for an instance in a row."""
    if view.mapped:
        return
    view.mapped = True
    if view.simple:
        find_simple_uv(first, row, left, view.u, view.v)
        return
    for column in range(TILE_COLUMNS):
        if not view.visible[column]:
            continue
        px, py = left + column + 0.5, row + 0.5
        x, y = move(instance, px, py)
        u, v, ux, uy, vx, vy = map_point(first, x, y)
        if instance.share > ZERO:
            other = map_point(second, x, y)
            u, v = mix(u, other[0], instance.share), mix(v, other[1], instance.share)
            ux, uy = mix(ux, other[2], instance.share), mix(uy, other[3], instance.share)
            vx, vy = mix(vx, other[4], instance.share), mix(vy, other[5], instance.share)
        w = instance.m20 * px + instance.m21 * py + instance.m22
        xx, xy = np.float32((instance.m00 - x * instance.m20) / w), np.float32((instance.m01 - x * instance.m21) / w)
        yx, yy = np.float32((instance.m10 - y * instance.m20) / w), np.float32((instance.m11 - y * instance.m21) / w)
        shape = ellipse(ux * xx + uy * yx, ux * xy + uy * yy, vx * xx + vy * yx, vx * xy + vy * yy)
        view.u[column], view.v[column] = u, v
        for k in range(4):
            view.covered[k, column] = shape[k]


@njit(**FAST)
def find_simple_uv(maps: Record, row: int, left: int, us: Array, vs: Array) -> None:
    """Texel positions where the source has the layer: straight from node to node along the row."""
    nodes, columns, per_x = levels_at(maps.node_at), maps.node_columns, maps.node_per_x
    y = row + 0.5
    node_row, fy = cell(np.float32(y) * maps.node_per_y, maps.node_rows)
    per_u, per_v = np.float32(maps.a00), np.float32(maps.a10)
    u0, v0 = np.float32(maps.a01 * y + maps.a02) + maps.low_x, np.float32(maps.a11 * y + maps.a12) + maps.low_y
    node, begin = cell((np.float32(left) + HALF) * per_x, columns)[0], 0
    at, below = 2 * (node_row * columns + node), 2 * ((node_row + 1) * columns + node)
    u = maps.step_x * mix(np.float32(nodes[at]), np.float32(nodes[below]), fy)
    v = maps.step_y * mix(np.float32(nodes[at + 1]), np.float32(nodes[below + 1]), fy)
    while begin < TILE_COLUMNS:
        at, below = at + 2, below + 2
        next_u = maps.step_x * mix(np.float32(nodes[at]), np.float32(nodes[below]), fy)
        next_v = maps.step_y * mix(np.float32(nodes[at + 1]), np.float32(nodes[below + 1]), fy)
        slope_u, slope_v, node_x = per_x * (next_u - u), per_x * (next_v - v), np.float32(node) / per_x
        end = TILE_COLUMNS
        if node < columns - 2:
            end = min(max(int(np.float32(node + 1) / per_x + HALF) - left, begin), TILE_COLUMNS)
        for column in range(begin, end):
            x = np.float32(left + column) + HALF
            us[column] = u0 + per_u * x + (u + slope_u * (x - node_x))
            vs[column] = v0 + per_v * x + (v + slope_v * (x - node_x))
        begin, node, u, v = end, node + 1, next_u, next_v


@njit(**FAST)
def find_kept(view: Record, sums: Record) -> bool:
    """Note where something of an instance is kept, and whether that is anywhere."""
    found = 0
    for column in range(TILE_COLUMNS):
        needed = np.int32(view.kept[column] > ZERO)
        sums.needed[column] = needed
        found |= needed
    return found != 0


@njit(**FAST)
def find_acting(view: Record, sums: Record) -> bool:
    """Note where an instance is visible and an edit acts, and whether that is anywhere."""
    found = 0
    for column in range(TILE_COLUMNS):
        needed = sums.acts[column] & view.visible[column]
        sums.needed[column] = needed
        found |= needed
    return found != 0


@njit(**FAST)
def find_change(main: Record, opacities: Record, by_colour: bool, view: Record, change: Array, sums: Record) -> None:
    """What a change holds along a row (colour, opacity of each colour), and where that is anything."""
    look_up_image(main, view, sums.needed, change)
    if by_colour:
        look_up_image(opacities, view, sums.needed, sums.other)
        change[3:] = sums.other[:3]
    else:
        change[4] = change[3]
        change[5] = change[3]
    for k in range(6):
        for column in range(TILE_COLUMNS):
            sums.acts[column] |= np.int32(change[k, column] != ZERO)


@njit(**FAST)
def look_up_image(image: Record, view: Record, needed: Array, values: Array) -> None:
    """An image where it is needed; zero elsewhere."""
    simple = view.simple
    for column in range(TILE_COLUMNS):
        a = b = c = d = ZERO
        if needed[column]:
            u, v = view.u[column], view.v[column]
            if simple:
                a, b, c, d = look_up_level(image, 0, u, v)
            else:
                covered = view.covered
                shape = covered[0, column], covered[1, column], covered[2, column], covered[3, column]
                a, b, c, d = filtered(image, u, v, shape)
        values[0, column], values[1, column], values[2, column], values[3, column] = a, b, c, d


@njit(**FAST)
def look_up_texture(image: Record, view: Record, needed: Array, changes: bool, values: Array, lacking: Array) -> None:
    """A texture as it was solved; where something `changes` it, also what it lacks of the filtered one."""
    lacking[:] = ZERO
    for column in range(TILE_COLUMNS):
        a = b = c = d = ZERO
        if needed[column]:
            u, v = view.u[column], view.v[column]
            a, b, c, d = look_up_level(image, 0, u, v)
            if changes:
                covered = view.covered
                shape = covered[0, column], covered[1, column], covered[2, column], covered[3, column]
                red, green, blue, _ = filtered(image, u, v, shape)
                lacking[0, column], lacking[1, column], lacking[2, column] = red - a, green - b, blue - c
        values[0, column], values[1, column], values[2, column], values[3, column] = a, b, c, d


@njit(**FAST)
def look_up_light(maps: Record, view: Record, needed: Array, values: Array) -> None:
    """A frame's light where it is needed; zero elsewhere."""
    for column in range(TILE_COLUMNS):
        a = b = c = d = ZERO
        if needed[column]:
            x, y = view.u[column] * maps.light_per_x, view.v[column] * maps.light_per_y
            a, b, c, d = look_up(maps.light_at, maps.light_columns, maps.light_rows, x, y)
        values[0, column], values[1, column], values[2, column], values[3, column] = a, b, c, d


@njit(**FAST)
def find_content(
    instance: Record, first: Record, second: Record, texture: Record, changes: bool, view: Record, sums: Record
) -> None:
    """Texture and light where they are needed; `content` is the one in the other. If something `changes` it, also what
    the texture lacks of the filtered one."""
    light, content = sums.light, sums.content
    if view.simple or not instance.as_solved:
        look_up_image(texture, view, sums.needed, content)
    else:
        look_up_texture(texture, view, sums.needed, changes, content, sums.lacking)
    look_up_light(first, view, sums.needed, light)
    if instance.share > ZERO:
        look_up_light(second, view, sums.needed, sums.other)
        for k in range(3):
            for column in range(TILE_COLUMNS):
                light[k, column] = mix(light[k, column], sums.other[k, column], instance.share)
    for k in range(3):
        for column in range(TILE_COLUMNS):
            content[k, column] *= light[k, column]


@njit(**FAST)
def explain(instance: Record, view: Record, sums: Record) -> None:
    """Add an instance's content to what the layers explain of the source."""
    for k in range(3):
        for column in range(TILE_COLUMNS):
            sums.explained[k, column] += view.seen[column] * sums.content[k, column]
    if instance.replaced:
        for column in range(TILE_COLUMNS):
            sums.replaced[column] += view.seen[column]


@njit(**FAST)
def find_carried(
    instance: Record, first: Record, second: Record, row: int, left: int, view: Record, sums: Record
) -> None:
    """What an instance carries `along` of what the layers cannot explain."""
    sums.along[:] = ZERO
    if not instance.carries or instance.replaced:
        return
    for column in range(TILE_COLUMNS):
        if not sums.needed[column]:
            continue
        kept, u, v = view.kept[column], view.u[column], view.v[column]
        x, y = move(instance, left + column + 0.5, row + 0.5)
        if instance.share == ZERO:
            values = carried(first, np.float32(x), np.float32(y), kept)
        else:
            there_x, there_y = place_of(first, x, y, u, v)
            before = carried(first, there_x, there_y, kept)
            there_x, there_y = place_of(second, x, y, u, v)
            after = carried(second, there_x, there_y, kept)
            red, green = mix(before[0], after[0], instance.share), mix(before[1], after[1], instance.share)
            values = red, green, mix(before[2], after[2], instance.share)
        for k in range(3):
            sums.along[k, column] = values[k]


@njit(**FAST)
def show(view: Record, sums: Record) -> None:
    """Add what an instance shows of itself to the picture, and what it carries along."""
    for k in range(3):
        for column in range(TILE_COLUMNS):
            sums.picture[k, column] += view.kept[column] * sums.content[k, column] + sums.along[k, column]


@njit(**FAST)
def restore(change: Array, sums: Record) -> None:
    """Have a change start from the texture as it is shown, instead of the filtered one."""
    for k in range(3):
        for column in range(TILE_COLUMNS):
            change[k, column] += change[3 + k, column] * sums.lacking[k, column]


@njit(**FAST)
def add_change(change: Array, view: Record, sums: Record, total: Array) -> None:
    """Add an instance's change to its pass's; what it carries along is covered by an opaque one."""
    for k in range(3):
        for column in range(TILE_COLUMNS):
            kept, opacity = view.kept[column], change[3 + k, column]
            total[k, column] += kept * sums.light[k, column] * change[k, column] - opacity * sums.along[k, column]
            total[3 + k, column] += kept * opacity


@njit(**FAST)
def take(taken: Record, painting: Array, row: int, left: int, width: int, edit_pass: Record, sums: Record) -> None:
    """A pass's painting along a row; zero outside of it."""
    for column in range(width):
        x, y = move(taken, left + column + 0.5, row + 0.5)
        inside = is_inside(painting, x, y)
        for k in range(6):
            value = pixel_of(painting, x, y, k) if inside else ZERO
            edit_pass.paint[k, column] = value
            sums.acts[column] |= np.int32(value != ZERO)


@njit(**FAST)
def finish(detail: bool, passes: Array, sums: Record, output: Array) -> None:
    """The row's pixels: what the source shows beyond the layers, the layers, and the passes one after the other."""
    full_scale = np.float32(255 if output.itemsize == 1 else 65535)
    step = ONE / full_scale
    residual, value = sums.residual, sums.value
    for k in range(3):
        residual[:] = ZERO
        if detail:
            for column in range(len(output)):
                residual[column] = np.float32(output[column, k]) * step
            for column in range(TILE_COLUMNS):
                residual[column] = (residual[column] - sums.explained[k, column]) * (ONE - sums.replaced[column])
        for column in range(TILE_COLUMNS):
            value[column] = residual[column] + sums.picture[k, column]
        for edit_pass in range(len(passes)):
            total, paint = passes[edit_pass].total, passes[edit_pass].paint
            for column in range(TILE_COLUMNS):
                before = value[column]
                after = before + total[k, column] - total[3 + k, column] * residual[column]
                after += paint[k, column] - paint[3 + k, column] * after
                residual[column] += after - before
                value[column] = after
        for column in range(TILE_COLUMNS):
            sums.level[column] = np.int32(min(max(value[column], ZERO), ONE) * full_scale + HALF)
        for column in range(len(output)):
            if sums.acts[column]:
                output[column, k] = sums.level[column]
