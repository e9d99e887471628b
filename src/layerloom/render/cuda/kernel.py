# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false, reportAttributeAccessIssue=false, reportOperatorIssue=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""A whole frame in one Triton kernel: the definition for a tile of pixels, layer after layer, in registers.

What differs from layer to layer comes from tables of float64, which `cuda` fills: numbers, and addresses in the GPU's
memory, which a float64 holds exactly. The entries of their rows are named below.
"""

import torch
import triton
import triton.language as tl
from jaxtyping import Float64
from torch import Tensor

from layerloom.render.pyramid import BILINEAR_TEXELS_PER_PIXEL, FINEST_TEXELS_PER_PIXEL, HALVINGS_PER_TEXEL, MOST_PROBES
from layerloom.render.scene import DETAIL_MARGIN

LAUNCH = {"BLOCK": 128, "num_warps": 4}
TILE_COLUMNS = tl.constexpr(32)

FINEST, MOST = tl.constexpr(FINEST_TEXELS_PER_PIXEL), tl.constexpr(float(MOST_PROBES))
BILINEAR, HALVINGS = tl.constexpr(BILINEAR_TEXELS_PER_PIXEL), tl.constexpr(HALVINGS_PER_TEXEL)
DETAIL_OFFSET = tl.constexpr(DETAIL_MARGIN - 0.5)

# Of an instance. FIRST, SECOND: addresses of its maps before and after its time; TEXTURE, CHANGE, OPACITIES: of images.
MATRIX, FIRST, SECOND, SHARE = tl.constexpr(0), tl.constexpr(9), tl.constexpr(10), tl.constexpr(11)
COVERS, HIDDEN, REPLACED, BACKDROP = tl.constexpr(12), tl.constexpr(13), tl.constexpr(14), tl.constexpr(15)
TEXTURE, CHANGE, OPACITIES = tl.constexpr(16), tl.constexpr(17), tl.constexpr(18)
INSTANCE_ENTRIES = tl.constexpr(20)
# Of maps. A grid has five entries: address, columns, rows, entries a pixel (or texel) in x and y.
AFFINE, INVERSE, LOW, STEP = tl.constexpr(0), tl.constexpr(6), tl.constexpr(10), tl.constexpr(12)
NODES, LIGHTS, ALPHAS, DETAILS = tl.constexpr(14), tl.constexpr(19), tl.constexpr(24), tl.constexpr(29)
MAPS_ENTRIES = tl.constexpr(34)
# Of an image: a row with its number of levels, then a row for each: address, columns, rows, the texel of the canvas at
# which it begins, and its texels for one of the canvas.
LEVEL_LEFT, LEVEL_TOP, PER_TEXEL = tl.constexpr(3), tl.constexpr(4), tl.constexpr(5)
IMAGE_ENTRIES = tl.constexpr(6)


def draw_frame(
    instances: Float64[Tensor, "instances entries"],
    backdrop: Tensor,
    source: Tensor | None,
    output: Tensor,
    *,
    has_details: bool,
    has_opacities: bool,
    is_half: bool,
    as_solved: bool,
) -> None:
    """Fill `output`, h w 3, from a table of instances. is_half: images hold halves instead of floats. as_solved: as
    `Inputs` has it."""
    height, width = output.shape[:2]
    grid = triton.cdiv(width, TILE_COLUMNS.value), triton.cdiv(height, LAUNCH["BLOCK"] // TILE_COLUMNS.value)
    full_scale = 255.0 if output.dtype == torch.uint8 else 65535.0
    arrays = (instances, len(instances), backdrop, output if source is None else source, output, width, height)
    flags = {"HAS_SOURCE": source is not None, "HAS_DETAILS": has_details, "HAS_OPACITIES": has_opacities}
    draw[grid](*arrays, **flags, FULL_SCALE=full_scale, AS_SOLVED=as_solved, IS_HALF=is_half, **LAUNCH)


@triton.jit
def number(table, entry):
    return tl.load(table + entry).to(tl.float32)


@triton.jit
def whole(table, entry):
    return tl.load(table + entry).to(tl.int32)


@triton.jit
def address(table, entry):
    return tl.load(table + entry).to(tl.int64)


@triton.jit
def table_at(table, entry):
    return address(table, entry).to(tl.pointer_type(tl.float64))


@triton.jit
def mix(a, b, share):
    return a + share * (b - a)


@triton.jit
def cell(position, count):
    """The entry below a position, clamped so that one more follows, and the fraction from it to the next."""
    position = tl.minimum(tl.maximum(position, 0.0), (count - 1).to(tl.float32))
    below = tl.minimum(position.to(tl.int32), count - 2)
    return below, position - below.to(tl.float32)


@triton.jit
def half(bits):
    """The lowest 16 bits as a half."""
    return (bits & 0xFFFF).to(tl.uint16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def single(bits):
    return (bits & 0xFFFFFFFF).to(tl.uint32).to(tl.float32, bitcast=True)


@triton.jit
def load_entry(start, entry, mask, IS_HALF: tl.constexpr):
    """Four values, read as one or two words."""
    if IS_HALF:
        bits = tl.load(start.to(tl.pointer_type(tl.int64)) + entry, mask=mask, other=0)
        values = half(bits), half(bits >> 16), half(bits >> 32), half(bits >> 48)
    else:
        words = start.to(tl.pointer_type(tl.int64)) + 2 * entry
        low, high = tl.load(words, mask=mask, other=0), tl.load(words + 1, mask=mask, other=0)
        values = single(low), single(low >> 32), single(high), single(high >> 32)
    return values


@triton.jit
def mix_entries(a, b, share):
    return mix(a[0], b[0], share), mix(a[1], b[1], share), mix(a[2], b[2], share), mix(a[3], b[3], share)


@triton.jit
def look_up(start, columns, rows, x, y, mask, IS_HALF: tl.constexpr):
    """Four values at each place of grids at addresses, bilinear; x, y: from the first entry's own place."""
    column, fx = cell(x, columns)
    row, fy = cell(y, rows)
    entry = row * columns + column
    a, b = load_entry(start, entry, mask, IS_HALF), load_entry(start, entry + 1, mask, IS_HALF)
    entry += columns
    c, d = load_entry(start, entry, mask, IS_HALF), load_entry(start, entry + 1, mask, IS_HALF)
    return mix_entries(mix_entries(a, b, fx), mix_entries(c, d, fx), fy)


