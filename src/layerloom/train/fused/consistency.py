# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false, reportOperatorIssue=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""The lighting consistency term in Triton, one program a patch: same meaning as `losses.lighting_consistency`.

Some tiles lend a patch of 3×3 texels: the first of those with objects, for every layer, and the first of those of pure
background, for the background alone. Patches are stored by layer: the background's (both kinds), then each object's.
"""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from jaxtyping import Float32
from torch import Tensor

from layerloom.ops.mapping.triton import store_point
from layerloom.train.fused.objective import Sizes
from layerloom.train.fused.tiles import SIDE, TileBatch

TEXELS = 9


@dataclass(frozen=True)
class Patches:
    """p patches: where light is read, as shares of the canvas and time; log light there; weight 1 if unseen then."""

    seen: Float32[Tensor, "p 9 3"]
    unseen: Float32[Tensor, "p 9 3"]
    weight: Float32[Tensor, " p"]
    log_light_seen: Float32[Tensor, "p 9 3"]
    log_light_unseen: Float32[Tensor, "p 9 3"]
    grad_unseen: Float32[Tensor, "p 9 3"]
    values: Float32[Tensor, " p"]

    @staticmethod
    def allocate(patches: int, device: torch.device) -> "Patches":
        def new(*shape: int) -> Tensor:
            return torch.zeros(shape, device=device)

        names = ("seen", "unseen", "log_light_seen", "log_light_unseen", "grad_unseen")
        return Patches(**{name: new(patches, TEXELS, 3) for name in names}, weight=new(patches), values=new(patches))

    def part(self, patches: slice) -> "Patches":
        return Patches(**{name: value[patches] for name, value in vars(self).items()})


@dataclass(frozen=True)
class PatchSource:
    """How many tiles of either kind lend a patch, and what tells whether a texel is in a frame.

    inverse_motion: canvas to pixels; per_canvas: one over each layer's canvas; size: of the frame, margin around it in
    pixels.
    """

    with_objects: int
    of_background: int
    inverse_motion: Float32[Tensor, "layers t 3 3"]
    per_canvas: Float32[Tensor, "layers 2"]
    size: tuple[int, int]
    margin: int

    def count(self, objects: int) -> int:
        return self.with_objects * (objects + 1) + self.of_background

    def patches_of(self, layer: int, objects: int) -> slice:
        """The patches of a layer, counted front to back, the background last."""
        everything = self.with_objects + self.of_background
        if layer == objects:
            return slice(0, everything)
        first = everything + layer * self.with_objects
        return slice(first, first + self.with_objects)

    @property
    def arguments(self) -> dict[str, int]:
        return {"with_objects": self.with_objects, "of_background": self.of_background}


def place_patches(
    sizes: Sizes, source: PatchSource, uv: Float32[Tensor, "s pixels 2"], batch: TileBatch, patches: Patches
) -> None:
    """Fill seen, unseen and weight: around the first pixel of each lending tile, now and in its other frame."""
    inputs = (uv, batch.frame, batch.other_frame, source.inverse_motion, source.per_canvas)
    width, height = source.size
    borders = {"margin": source.margin, "right_border": width + source.margin, "lower_border": height + source.margin}
    numbers = {**sizes.arguments, **source.arguments, **borders, "frames": source.inverse_motion.shape[1]}
    outputs = (patches.seen, patches.unseen, patches.weight)
    points_kernel[(len(patches.weight),)](*inputs, *outputs, **numbers, SIDE=SIDE, num_warps=1)


def consistency(sizes: Sizes, source: PatchSource, patches: Patches, weight: float) -> None:
    """Fill values, each patch's part of the term, and the gradient of `weight` times it with respect to log light."""
    inputs = (patches.log_light_seen, patches.log_light_unseen, patches.weight)
    outputs = (patches.values, patches.grad_unseen)
    numbers = {**sizes.arguments, **source.arguments}
    consistency_kernel[(len(patches.weight),)](*inputs, *outputs, **numbers, weight=weight, num_warps=1)


