"""Any shot on the CPU: the definition compiled by Numba, pixel by pixel, so that nothing is worked out in vain.

Where no edit acts on a pixel in `detail` mode, its texture and light are not looked up: it is the source's own.
A call makes one frame on one core without holding Python's lock, so frames are made side by side.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int64
from numba import njit

from layerloom.rendering.packing import INSTANCE, Images, pack_changes, pack_images, pack_maps, place
from layerloom.rendering.sampling import (
    ALPHA_STEP,
    FAST,
    HALF,
    ONE,
    ZERO,
    Array,
    Record,
    Values,
    carried,
    cell,
    ellipse,
    filtered,
    is_inside,
    is_simple,
    look_up,
    look_up_level,
    map_point,
    mix,
    move,
    own_alpha,
    pixel_of,
    place_of,
)
from layerloom.rendering.scene import Inputs, Scene, Stage
from layerloom.staging import Shot

CELL_PIXELS = 16
"""Side of the square cells for each of which it is found out whether a patch may reach it."""


class CpuRenderer:
    """Renders shots of one scene. May be called from several threads at once."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._textures = pack_images(scene.textures)
        self._packed: tuple[tuple[Stage, ...], Images, Int64[np.ndarray, "stages instances 2"]] | None = None

    def render(self, shot: Shot, inputs: Inputs) -> np.ndarray:
        """The frame, h w 3, uint8 or uint16."""
        stages = self._scene.stages(shot)
        patches, numbers = self._pack_changes(stages)
        maps = pack_maps(self._scene, shot, inputs)
        if inputs.source is None:
            output = np.empty((shot.size[1], shot.size[0], 3), f"uint{inputs.bit_depth}")
        else:
            # Pixels that no edit acts on stay as they are.
            output = inputs.source.copy()
        for instance in maps.instances:
            instance["simple"] = is_simple(instance, maps.maps[instance["first"]], maps.nodes)
        taken = np.zeros(1, INSTANCE)
        place(taken[0], shot.to_source)
        backdrop = self._scene.backdrop(shot.size) if self._scene.has_backdrop else np.empty((1, 1, 3), np.float32)
        everything = (maps.instances, maps.maps, maps.nodes, maps.lights, maps.alphas, maps.details)
        pictures = (self._textures.images, self._textures.levels, self._textures.texels)
        changes = (patches.images, patches.levels, patches.texels, numbers, *_paintings(stages))
        draw(*everything, *pictures, *changes, backdrop, taken, inputs.source is not None, output)
        return output

    def _pack_changes(self, stages: tuple[Stage, ...]) -> tuple[Images, Int64[np.ndarray, "stages instances 2"]]:
        """Packed once for as long as they are the same."""
        packed = self._packed
        if packed is None or [stage.changes for stage in packed[0]] != [stage.changes for stage in stages]:
            packed = self._packed = (stages, *pack_changes(stages))
        return packed[1:]


def _paintings(stages: Sequence[Stage]) -> tuple[Int64[np.ndarray, " stages"], Float32[np.ndarray, "paintings h w 6"]]:
    """Each stage's painting by number, -1 where there is none; and the paintings, with an opacity for each colour."""
    paintings = [stage.paint for stage in stages if stage.paint is not None]
    order = iter(range(len(paintings)))
    numbers = [-1 if stage.paint is None else next(order) for stage in stages]
    full = [np.dstack([paint, *[paint[..., 3:]] * 2]) if paint.shape[2] == 4 else paint for paint in paintings]
    return np.array(numbers, np.int64), np.stack(full) if full else np.empty((0, 1, 1, 6), np.float32)