@triton.jit
def look_up_grid(grid, x, y, mask, IS_HALF: tl.constexpr):
    """The same in the grid of a table's row, which may be another one for each place."""
    start, columns, rows = address(grid, 0), whole(grid, 1), whole(grid, 2)
    return look_up(start, columns, rows, x * number(grid, 3), y * number(grid, 4), mask, IS_HALF)


@triton.jit
def unpack(nodes, mask):
    """Levels of u and v, 16 bits each."""
    both = tl.load(nodes, mask=mask, other=0)
    return (both & 0xFFFF).to(tl.float32), ((both >> 16) & 0xFFFF).to(tl.float32)


@triton.jit
def map_points(maps, x, y, mask):
    """u, v at source positions; derivatives of u by x and y, and of v by x and y."""
    columns, rows = whole(maps, NODES + 1), whole(maps, NODES + 2)
    per_x, per_y = number(maps, NODES + 3), number(maps, NODES + 4)
    column, fx = cell(x * per_x, columns)
    row, fy = cell(y * per_y, rows)
    nodes = address(maps, NODES).to(tl.pointer_type(tl.int32)) + row * columns + column
    u00, v00 = unpack(nodes, mask)
    u10, v10 = unpack(nodes + 1, mask)
    u01, v01 = unpack(nodes + columns, mask)
    u11, v11 = unpack(nodes + columns + 1, mask)
    per_x = tl.where((x >= 0) & (x * per_x <= (columns - 1).to(tl.float32)), per_x, 0.0)
    per_y = tl.where((y >= 0) & (y * per_y <= (rows - 1).to(tl.float32)), per_y, 0.0)
    step_x, step_y = number(maps, STEP), number(maps, STEP + 1)
    a00, a01, a10, a11 = (
        number(maps, AFFINE),
        number(maps, AFFINE + 1),
        number(maps, AFFINE + 3),
        number(maps, AFFINE + 4),
    )
    left_u, right_u, left_v, right_v = mix(u00, u01, fy), mix(u10, u11, fy), mix(v00, v01, fy), mix(v10, v11, fy)
    u = a00 * x + a01 * y + number(maps, AFFINE + 2) + number(maps, LOW) + step_x * mix(left_u, right_u, fx)
    v = a10 * x + a11 * y + number(maps, AFFINE + 5) + number(maps, LOW + 1) + step_y * mix(left_v, right_v, fx)
    ux, uy = a00 + step_x * per_x * (right_u - left_u), a01 + step_x * per_y * mix(u01 - u00, u11 - u10, fx)
    vx, vy = a10 + step_y * per_x * (right_v - left_v), a11 + step_y * per_y * mix(v01 - v00, v11 - v10, fx)
    return u, v, ux, uy, vx, vy


