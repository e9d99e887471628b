# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false, reportOperatorIssue=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""The training objective and its gradient in Triton, one program a tile: same meaning as `train.losses`.

Gradients are worked out by hand, so that every array is read once and nothing in between is stored. They are taken with
respect to what the networks and lattices put out: texture logits, log light, learned log odds, uv.

Tiles with objects come first. Arrays over layers are stored by *slots*: the background's for all tiles, then each
object's, front to back, for the tiles that have objects. A tile's pixels are row-major.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from jaxtyping import Float32, UInt8
from torch import Tensor

from layerloom.train.fused.tiles import HALF, PIXELS, SIDE, TileBatch

TERMS = (
    "colour",
    "gradient",
    "mask_guidance",
    "one_layer_per_pixel",
    "flow_alpha",
    "flow_uv",
    "rigidity",
    "global_rigidity",
    "sparsity",
    "lighting_prior",
)
"""What `objective` works out, in this order; the consistency of lighting is `consistency`'s."""


class Sizes(NamedTuple):
    """How many tiles there are, how many of them have objects, and how many objects."""

    tiles: int
    tiles_with_objects: int
    objects: int

    @property
    def slots(self) -> int:
        return self.tiles + self.objects * self.tiles_with_objects

    def slots_of(self, layer: int) -> slice:
        """The slots of a layer, counted front to back, the background last."""
        if layer == self.objects:
            return slice(0, self.tiles)
        first = self.tiles + layer * self.tiles_with_objects
        return slice(first, first + self.tiles_with_objects)

    @property
    def arguments(self) -> dict[str, int]:
        return {"tiles": self.tiles, "tiles_with_objects": self.tiles_with_objects, "OBJECTS": self.objects}


@dataclass(frozen=True)
class StepArrays:
    """What a step computes. `s` counts slots, `m` tiles with objects, `n` tiles; gradients as what they belong to.

    uv, start: texels that pixels look at, and where the motion prior alone would; likewise at partners and far points.
    learned_odds: an object's for all pixels, then for all partners. structure: see `losses`. values: each tile's part
    of each of TERMS.
    """

    uv: Float32[Tensor, "s pixels 2"]
    start: Float32[Tensor, "s pixels 2"]
    unit_uv: Float32[Tensor, "s pixels 3"]
    partner_uv: Float32[Tensor, "s half 2"]
    partner_start: Float32[Tensor, "s half 2"]
    far_uv: Float32[Tensor, "s 3 2"]
    far_start: Float32[Tensor, "s 3 2"]
    texture_logits: Float32[Tensor, "s pixels 3"]
    log_light: Float32[Tensor, "s pixels 3"]
    learned_odds: Float32[Tensor, "objects m*pixels+m*half"]
    own_alpha: Float32[Tensor, "objects m pixels"]
    partner_alpha: Float32[Tensor, "objects m half"]
    error: Float32[Tensor, "n pixels 3"]
    structure: Float32[Tensor, " n"]
    values: Float32[Tensor, "n terms"]
    grad_uv: Float32[Tensor, "s pixels 2"]
    grad_partner_uv: Float32[Tensor, "s half 2"]
    grad_far_uv: Float32[Tensor, "s 3 2"]
    grad_texture_logits: Float32[Tensor, "s pixels 3"]
    grad_log_light: Float32[Tensor, "s pixels 3"]
    grad_odds: Float32[Tensor, "objects m*pixels+m*half"]

    @staticmethod
    def allocate(sizes: Sizes, device: torch.device) -> "StepArrays":
        def new(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device)

        s, m = sizes.slots, sizes.tiles_with_objects
        shapes = {"uv": (s, PIXELS, 2), "partner_uv": (s, HALF, 2), "far_uv": (s, 3, 2)}
        shapes |= {"texture_logits": (s, PIXELS, 3), "log_light": (s, PIXELS, 3)}
        learned = {f"grad_{name}": shape for name, shape in shapes.items()}
        odds = (sizes.objects, m * (PIXELS + HALF))
        shapes |= {"start": (s, PIXELS, 2), "partner_start": (s, HALF, 2), "far_start": (s, 3, 2)}
        shapes |= {"unit_uv": (s, PIXELS, 3), "learned_odds": odds, "grad_odds": odds}
        shapes |= {"own_alpha": (sizes.objects, m, PIXELS), "partner_alpha": (sizes.objects, m, HALF)}
        shapes |= {"error": (sizes.tiles, PIXELS, 3), "values": (sizes.tiles, len(TERMS))}
        shapes |= {"structure": (sizes.tiles,)}
        return StepArrays(**{name: new(*shape) for name, shape in {**shapes, **learned}.items()})