@njit(**FAST)
def map_row(
    instance: Record, first: Record, second: Record, nodes: Array, row: int, line: Array, needed: Array,
    mapped: Array, uv: Array, covered: Array,
) -> None:  # fmt: skip
    """Texel positions and ellipses along a row, where they are needed and not known yet."""
    if instance.simple:
        map_simple_row(first, nodes, row, line, needed, mapped, uv)
        return
    for column in range(len(needed)):
        if not needed[column] or mapped[column]:
            continue
        mapped[column] = True
        px, py = column + 0.5, row + 0.5
        x, y = move(instance, px, py)
        u, v, ux, uy, vx, vy = map_point(first, nodes, x, y)
        if instance.share > ZERO:
            other = map_point(second, nodes, x, y)
            u, v = mix(u, other[0], instance.share), mix(v, other[1], instance.share)
            ux, uy = mix(ux, other[2], instance.share), mix(uy, other[3], instance.share)
            vx, vy = mix(vx, other[4], instance.share), mix(vy, other[5], instance.share)
        w = instance.m20 * px + instance.m21 * py + instance.m22
        xx, xy = np.float32((instance.m00 - x * instance.m20) / w), np.float32((instance.m01 - x * instance.m21) / w)
        yx, yy = np.float32((instance.m10 - y * instance.m20) / w), np.float32((instance.m11 - y * instance.m21) / w)
        shape = ellipse(ux * xx + uy * yx, ux * xy + uy * yy, vx * xx + vy * yx, vx * xy + vy * yy)
        uv[0, column], uv[1, column] = u, v
        covered[0, column], covered[1, column], covered[2, column], covered[3, column] = shape


@njit(**FAST)
def map_simple_row(maps: Record, nodes: Array, row: int, line: Array, needed: Array, mapped: Array, uv: Array) -> None:
    """Texel positions where the source has the layer: nodes are blended between the two rows around this one first."""
    left, right = 0, len(needed)
    while left < right and (mapped[left] or not needed[left]):
        left += 1
    while right > left and (mapped[right - 1] or not needed[right - 1]):
        right -= 1
    if left == right:
        return
    y, per_x, columns = row + 0.5, maps.node_per_x, maps.node_columns
    node_row, fy = cell(np.float32(y) * maps.node_per_y, maps.node_rows)
    at = maps.node_start + node_row * columns
    for node in range(cell(np.float32(left) * per_x, columns)[0], cell(np.float32(right) * per_x, columns)[0] + 2):
        here, below = np.uint64(at + node), np.uint64(at + columns + node)
        u = mix(np.float32(nodes[here, 0]), np.float32(nodes[below, 0]), fy)
        v = mix(np.float32(nodes[here, 1]), np.float32(nodes[below, 1]), fy)
        line[0, node], line[1, node] = maps.low_x + maps.step_x * u, maps.low_y + maps.step_y * v
    u0, v0 = np.float32(maps.a01 * y + maps.a02), np.float32(maps.a11 * y + maps.a12)
    per_u, per_v = np.float32(maps.a00), np.float32(maps.a10)
    for column in range(left, right):
        if needed[column] and not mapped[column]:
            mapped[column] = True
            x = np.float32(column) + HALF
            node, fx = cell(x * per_x, columns)
            here, after = np.uint64(node), np.uint64(node + 1)
            uv[0, column] = per_u * x + u0 + mix(line[0, here], line[0, after], fx)
            uv[1, column] = per_v * x + v0 + mix(line[1, here], line[1, after], fx)


@njit(**FAST)
def cover_row(
    instance: Record, first: Record, second: Record, alphas: Array, nodes: Array, row: int, needed: Array, uv: Array,
    own: Array,
) -> None:  # fmt: skip
    """Own coverage along a row. Between two frames it is where the same texel lies in each: one Newton step away."""
    if not instance.moves and instance.share == ZERO and first.alpha_columns == len(own):
        start = first.alpha_start + row * len(own)
        for column in range(len(own)):
            own[column] = np.float32(alphas[start + column]) * ALPHA_STEP
        return
    for column in range(len(own)):
        own[column] = ZERO
        if not needed[column]:
            continue
        x, y = move(instance, column + 0.5, row + 0.5)
        if instance.share == ZERO:
            own[column] = own_alpha(first, alphas, np.float32(x), np.float32(y))
        else:
            before_x, before_y = place_of(first, nodes, x, y, uv[0, column], uv[1, column])
            after_x, after_y = place_of(second, nodes, x, y, uv[0, column], uv[1, column])
            before = own_alpha(first, alphas, before_x, before_y)
            own[column] = mix(before, own_alpha(second, alphas, after_x, after_y), instance.share)


@njit(**FAST)
def share_row(own: Array, left: Array, share: Array) -> None:
    """A layer's share of a row's pixels, taken from what the layers in front left of them."""
    for column in range(len(own)):
        taken = own[column] * left[column]
        share[column] = taken
        left[column] -= taken