@triton.jit
def place_of(maps, x, y, u, v, mask):
    """Where texels lie in a frame, one Newton step from places near them."""
    near_u, near_v, _, _, _, _ = map_points(maps, x, y, mask)
    du, dv = u - near_u, v - near_v
    there_x = x + number(maps, INVERSE) * du + number(maps, INVERSE + 1) * dv
    return there_x, y + number(maps, INVERSE + 2) * du + number(maps, INVERSE + 3) * dv


@triton.jit
def own_alpha(maps, x, y, mask):
    """Zero outside of the source's frame."""
    columns, rows = whole(maps, ALPHAS + 1), whole(maps, ALPHAS + 2)
    x, y = x * number(maps, ALPHAS + 3), y * number(maps, ALPHAS + 4)
    mask = mask & (x >= 0) & (y >= 0) & (x <= columns.to(tl.float32)) & (y <= rows.to(tl.float32))
    x = tl.minimum(tl.maximum(x - 0.5, 0.0), (columns - 1).to(tl.float32))
    y = tl.minimum(tl.maximum(y - 0.5, 0.0), (rows - 1).to(tl.float32))
    left, top = x.to(tl.int32), y.to(tl.int32)
    fx, fy = x - left.to(tl.float32), y - top.to(tl.float32)
    at = address(maps, ALPHAS).to(tl.pointer_type(tl.uint16)) + top * columns + left
    right, below = tl.where(left < columns - 1, 1, 0), tl.where(top < rows - 1, columns, 0)
    # An ordinary frame looks at a pixel's own place, where its neighbours do not count.
    a = tl.load(at, mask=mask, other=0).to(tl.float32)
    b = tl.load(at + right, mask=mask & (fx > 0), other=0).to(tl.float32)
    c = tl.load(at + below, mask=mask & (fy > 0), other=0).to(tl.float32)
    d = tl.load(at + below + right, mask=mask & (fx > 0) & (fy > 0), other=0).to(tl.float32)
    return mix(mix(a, b, fx), mix(c, d, fx), fy) * (1.0 / 65535.0)


@triton.jit
def ellipse(ux, uy, vx, vy):
    """What pixels cover of a canvas: long axis x, y in texels, probes along it, how often to halve for them."""
    uu, vv, uv = ux * ux + uy * uy, vx * vx + vy * vy, ux * vx + uy * vy
    mean, difference = (uu + vv) * 0.5, (uu - vv) * 0.5
    root = tl.sqrt(difference * difference + uv * uv)
    long, short = tl.sqrt(mean + root), tl.sqrt(tl.maximum(mean - root, 0.0))
    probes = tl.minimum(tl.maximum(tl.floor(long / tl.maximum(short, FINEST) + 0.5), 1.0), MOST)
    axis_x = tl.where(difference >= 0, root + difference, uv)
    axis_y = tl.where(difference >= 0, uv, root - difference)
    scale = long / tl.maximum(tl.sqrt(axis_x * axis_x + axis_y * axis_y), 1e-20)
    covered = tl.maximum(long / probes, short)
    level = tl.log2(tl.maximum(covered / FINEST, 1.0))
    level = tl.maximum(tl.minimum(level, (covered - BILINEAR) * HALVINGS), 0.0)
    return axis_x * scale, axis_y * scale, probes, level