def composite(
    sizes: Sizes, batch: TileBatch, arrays: StepArrays, zone: UInt8[Tensor, "rows columns"], limits: dict[str, float]
) -> None:
    """Fill own_alpha, partner_alpha, error = Σ α T R − colour, and structure.

    zone: where objects pass, see `model.canvas`. limits: the odds up to which a pixel is outside the support, floor of
    alpha, the mean square of an error that means nothing, and the zone's cell in texels.
    """
    seen = (batch.colour, batch.odds, batch.partner_odds)
    a = arrays
    learned = (a.learned_odds, a.texture_logits, a.log_light, a.own_alpha, a.partner_alpha, a.error, a.structure)
    grid = (a.start, zone, *zone.shape)
    composite_kernel[(sizes.tiles,)](*seen, *learned, *grid, **sizes.arguments, **limits, SIDE=SIDE, num_warps=2)


def objective(
    sizes: Sizes, batch: TileBatch, arrays: StepArrays, weights: dict[str, float], limits: dict[str, float]
) -> None:
    """Fill the gradients of the weighted sum of TERMS, and `values`. A term without a weight has none.

    limits: floor of alpha, epsilon of logarithms, the softness of the norm in flow uv, and what the prior on light adds
    to T², as in `losses`.
    """
    a = arrays
    seen = (a.error, batch.coverage, batch.trust, batch.partner_confidence, a.own_alpha, a.partner_alpha)
    inputs = (a.texture_logits, a.log_light, a.uv, a.start, a.partner_uv, a.far_uv, a.far_start)
    grads = (a.grad_odds, a.grad_texture_logits, a.grad_log_light, a.grad_uv, a.grad_partner_uv, a.grad_far_uv)
    named = {f"weight_{name}": weights.get(name, 0.0) for name in TERMS}
    flags = {"HAS_FAR": "global_rigidity" in weights, "SIDE": SIDE, "TERM_COUNT": len(TERMS)}
    kernel = objective_kernel[(sizes.tiles,)]
    kernel(*seen, *inputs, a.values, *grads, **named, **sizes.arguments, **limits, **flags, num_warps=2)


@triton.jit
def first_tile(layer: tl.constexpr, tiles, tiles_with_objects, OBJECTS: tl.constexpr):
    """Slot of a layer's first tile."""
    if layer == OBJECTS:
        slot = tiles * 0
    else:
        slot = tiles + layer * tiles_with_objects
    return slot


@triton.jit
def own_coverage(odds, learned, LOWEST_ODDS, FLOOR):
    """An object's coverage before occlusion, see `Layer.own_alpha`."""
    alpha = tl.sigmoid(tl.maximum(odds, LOWEST_ODDS) + learned)
    return tl.where(odds > LOWEST_ODDS, tl.minimum(tl.maximum(alpha, FLOOR), 1 - FLOOR), 0.0)