@njit(**FAST)
def reach_cells(instance: Record, maps: Record, nodes: Array, image: Record, row: int, reaches: Array) -> None:
    """Mark the columns of a row of square cells where a patch may be seen, from where corners lie on the canvas."""
    left = side_of_cell(instance, maps, nodes, 0, row)
    for start in range(0, len(reaches), CELL_PIXELS):
        right = side_of_cell(instance, maps, nodes, start + CELL_PIXELS, row)
        low_u, high_u = min(left[0], right[0]), max(left[1], right[1])
        low_v, high_v = min(left[2], right[2]), max(left[3], right[3])
        slack_u, slack_v = 2 + (high_u - low_u) / 4, 2 + (high_v - low_v) / 4
        across = low_u - slack_u <= image.high_x and high_u + slack_u >= image.low_x
        down = low_v - slack_v <= image.high_y and high_v + slack_v >= image.low_y
        reaches[start : start + CELL_PIXELS] = across and down
        left = right


@njit(**FAST)
def side_of_cell(instance: Record, maps: Record, nodes: Array, column: int, row: int) -> Values:
    """Least and greatest u, least and greatest v of a cell's two corners on one side."""
    x, y = move(instance, float(column), float(row))
    above = map_point(maps, nodes, x, y)
    x, y = move(instance, float(column), float(row + CELL_PIXELS))
    below = map_point(maps, nodes, x, y)
    return min(above[0], below[0]), max(above[0], below[0]), min(above[1], below[1]), max(above[1], below[1])


@njit(**FAST)
def change_row(
    images: Record, numbers: Array, levels: Array, texels: Array, needed: Array, uv: Array, covered: Array,
    change: Array, acts: Array,
) -> None:  # fmt: skip
    """What a change holds along a row (colour, opacity of each colour), and where that is anything."""
    main = images[numbers[0]]
    for column in range(len(needed)):
        if not needed[column]:
            continue
        u, v = uv[0, column], uv[1, column]
        shape = (covered[0, column], covered[1, column], covered[2, column], covered[3, column])
        if shape[2] == ONE and shape[3] == ZERO:
            a, b, c, d = look_up_level(levels, texels, main.level, u - main.left, v - main.top)
        else:
            a, b, c, d = filtered(main, levels, texels, u, v, shape)
        change[column, 0], change[column, 1], change[column, 2] = a, b, c
        e = f = d
        if numbers[1] >= 0:
            d, e, f, _ = filtered(images[numbers[1]], levels, texels, u, v, shape)
        change[column, 3], change[column, 4], change[column, 5] = d, e, f
        acts[column] |= a != ZERO or b != ZERO or c != ZERO or d != ZERO or e != ZERO or f != ZERO


@njit(**FAST)
def content_row(
    instance: Record, first: Record, second: Record, lights: Array, image: Record, levels: Array, texels: Array,
    changed: Array, change: Array, needed: Array, seen: Array, kept: Array, uv: Array, covered: Array, backdrop: Array,
    explained: Array, picture: Array, total: Array, alone: bool, acts: Array, output: Array,
) -> None:  # fmt: skip
    """Add what an instance shows along a row: lit, by its share of all that is seen, and of what is kept.

    alone: where it covers all of a pixel, that is all there is to the pixel, which is finished at once.
    """
    full_scale = np.float32(255 if output.itemsize == 1 else 65535)
    step = ONE / full_scale
    for column in range(len(needed)):
        if not needed[column]:
            continue
        u, v = uv[0, column], uv[1, column]
        x, y = u * first.light_per_x, v * first.light_per_y
        light = look_up(lights, first.light_start, first.light_columns, first.light_rows, x, y)
        if instance.share > ZERO:
            other = look_up(lights, second.light_start, second.light_columns, second.light_rows, x, y)
            red, green = mix(light[0], other[0], instance.share), mix(light[1], other[1], instance.share)
            light = (red, green, mix(light[2], other[2], instance.share), ZERO)
        shape = (covered[0, column], covered[1, column], covered[2, column], covered[3, column])
        if shape[2] == ONE and shape[3] == ZERO:
            content = look_up_level(levels, texels, image.level, u - image.left, v - image.top)
        else:
            content = filtered(image, levels, texels, u, v, shape)
        if alone and seen[column] == ONE:
            acts[column] = False
            for channel in range(3):
                shown = np.float32(output[column, channel]) * step
                unexplained = shown - light[channel] * content[channel]
                shown += light[channel] * change[0, column, channel] - change[0, column, 3 + channel] * unexplained
                output[column, channel] = min(max(shown, ZERO), ONE) * full_scale + HALF
            continue
        for channel in range(3):
            lit = light[channel] * content[channel]
            explained[column, channel] += seen[column] * lit
            shown = backdrop[column, channel] if instance.backdrop else lit
            picture[column, channel] += kept[column] * shown
        explained[column, 3] += seen[column] if instance.replaced else ZERO
        for stage in range(len(changed)):
            if changed[stage, column]:
                for channel in range(3):
                    total[stage, column, channel] += kept[column] * light[channel] * change[stage, column, channel]
                    total[stage, column, 3 + channel] += kept[column] * change[stage, column, 3 + channel]