@triton.jit
def look_up_level(image, level, x, y, mask, IS_HALF: tl.constexpr):
    """The same in a copy of an image, which has a ring around it; x, y: texels of the canvas."""
    grid = image + (level + 1) * IMAGE_ENTRIES
    per_texel = number(grid, PER_TEXEL)
    x, y = (x - number(grid, LEVEL_LEFT)) * per_texel + 0.5, (y - number(grid, LEVEL_TOP)) * per_texel + 0.5
    return look_up(address(grid, 0), whole(grid, 1), whole(grid, 2), x, y, mask, IS_HALF)


@triton.jit
def filtered(image, u, v, axis_x, axis_y, probes, level, mask, IS_HALF: tl.constexpr):
    """An image over what pixels cover."""
    if tl.max(tl.where(mask, tl.maximum(probes - 1.0, level), 0.0)) == 0.0:
        r, g, b, a = look_up_level(image, 0, u, v, mask, IS_HALF)
    else:
        r, g, b, a = look_up_probes(image, u, v, axis_x, axis_y, probes, level, mask, IS_HALF)
    return r, g, b, a


@triton.jit
def look_up_probes(image, x, y, axis_x, axis_y, probes, level, mask, IS_HALF: tl.constexpr):
    """The mean of probes along the long axis, each in two copies of an image."""
    last = whole(image, 0) - 1
    level = tl.minimum(level, last.to(tl.float32))
    finer = level.to(tl.int32)
    coarser = tl.minimum(finer + 1, last)
    share = level - finer.to(tl.float32)
    r, g, b, a = x * 0.0, x * 0.0, x * 0.0, x * 0.0
    for probe in range(tl.max(tl.where(mask, probes, 0.0)).to(tl.int32)):
        counts = mask & (probe < probes)
        along = (probe + 0.5) / probes - 0.5
        px, py = x + along * axis_x, y + along * axis_y
        fine = look_up_level(image, finer, px, py, counts, IS_HALF)
        coarse = look_up_level(image, coarser, px, py, counts & (share > 0), IS_HALF)
        red, green, blue, fourth = mix_entries(fine, coarse, share)
        r, g, b, a = r + red, g + green, b + blue, a + fourth
    return r / probes, g / probes, b / probes, a / probes


@triton.jit
def look_up_solved(image, u, v, axis_x, axis_y, probes, level, changes, mask, IS_HALF: tl.constexpr):
    """A texture as it was solved; if something `changes` it, also what it lacks of the filtered one."""
    r, g, b, _ = look_up_level(image, 0, u, v, mask, IS_HALF)
    red, green, blue = u * 0.0, u * 0.0, u * 0.0
    if changes & (tl.max(tl.where(mask, tl.maximum(probes - 1.0, level), 0.0)) > 0.0):
        red, green, blue, _ = look_up_probes(image, u, v, axis_x, axis_y, probes, level, mask, IS_HALF)
        red, green, blue = red - r, green - g, blue - b
    return r, g, b, red, green, blue


@triton.jit
def carried(maps, x, y, kept, mask):
    """What the layers cannot explain of a picture, as much of it as a layer takes along."""
    r, g, b, share = look_up_grid(maps + DETAILS, x + DETAIL_OFFSET, y + DETAIL_OFFSET, mask, False)
    share = tl.minimum(kept, share)
    return share * r, share * g, share * b, share