@triton.jit
def composite_kernel(
    colour, odds, partner_odds, learned_odds, texture_logits, log_light, own_alpha, partner_alpha, error, structure,
    start, zone, zone_rows, zone_columns,
    tiles, tiles_with_objects, LOWEST_ODDS, FLOOR, NOISE, ZONE_CELL, OBJECTS: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    PIXELS: tl.constexpr = SIDE * SIDE
    HALF: tl.constexpr = PIXELS // 2
    tile = tl.program_id(0)
    lane, half = tl.arange(0, PIXELS), tl.arange(0, HALF)
    left = tl.full([PIXELS], 1.0, tl.float32)
    red, green, blue = left * 0, left * 0, left * 0
    if tile < tiles_with_objects:
        for layer in tl.static_range(OBJECTS):
            learned = learned_odds + layer * tiles_with_objects * (PIXELS + HALF)
            here = layer * tiles_with_objects + tile
            seen = tl.load(odds + here * PIXELS + lane)
            own = own_coverage(seen, tl.load(learned + tile * PIXELS + lane), LOWEST_ODDS, FLOOR)
            tl.store(own_alpha + here * PIXELS + lane, own)
            at_partner = tl.load(partner_odds + here * HALF + half)
            learned += tiles_with_objects * PIXELS + tile * HALF
            partner = own_coverage(at_partner, tl.load(learned + half), LOWEST_ODDS, FLOOR)
            tl.store(partner_alpha + here * HALF + half, partner)
            place = ((first_tile(layer, tiles, tiles_with_objects, OBJECTS) + tile) * PIXELS + lane) * 3
            red += own * left * shown(texture_logits, log_light, place)
            green += own * left * shown(texture_logits, log_light, place + 1)
            blue += own * left * shown(texture_logits, log_light, place + 2)
            left *= 1 - own
    place = (tile * PIXELS + lane) * 3
    red += left * shown(texture_logits, log_light, place)
    green += left * shown(texture_logits, log_light, place + 1)
    blue += left * shown(texture_logits, log_light, place + 2)
    red -= tl.load(colour + place)
    green -= tl.load(colour + place + 1)
    blue -= tl.load(colour + place + 2)
    tl.store(error + place, red)
    tl.store(error + place + 1, green)
    tl.store(error + place + 2, blue)
    x, y = (lane % SIDE) - (SIDE - 1) / 2, (lane // SIDE) - (SIDE - 1) / 2
    smooth = smooth_energy(red, x, y, SIDE) + smooth_energy(green, x, y, SIDE) + smooth_energy(blue, x, y, SIDE)
    everything = tl.sum(red * red + green * green + blue * blue) + NOISE * 3 * PIXELS
    # The background's slots come first, so this is where it looks at the tile's first pixel.
    zone_column = tl.floor(tl.load(start + tile * PIXELS * 2) / ZONE_CELL).to(tl.int32)
    zone_row = tl.floor(tl.load(start + tile * PIXELS * 2 + 1) / ZONE_CELL).to(tl.int32)
    zone_column = tl.minimum(tl.maximum(zone_column, 0), zone_columns - 1)
    zone_row = tl.minimum(tl.maximum(zone_row, 0), zone_rows - 1)
    passed = tl.load(zone + zone_row * zone_columns + zone_column) > 0
    tl.store(structure + tile, tl.where(passed, tl.maximum(1 - smooth / everything, 0.0), 1.0))


@triton.jit
def smooth_energy(error, x, y, SIDE: tl.constexpr):
    """Sum of squares of the plane that fits a tile's values best; x, y from the tile's middle."""
    mean, by_x, by_y = tl.sum(error), tl.sum(error * x), tl.sum(error * y)
    return (mean * mean + (by_x * by_x + by_y * by_y) * (12.0 / (SIDE * SIDE - 1))) / (SIDE * SIDE)


@triton.jit
def shown(texture_logits, log_light, place):
    return tl.sigmoid(tl.load(texture_logits + place)) * tl.exp(tl.load(log_light + place))


@triton.jit
def objective_kernel(
    error, coverage, trust, partner_confidence, own_alpha, partner_alpha, texture_logits, log_light,
    uv, start, partner_uv, far_uv, far_start,
    values, grad_odds, grad_texture_logits, grad_log_light, grad_uv, grad_partner_uv, grad_far_uv,
    weight_colour, weight_gradient, weight_mask_guidance, weight_one_layer_per_pixel, weight_flow_alpha, weight_flow_uv,
    weight_rigidity, weight_global_rigidity, weight_sparsity, weight_lighting_prior,
    tiles, tiles_with_objects, FLOOR, EPSILON, SOFT_NORM, DARK,
    OBJECTS: tl.constexpr, HAS_FAR: tl.constexpr, SIDE: tl.constexpr, TERM_COUNT: tl.constexpr,
):  # fmt: skip
    PIXELS: tl.constexpr = SIDE * SIDE
    HALF: tl.constexpr = PIXELS // 2
    tile = tl.program_id(0)
    lane = tl.arange(0, PIXELS)
    row, column = lane // SIDE, lane % SIDE
    place = tile * PIXELS + lane
    has_objects = tile < tiles_with_objects
    layers = tl.where(has_objects, OBJECTS + 1, 1)
    per_pixel = 1.0 / (tiles * PIXELS)
    red, green, blue = composite_terms(
        error, values, weight_colour, weight_gradient, tiles, tile, row, column, SIDE, TERM_COUNT
    )
    value = values + tile * TERM_COUNT

    # Every second pixel, on a checkerboard, has a flow partner.
    has_partner = (row % 2) == (column % 2)
    half = row % 2 * (HALF // 2) + row // 2 * (SIDE // 2) + column // 2
    confidence = tl.load(partner_confidence + tile * HALF + half, mask=has_partner, other=0.0)
    sure = tl.load(trust + place)
    left, largest = largest_share(own_alpha, tiles_with_objects, tile, lane, OBJECTS, PIXELS)
    largest = tl.maximum(largest, left)
    clamped = tl.maximum(largest, EPSILON)
    tl.store(value + 3, -tl.sum(tl.log(clamped)) * per_pixel)
    slope_largest = tl.where(largest >= EPSILON, -weight_one_layer_per_pixel * per_pixel / clamped, 0.0)

    none = left * 0
    mask_cost, alpha_cost, uv_cost, rigid_cost, sparse_cost, light_cost = none, none, none, none, none, none
    far_cost = tl.sum(none)
    behind, partner_behind = none, none
    # Back to front: `behind` is the gradient with respect to what a layer leaves to those behind it.
    for layer in tl.static_range(OBJECTS, -1, -1):
        if has_objects | (layer == OBJECTS):
            slot = first_tile(layer, tiles, tiles_with_objects, OBJECTS) + tile
            here = layer * tiles_with_objects + tile
            front, own = coverage_here(
                own_alpha, layer, tiles_with_objects, tile, lane, has_objects, lane >= 0, OBJECTS, PIXELS, PIXELS
            )
            partner_front, partner_own = coverage_here(
                partner_alpha, layer, tiles_with_objects, tile, half, has_objects, has_partner, OBJECTS, HALF, PIXELS
            )
            alpha, partner = own * front, partner_own * partner_front
            per_object = none + (weight_sparsity * per_pixel if layer < OBJECTS else 0.0)
            slope_alpha, sparse, light = colour_terms(
                texture_logits, log_light, grad_texture_logits, grad_log_light, slot * PIXELS + lane, alpha,
                red, green, blue, per_object, weight_lighting_prior * per_pixel, DARK,
            )  # fmt: skip
            light_cost += light
            if layer < OBJECTS:
                sparse_cost += sparse

            if has_objects:
                believed = tl.load(coverage + here * PIXELS + lane)
                cost, slope = guidance(alpha, believed, sure, EPSILON)
                mask_cost += cost
                slope_alpha += slope * weight_mask_guidance * per_pixel / layers
                slope_alpha += tl.where(alpha == largest, slope_largest, 0.0)
            difference = tl.where(has_partner, alpha - partner, 0.0)
            alpha_cost += tl.abs(difference) * confidence
            sign = tl.where(difference > 0, 1.0, tl.where(difference < 0, -1.0, 0.0))
            slope_flow = weight_flow_alpha * 2 * per_pixel / layers * confidence * sign
            slope_alpha += slope_flow
            if layer < OBJECTS:
                learned = grad_odds + layer * tiles_with_objects * (PIXELS + HALF)
                store_odds(learned + tile * PIXELS + lane, front * (slope_alpha - behind), own, FLOOR, lane >= 0)
                learned += tiles_with_objects * PIXELS + tile * HALF + half
                store_odds(learned, partner_front * (-slope_flow - partner_behind), partner_own, FLOOR, has_partner)
                behind = own * slope_alpha + (1 - own) * behind
                partner_behind = partner_own * -slope_flow + (1 - partner_own) * partner_behind
            else:
                behind, partner_behind = slope_alpha, -slope_flow

            at, at_partner = (slot * PIXELS + lane) * 2, (slot * HALF + half) * 2
            weight = weight_flow_uv * 2 * per_pixel
            cost, pull_x, pull_y = flow_terms(
                uv, partner_uv, grad_partner_uv, at, at_partner, alpha * confidence, weight, SOFT_NORM, has_partner
            )
            uv_cost += cost
            cost, u, v = tile_stretch(uv, start, slot, row, column, SIDE)
            rigid_cost += cost / layers
            per_cell = weight_rigidity / (tiles * layers * (SIDE - 1) * (SIDE - 1))
            tl.store(grad_uv + at, pull_x + per_cell * u)
            tl.store(grad_uv + at + 1, pull_y + per_cell * v)
            if HAS_FAR:
                at, share = slot * 6, 1.0 / (tiles * layers)
                cost = far_stretch(far_uv + at, far_start + at, grad_far_uv + at, weight_global_rigidity * share)
                far_cost += cost * share

    tl.store(value + 2, tl.sum(mask_cost) * per_pixel / layers)
    tl.store(value + 4, tl.sum(alpha_cost) * 2 * per_pixel / layers)
    tl.store(value + 5, tl.sum(uv_cost) * 2 * per_pixel)
    tl.store(value + 6, tl.sum(rigid_cost) / (tiles * (SIDE - 1) * (SIDE - 1)))
    tl.store(value + 7, far_cost)
    tl.store(value + 8, tl.sum(sparse_cost) * per_pixel)
    tl.store(value + 9, tl.sum(light_cost) * per_pixel)


@triton.jit
def composite_terms(
    error, values, weight_colour, weight_gradient, tiles, tile, row, column,
    SIDE: tl.constexpr, TERM_COUNT: tl.constexpr,
):  # fmt: skip
    """Store the values of colour and gradient; return the gradient with respect to the composite's red, green, blue."""
    per_pixel, per_step = 1.0 / (tiles * SIDE * SIDE), 1.0 / (tiles * (SIDE * SIDE - SIDE))
    place = (tile * SIDE * SIDE + row * SIDE + column) * 3
    slope_r, cost_colour_r, cost_gradient_r = colour_slope(error, tile, row, column, 0, SIDE)
    slope_g, cost_colour_g, cost_gradient_g = colour_slope(error, tile, row, column, 1, SIDE)
    slope_b, cost_colour_b, cost_gradient_b = colour_slope(error, tile, row, column, 2, SIDE)
    share, share_steps = 2 * weight_colour * per_pixel, 2 * weight_gradient * per_step
    red = share * tl.load(error + place) + share_steps * slope_r
    green = share * tl.load(error + place + 1) + share_steps * slope_g
    blue = share * tl.load(error + place + 2) + share_steps * slope_b
    value = values + tile * TERM_COUNT
    tl.store(value, tl.sum(cost_colour_r + cost_colour_g + cost_colour_b) * per_pixel)
    tl.store(value + 1, tl.sum(cost_gradient_r + cost_gradient_g + cost_gradient_b) * per_step)
    return red, green, blue


@triton.jit
def largest_share(own_alpha, tiles_with_objects, tile, lane, OBJECTS: tl.constexpr, PIXELS: tl.constexpr):
    """What the objects leave, and the largest share that one of them has."""
    left = tl.full([PIXELS], 1.0, tl.float32)
    largest = left * 0
    if tile < tiles_with_objects:
        for layer in tl.static_range(OBJECTS):
            own = tl.load(own_alpha + (layer * tiles_with_objects + tile) * PIXELS + lane)
            largest = tl.maximum(largest, own * left)
            left *= 1 - own
    return left, largest


@triton.jit
def coverage_here(
    alphas, layer: tl.constexpr, tiles_with_objects, tile, place, has_objects, exists,
    OBJECTS: tl.constexpr, WIDTH: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """What the layers in front of one leave it, and its own coverage; `place` in a tile of WIDTH entries."""
    front, own = tl.full([PIXELS], 1.0, tl.float32), tl.full([PIXELS], 1.0, tl.float32)
    if has_objects:
        for other in tl.static_range(layer):
            nearer = other * tiles_with_objects + tile
            front *= 1 - tl.load(alphas + nearer * WIDTH + place, mask=exists, other=0.0)
    if layer < OBJECTS:
        own = tl.load(alphas + (layer * tiles_with_objects + tile) * WIDTH + place, mask=exists, other=0.0)
    return front, own


@triton.jit
def colour_terms(
    texture_logits, log_light, grad_texture_logits, grad_log_light, place, alpha, red, green, blue,
    per_object, per_light, DARK,
):  # fmt: skip
    """Store the gradients of texture and light; return that of alpha, and the costs of sparsity and lighting prior."""
    slope_alpha, sparse_cost, light_cost = alpha * 0, alpha * 0, alpha * 0
    for channel in tl.static_range(3):
        at = place * 3 + channel
        slope = red if channel == 0 else (green if channel == 1 else blue)
        texture, light = tl.sigmoid(tl.load(texture_logits + at)), tl.exp(tl.load(log_light + at))
        hidden = (1 - alpha) * texture
        slope_alpha += slope * texture * light - 2 * per_object * hidden * texture
        slope_texture = slope * alpha * light + 2 * per_object * hidden * (1 - alpha)
        tl.store(grad_texture_logits + at, slope_texture * texture * (1 - texture))
        stiffness = texture * texture + DARK
        slope_light = slope * alpha * texture + 2 * per_light * stiffness * (light - 1)
        tl.store(grad_log_light + at, slope_light * light)
        light_cost += stiffness * (light - 1) * (light - 1)
        sparse_cost += hidden * hidden
    return slope_alpha, sparse_cost, light_cost


@triton.jit
def guidance(alpha, believed, sure, EPSILON):
    """Cross entropy of alpha against the masks, and its slope."""
    inner = tl.minimum(tl.maximum(alpha, EPSILON), 1 - EPSILON)
    cost = -sure * (believed * tl.log(inner) + (1 - believed) * tl.log(1 - inner))
    slope = -sure * (believed / inner - (1 - believed) / (1 - inner))
    return cost, tl.where((alpha >= EPSILON) & (alpha <= 1 - EPSILON), slope, 0.0)


@triton.jit
def store_odds(at, slope, own, FLOOR, exists):
    """The gradient of learned odds from that of own coverage, none where coverage is clamped."""
    unclamped = (own > FLOOR) & (own < 1 - FLOOR)
    tl.store(at, tl.where(unclamped, slope * own * (1 - own), 0.0), mask=exists)


@triton.jit
def flow_terms(uv, partner_uv, grad_partner_uv, at, at_partner, share, weight, SOFT_NORM, has_partner):
    """The cost of flow uv, and its pull on the tile's own uv; stores the pull on the partners'."""
    away_x = tl.load(uv + at) - tl.load(partner_uv + at_partner, mask=has_partner, other=0.0)
    away_y = tl.load(uv + at + 1) - tl.load(partner_uv + at_partner + 1, mask=has_partner, other=0.0)
    away = tl.sqrt(away_x * away_x + away_y * away_y + SOFT_NORM * SOFT_NORM)
    slope = weight * share / away
    tl.store(grad_partner_uv + at_partner, -slope * away_x, mask=has_partner)
    tl.store(grad_partner_uv + at_partner + 1, -slope * away_y, mask=has_partner)
    return (away - SOFT_NORM) * share, slope * away_x, slope * away_y


@triton.jit
def colour_slope(error, tile, row, column, channel: tl.constexpr, SIDE: tl.constexpr):
    """Half the gradient of the squared one-pixel differences; the squares themselves, and those of the differences."""
    at = error + (tile * SIDE * SIDE + row * SIDE + column) * 3 + channel
    here = tl.load(at)
    before_x = tl.where(column > 0, here - tl.load(at - 3, mask=column > 0, other=0.0), 0.0)
    after_x = tl.where(column < SIDE - 1, tl.load(at + 3, mask=column < SIDE - 1, other=0.0) - here, 0.0)
    before_y = tl.where(row > 0, here - tl.load(at - 3 * SIDE, mask=row > 0, other=0.0), 0.0)
    after_y = tl.where(row < SIDE - 1, tl.load(at + 3 * SIDE, mask=row < SIDE - 1, other=0.0) - here, 0.0)
    return before_x - after_x + before_y - after_y, here * here, before_x * before_x + before_y * before_y


@triton.jit
def load_pair(source, at, mask):
    return tl.load(source + at * 2, mask=mask, other=0.0), tl.load(source + at * 2 + 1, mask=mask, other=0.0)


@triton.jit
def tile_stretch(uv, start, slot, row, column, SIDE: tl.constexpr):
    """Each pixel's own `stretch`, and the gradient of the tile's sum with respect to its uv.

    A pixel is the corner of its own cell, the right end of its left neighbour's, the lower end of the one above.
    """
    cost, right_x, right_y, below_x, below_y = cell_stretch(uv, start, slot, row, column, SIDE)
    grad_x, grad_y = -right_x - below_x, -right_y - below_y
    _, right_x, right_y, _, _ = cell_stretch(uv, start, slot, row, column - 1, SIDE)
    _, _, _, below_x, below_y = cell_stretch(uv, start, slot, row - 1, column, SIDE)
    return cost, grad_x + right_x + below_x, grad_y + right_y + below_y


@triton.jit
def cell_stretch(uv, start, slot, row, column, SIDE: tl.constexpr):
    """`stretch` of the cell at (row, column); all zero where the tile has no such cell."""
    exists = (row >= 0) & (column >= 0) & (row < SIDE - 1) & (column < SIDE - 1)
    at = slot * SIDE * SIDE + row * SIDE + column
    here_x, here_y = load_pair(uv, at, exists)
    right_x, right_y = load_pair(uv, at + 1, exists)
    below_x, below_y = load_pair(uv, at + SIDE, exists)
    prior_x, prior_y = load_pair(start, at, exists)
    prior_right_x, prior_right_y = load_pair(start, at + 1, exists)
    prior_below_x, prior_below_y = load_pair(start, at + SIDE, exists)
    a, c = prior_right_x - prior_x, prior_right_y - prior_y
    b, d = prior_below_x - prior_x, prior_below_y - prior_y
    p, r = right_x - here_x, right_y - here_y
    q, s = below_x - here_x, below_y - here_y
    # Where there is no cell, the identity keeps the arithmetic finite.
    a, d = tl.where(exists, a, 1.0), tl.where(exists, d, 1.0)
    p, s = tl.where(exists, p, 1.0), tl.where(exists, s, 1.0)
    cost, grad_p, grad_q, grad_r, grad_s = stretch(p, q, r, s, a, b, c, d)
    keep = tl.where(exists, 1.0, 0.0)
    return keep * cost, keep * grad_p, keep * grad_r, keep * grad_q, keep * grad_s


@triton.jit
def stretch(p, q, r, s, a, b, c, d):
    """See `losses._stretch`: cost of the Jacobian (p q; r s) relative to (a b; c d), and its gradient."""
    scale = 1 / (a * d - b * c)
    e, f, g, h = (p * d - q * c) * scale, (q * a - p * b) * scale, (r * d - s * c) * scale, (s * a - r * b) * scale
    xx, xy, yy = e * e + g * g, e * f + g * h, f * f + h * h
    norm = tl.sqrt(xx * xx + 2 * xy * xy + yy * yy)
    determinant = (xx + 1e-3) * (yy + 1e-3) - xy * xy
    outer, inner = (1 + 1 / determinant) / norm, norm / (determinant * determinant)
    by_xx = outer * xx - inner * (yy + 1e-3)
    by_yy = outer * yy - inner * (xx + 1e-3)
    by_xy = 2 * xy * (outer + inner)
    by_e, by_g = 2 * e * by_xx + f * by_xy, 2 * g * by_xx + h * by_xy
    by_f, by_h = 2 * f * by_yy + e * by_xy, 2 * h * by_yy + g * by_xy
    grad_p, grad_q = scale * (d * by_e - b * by_f), scale * (a * by_f - c * by_e)
    grad_r, grad_s = scale * (d * by_g - b * by_h), scale * (a * by_h - c * by_g)
    return norm + norm / determinant - 2.8284271247461903, grad_p, grad_q, grad_r, grad_s


@triton.jit
def far_stretch(uv, start, grad_uv, weight):
    """`stretch` of the three points of a tile: here, to the right, below. Stores the weighted gradient."""
    a, c = tl.load(start + 2) - tl.load(start), tl.load(start + 3) - tl.load(start + 1)
    b, d = tl.load(start + 4) - tl.load(start), tl.load(start + 5) - tl.load(start + 1)
    p, r = tl.load(uv + 2) - tl.load(uv), tl.load(uv + 3) - tl.load(uv + 1)
    q, s = tl.load(uv + 4) - tl.load(uv), tl.load(uv + 5) - tl.load(uv + 1)
    cost, grad_p, grad_q, grad_r, grad_s = stretch(p, q, r, s, a, b, c, d)
    tl.store(grad_uv, -weight * (grad_p + grad_q))
    tl.store(grad_uv + 1, -weight * (grad_r + grad_s))
    tl.store(grad_uv + 2, weight * grad_p)
    tl.store(grad_uv + 3, weight * grad_r)
    tl.store(grad_uv + 4, weight * grad_q)
    tl.store(grad_uv + 5, weight * grad_s)
    return cost