@njit(**FAST)
def carry_row(
    instance: Record, first: Record, second: Record, nodes: Array, details: Array, row: int, changed: Array,
    change: Array, needed: Array, kept: Array, uv: Array, picture: Array, total: Array,
) -> None:  # fmt: skip
    """Add what an instance carries along of what the layers cannot explain; opaque changes cover it, too."""
    for column in range(len(needed)):
        if not needed[column] or instance.replaced:
            continue
        x, y = move(instance, column + 0.5, row + 0.5)
        if instance.share == ZERO:
            a, b, c = carried(first, details, np.float32(x), np.float32(y), kept[column])
        else:
            there_x, there_y = place_of(first, nodes, x, y, uv[0, column], uv[1, column])
            a, b, c = carried(first, details, there_x, there_y, kept[column])
            there_x, there_y = place_of(second, nodes, x, y, uv[0, column], uv[1, column])
            other = carried(second, details, there_x, there_y, kept[column])
            a, b, c = (
                mix(a, other[0], instance.share),
                mix(b, other[1], instance.share),
                mix(c, other[2], instance.share),
            )
        for channel, value in enumerate((a, b, c)):
            picture[column, channel] += value
            for stage in range(len(changed)):
                if changed[stage, column]:
                    total[stage, column, channel] -= change[stage, column, 3 + channel] * value


@njit(**FAST)
def take_row(taken: Record, picture: Array, row: int, into: Array) -> None:
    """A painting along a row; zero outside of it."""
    for column in range(len(into)):
        x, y = move(taken, column + 0.5, row + 0.5)
        inside = is_inside(picture, x, y)
        for channel in range(6):
            into[column, channel] = pixel_of(picture, x, y, channel) if inside else ZERO


@njit(**FAST)
def finish_row(
    detail: bool, acts: Array, explained: Array, picture: Array, total: Array, paint: Array, output: Array
) -> None:
    """The row's pixels: what the source shows beyond the layers, the layers, and the stages one after the other."""
    full_scale = np.float32(255 if output.itemsize == 1 else 65535)
    step = ONE / full_scale
    for column in range(len(acts)):
        if not acts[column]:
            continue
        for channel in range(3):
            residual = ZERO
            if detail:
                shown = np.float32(output[column, channel]) * step
                residual = (shown - explained[column, channel]) * (ONE - explained[column, 3])
            value = residual + picture[column, channel]
            for stage in range(len(total)):
                after = value + total[stage, column, channel] - total[stage, column, 3 + channel] * residual
                after += paint[stage, column, channel] - paint[stage, column, 3 + channel] * after
                residual, value = residual + after - value, after
            output[column, channel] = min(max(value, ZERO), ONE) * full_scale + HALF