@triton.jit
def find_patch(patch, tiles_with_objects, with_objects, of_background):
    """The layer (counted background first, then front to back) and the tile of a patch."""
    of_last = patch < with_objects + of_background
    beyond = patch - (with_objects + of_background)
    layer = tl.where(of_last, 0, 1 + beyond // tl.maximum(with_objects, 1))
    entry = tl.where(of_last, patch, beyond % tl.maximum(with_objects, 1))
    tile = tl.where(entry < with_objects, entry, tiles_with_objects + entry - with_objects)
    return layer, tile


@triton.jit
def points_kernel(
    uv, frame, other_frame, inverse_motion, per_canvas, seen, unseen, weight,
    tiles, tiles_with_objects, with_objects, of_background, frames, margin, right_border, lower_border,
    OBJECTS: tl.constexpr, SIDE: tl.constexpr,
):  # fmt: skip
    patch = tl.program_id(0)
    layer, tile = find_patch(patch, tiles_with_objects, with_objects, of_background)
    slot = tl.where(layer == 0, tile, tiles + (layer - 1) * tiles_with_objects + tile)
    x, y = tl.load(uv + slot * SIDE * SIDE * 2), tl.load(uv + slot * SIDE * SIDE * 2 + 1)
    now, then = tl.load(frame + tile), tl.load(other_frame + tile)

    # Layers are counted front to back in here, the background last.
    number = tl.where(layer == 0, OBJECTS, layer - 1)
    h = inverse_motion + (number * frames + then) * 9
    depth = tl.load(h + 6) * x + tl.load(h + 7) * y + tl.load(h + 8)
    at_x = (tl.load(h) * x + tl.load(h + 1) * y + tl.load(h + 2)) / depth
    at_y = (tl.load(h + 3) * x + tl.load(h + 4) * y + tl.load(h + 5)) / depth
    outside = (at_x < -margin) | (at_y < -margin) | (at_x > right_border) | (at_y > lower_border)
    tl.store(weight + patch, tl.where(outside, 1.0, 0.0))

    texel = tl.arange(0, 16)
    inside = texel < 9
    across, down = tl.load(per_canvas + number * 2), tl.load(per_canvas + number * 2 + 1)
    x, y = (x + texel // 3 - 1) * across, (y + texel % 3 - 1) * down
    place = patch * 9 + texel
    store_point(seen, place, x, y, (now + 0.5) / frames + x * 0, inside)
    store_point(unseen, place, x, y, (then + 0.5) / frames + x * 0, inside)


@triton.jit
def consistency_kernel(
    seen, unseen, patch_weight, values, grad_unseen,
    tiles, tiles_with_objects, with_objects, of_background, weight, OBJECTS: tl.constexpr,
):  # fmt: skip
    patch = tl.program_id(0)
    _, tile = find_patch(patch, tiles_with_objects, with_objects, of_background)
    among_objects = tile < tiles_with_objects
    # The mean over layers and patches of each kind of tile, by the kind's share of the tiles.
    share = tl.where(among_objects, tiles_with_objects, tiles - tiles_with_objects).to(tl.float32) / tiles
    count = tl.where(among_objects, with_objects * (OBJECTS + 1), of_background)
    scale = tl.load(patch_weight + patch) * share / count / 3

    texel = tl.arange(0, 16)
    inside = texel < 9
    total = 0.0
    for channel in tl.static_range(3):
        at = (patch * 9 + texel) * 3 + channel
        light = tl.exp(tl.load(unseen + at, mask=inside, other=0.0))
        reference = tl.exp(tl.load(seen + at, mask=inside, other=0.0))
        u = tl.where(inside, light - tl.sum(tl.where(inside, light, 0.0)) / 9, 0.0)
        s = tl.where(inside, reference - tl.sum(tl.where(inside, reference, 0.0)) / 9, 0.0)
        covariance, by_seen, by_unseen = tl.sum(s * u) / 9, tl.sum(s * s) / 9, tl.sum(u * u) / 9
        spread = tl.sqrt(by_seen * by_unseen + 1e-12)
        total += 1 - covariance / spread + 16 * by_unseen
        slope = (covariance * by_seen / (spread * spread * spread) * u - s / spread + 32 * u) / 9
        tl.store(grad_unseen + at, weight * scale * slope * light, mask=inside)
    tl.store(values + patch, total * scale)