@triton.jit
def move(instance, x, y):
    """The image of pixel positions under an instance's homography, and its derivative: x by x and y, y by x and y."""
    m00, m01, m02 = number(instance, MATRIX), number(instance, MATRIX + 1), number(instance, MATRIX + 2)
    m10, m11, m12 = number(instance, MATRIX + 3), number(instance, MATRIX + 4), number(instance, MATRIX + 5)
    m20, m21, m22 = number(instance, MATRIX + 6), number(instance, MATRIX + 7), number(instance, MATRIX + 8)
    w = m20 * x + m21 * y + m22
    qx, qy = (m00 * x + m01 * y + m02) / w, (m10 * x + m11 * y + m12) / w
    return qx, qy, (m00 - qx * m20) / w, (m01 - qx * m21) / w, (m10 - qy * m20) / w, (m11 - qy * m21) / w


@triton.jit
def mix_colours(r, g, b, other_r, other_g, other_b, share):
    return mix(r, other_r, share), mix(g, other_g, share), mix(b, other_b, share)


@triton.jit
def load_level(source, mask, FULL_SCALE: tl.constexpr):
    return tl.load(source, mask=mask, other=0).to(tl.float32) / FULL_SCALE


@triton.jit
def store_level(output, value, mask, FULL_SCALE: tl.constexpr):
    levels = tl.minimum(tl.maximum(value, 0.0), 1.0) * FULL_SCALE + 0.5
    tl.store(output, levels.to(tl.int32).to(output.dtype.element_ty), mask=mask)