@njit(nogil=True, cache=True, **FAST)
def draw(
    instances: Array, maps: Record, nodes: Array, lights: Array, alphas: Array, details: Array,
    images: Array, levels: Array, texels: Array,
    patch_images: Array, patch_levels: Array, patch_texels: Array, patch_numbers: Array,
    painting_numbers: Array, paintings: Array, backdrop: Array, taken: Array, detail: bool, output: Array,
) -> None:  # fmt: skip
    """Draw a shot, row by row: over the source's picture, which is in `output` (`detail`), or the layers alone."""
    height, width = output.shape[:2]
    count, stages = len(instances), len(patch_numbers)
    own, left_seen, left_kept = np.empty(width, np.float32), np.empty(width, np.float32), np.empty(width, np.float32)
    hides = False
    for instance in instances:
        hides |= instance.hidden
    seen = np.empty((count, width), np.float32)
    kept = np.empty((count, width), np.float32) if hides else seen
    uv, covered = np.empty((count, 2, width), np.float32), np.zeros((count, 4, width), np.float32)
    covered[:, 2] = ONE
    line = np.empty((2, maps.node_columns.max()), np.float32)
    needed, mapped, acts = np.empty(width, np.bool_), np.empty((count, width), np.bool_), np.empty(width, np.bool_)
    change = np.empty((count, stages, width, 6), np.float32)
    reaches, changed = np.ones((count, stages, width), np.bool_), np.zeros((count, stages, width), np.bool_)
    paint, total = np.zeros((stages, width, 6), np.float32), np.empty((stages, width, 6), np.float32)
    explained, picture = np.empty((width, 4), np.float32), np.empty((width, 3), np.float32)
    # One stage without a painting over a picture of which nothing is hidden: what most edits come to.
    alone = detail and stages == 1 and painting_numbers[0] < 0 and not hides
    for instance in instances:
        alone &= not instance.replaced
    for row in range(height):
        left_seen[:] = ONE
        left_kept[:] = ONE
        acts[:] = not detail
        mapped[:] = False
        for i in range(count):
            instance = instances[i]
            first, second = maps[instance.first], maps[instance.second]
            if instance.covers:
                own[:] = ONE
            else:
                for column in range(width):
                    needed[column] = (left_seen[column] > ZERO) | (left_kept[column] > ZERO)
                if instance.share > ZERO:
                    map_row(instance, first, second, nodes, row, line, needed, mapped[i], uv[i], covered[i])
                cover_row(instance, first, second, alphas, nodes, row, needed, uv[i], own)
            share_row(own, left_seen, seen[i])
            if hides:
                if instance.hidden:
                    kept[i] = ZERO
                else:
                    share_row(own, left_kept, kept[i])
            if instance.replaced:
                for column in range(width):
                    acts[column] |= seen[i, column] > ZERO
            for stage in range(stages):
                number = patch_numbers[stage, i, 0]
                if number >= 0:
                    if row % CELL_PIXELS == 0 and instance.share == ZERO:
                        reach_cells(instance, first, nodes, patch_images[number], row, reaches[i, stage])
                    for column in range(width):
                        changed[i, stage, column] = reaches[i, stage, column] & (kept[i, column] > ZERO)
                    map_row(instance, first, second, nodes, row, line, changed[i, stage], mapped[i], uv[i], covered[i])
                    change_row(
                        patch_images, patch_numbers[stage, i], patch_levels, patch_texels, changed[i, stage], uv[i],
                        covered[i], change[i, stage], acts,
                    )  # fmt: skip
        for stage in range(stages):
            if painting_numbers[stage] >= 0:
                take_row(taken[0], paintings[painting_numbers[stage]], row, paint[stage])
                for column in range(width):
                    for channel in range(3):
                        acts[column] |= (
                            paint[stage, column, channel] != ZERO or paint[stage, column, 3 + channel] != ZERO
                        )
        if not acts.any():
            continue
        explained[:] = ZERO
        picture[:] = ZERO
        total[:] = ZERO
        for i in range(count):
            instance = instances[i]
            first, second = maps[instance.first], maps[instance.second]
            for column in range(width):
                needed[column] = acts[column] & ((seen[i, column] > ZERO) | (kept[i, column] > ZERO))
            map_row(instance, first, second, nodes, row, line, needed, mapped[i], uv[i], covered[i])
            content_row(
                instance, first, second, lights, images[instance.texture], levels, texels, changed[i],
                change[i], needed, seen[i], kept[i], uv[i], covered[i], backdrop[min(row, len(backdrop) - 1)],
                explained, picture, total, alone, acts, output[row],
            )  # fmt: skip
            if len(details):
                carry_row(
                    instance, first, second, nodes, details, row, changed[i], change[i], needed, kept[i],
                    uv[i], picture, total,
                )  # fmt: skip
        finish_row(detail, acts, explained, picture, total, paint, output[row])