@triton.jit
def draw(
    instances, count, backdrop, source, output, width, height,
    HAS_SOURCE: tl.constexpr, HAS_DETAILS: tl.constexpr, HAS_OPACITIES: tl.constexpr, FULL_SCALE: tl.constexpr,
    AS_SOLVED: tl.constexpr, IS_HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    lane = tl.arange(0, BLOCK)
    column = tl.program_id(0) * TILE_COLUMNS + lane % TILE_COLUMNS
    row = tl.program_id(1) * (BLOCK // TILE_COLUMNS) + lane // TILE_COLUMNS
    inside = (column < width) & (row < height)
    pixel = (row * width + column) * 3

    zero = lane * 0.0
    left_seen, left_kept, replaced = zero + 1.0, zero + 1.0, zero
    explained_r, explained_g, explained_b = zero, zero, zero
    r, g, b = zero, zero, zero
    opacity_r, opacity_g, opacity_b = zero, zero, zero
    for index in range(count):
        instance = instances + index * INSTANCE_ENTRIES
        first, second, share = table_at(instance, FIRST), table_at(instance, SECOND), number(instance, SHARE)
        x, y, xx, xy, yx, yy = move(instance, column.to(tl.float32) + 0.5, row.to(tl.float32) + 0.5)
        mask = inside & ((left_seen > 0) | (left_kept > 0))
        own = tl.where(mask, 1.0, 0.0)
        if (whole(instance, COVERS) == 0) & (share == 0):
            own = own_alpha(first, x, y, mask)
            mask = own > 0
        if tl.max(own) > 0:
            u, v, ux, uy, vx, vy = map_points(first, x, y, mask)
            before_x, before_y, after_x, after_y = x, y, x, y
            if share > 0:
                u1, v1, ux1, uy1, vx1, vy1 = map_points(second, x, y, mask)
                u, v, ux, uy = mix(u, u1, share), mix(v, v1, share), mix(ux, ux1, share), mix(uy, uy1, share)
                vx, vy = mix(vx, vx1, share), mix(vy, vy1, share)
                before_x, before_y = place_of(first, x, y, u, v, mask)
                after_x, after_y = place_of(second, x, y, u, v, mask)
                if whole(instance, COVERS) == 0:
                    own = own_alpha(first, before_x, before_y, mask)
                    own = mix(own, own_alpha(second, after_x, after_y, mask), share)
                    mask = own > 0
            seen = own * left_seen
            kept = tl.where(whole(instance, HIDDEN) == 0, own * left_kept, 0.0)
            left_seen, left_kept = left_seen - seen, left_kept - kept
            axis_x, axis_y, probes, level = ellipse(
                ux * xx + uy * yx, ux * xy + uy * yy, vx * xx + vy * yx, vx * xy + vy * yy
            )
            light_r, light_g, light_b, _ = look_up_grid(first + LIGHTS, u, v, mask, True)
            if share > 0:
                next_r, next_g, next_b, _ = look_up_grid(second + LIGHTS, u, v, mask, True)
                light_r, light_g, light_b = (
                    mix(light_r, next_r, share),
                    mix(light_g, next_g, share),
                    mix(light_b, next_b, share),
                )
            changes = address(instance, CHANGE) != 0
            texture = table_at(instance, TEXTURE)
            lacking_r, lacking_g, lacking_b = zero, zero, zero
            if AS_SOLVED:
                shown_r, shown_g, shown_b, lacking_r, lacking_g, lacking_b = look_up_solved(
                    texture, u, v, axis_x, axis_y, probes, level, changes, mask, IS_HALF
                )
            else:
                shown_r, shown_g, shown_b, _ = filtered(texture, u, v, axis_x, axis_y, probes, level, mask, IS_HALF)
            shown_r, shown_g, shown_b = shown_r * light_r, shown_g * light_g, shown_b * light_b
            explained_r, explained_g, explained_b = (
                explained_r + seen * shown_r,
                explained_g + seen * shown_g,
                explained_b + seen * shown_b,
            )
            if whole(instance, BACKDROP) != 0:
                shown_r = tl.load(backdrop + pixel, mask=inside, other=0.0)
                shown_g = tl.load(backdrop + pixel + 1, mask=inside, other=0.0)
                shown_b = tl.load(backdrop + pixel + 2, mask=inside, other=0.0)
            r, g, b = r + kept * shown_r, g + kept * shown_g, b + kept * shown_b
            along_r, along_g, along_b = zero, zero, zero
            if whole(instance, REPLACED) != 0:
                replaced += seen
            elif HAS_DETAILS:
                along_r, along_g, along_b, _ = carried(first, before_x, before_y, kept, mask)
                if share > 0:
                    next_r, next_g, next_b, _ = carried(second, after_x, after_y, kept, mask)
                    along_r, along_g, along_b = (
                        mix(along_r, next_r, share),
                        mix(along_g, next_g, share),
                        mix(along_b, next_b, share),
                    )
                r, g, b = r + along_r, g + along_g, b + along_b
            if changes:
                change = table_at(instance, CHANGE)
                change_r, change_g, change_b, taken_r = filtered(
                    change, u, v, axis_x, axis_y, probes, level, mask, IS_HALF
                )
                taken_g, taken_b = taken_r, taken_r
                if HAS_OPACITIES and address(instance, OPACITIES) != 0:
                    change = table_at(instance, OPACITIES)
                    taken_r, taken_g, taken_b, _ = filtered(change, u, v, axis_x, axis_y, probes, level, mask, IS_HALF)
                r += kept * light_r * (change_r + taken_r * lacking_r) - taken_r * along_r
                g += kept * light_g * (change_g + taken_g * lacking_g) - taken_g * along_g
                b += kept * light_b * (change_b + taken_b * lacking_b) - taken_b * along_b
                opacity_r, opacity_g, opacity_b = (
                    opacity_r + kept * taken_r,
                    opacity_g + kept * taken_g,
                    opacity_b + kept * taken_b,
                )
    if HAS_SOURCE:
        left = 1 - replaced
        r += (load_level(source + pixel, inside, FULL_SCALE) - explained_r) * left * (1 - opacity_r)
        g += (load_level(source + pixel + 1, inside, FULL_SCALE) - explained_g) * left * (1 - opacity_g)
        b += (load_level(source + pixel + 2, inside, FULL_SCALE) - explained_b) * left * (1 - opacity_b)
    store_level(output + pixel, r, inside, FULL_SCALE)
    store_level(output + pixel + 1, g, inside, FULL_SCALE)
    store_level(output + pixel + 2, b, inside, FULL_SCALE)
