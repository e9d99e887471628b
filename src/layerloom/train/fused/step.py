"""One training step as a few dozen kernels on a GPU: same values and gradients as `losses` on a `LayeredField`.

The plain path (`Trainer` with autograd) defines the answer; its two thousand small kernels a step are what this
replaces. Here the chain rule is written out: read tiles, map, read grids and networks, compare, and the same way back.
Arrays over layers are stored by slots, see `kernels.objective`.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from layerloom.model.canvas import ZONE_CELL_TEXELS
from layerloom.model.encoding import EncodedNetwork
from layerloom.model.field import ALPHA_FLOOR, ALPHA_START_LOGIT, Layer, LayeredField
from layerloom.ops.hash_encode import triton as hashgrid
from layerloom.ops.mapping.triton import MappedTiles, map_tiles, map_tiles_backward
from layerloom.ops.mlp import triton as mlp
from layerloom.train.fused import consistency, objective, tiles
from layerloom.train.fused.consistency import Patches, PatchSource
from layerloom.train.fused.objective import Sizes, StepArrays
from layerloom.train.fused.tiles import HALF, PIXELS, ClipTables, TileBatch
from layerloom.train.losses import DARK, EPSILON, NOISE, SOFT_NORM_TEXELS, Term
from layerloom.train.sampling import Sampler
from layerloom.train.settings import TILE

LIMITS = {"FLOOR": ALPHA_FLOOR, "EPSILON": EPSILON, "SOFT_NORM": SOFT_NORM_TEXELS, "DARK": DARK}
SEEING_LIMITS = {
    "LOWEST_ODDS": -2 * ALPHA_START_LOGIT,
    "FLOOR": ALPHA_FLOOR,
    "NOISE": NOISE,
    "ZONE_CELL": ZONE_CELL_TEXELS,
}


def obstacle(field: LayeredField) -> str:
    """Why a field's networks do not fit these kernels; empty if they do."""
    networks = [module for module in field.modules() if isinstance(module, EncodedNetwork)]
    return next((reason for network in networks if (reason := mlp.obstacle(list(network.weights)))), "")


class FusedStep:
    """Owns the arrays of a step, on the sampler's device. `inverse_motion`: canvas to pixels, per layer and frame.
    `zone`: see `plan_zone`.

    `grads` holds the gradients of all parameters, which every step overwrites (see `FlatAdam`).
    """

    def __init__(
        self,
        field: LayeredField,
        sampler: Sampler,
        inverse_motion: Float[Tensor, "layers t 3 3"],
        far_steps: Float[Tensor, "3 2"],
        zone: UInt8[Tensor, "rows columns"],
        patch_tiles: int,
        grads: Float[Tensor, " all"],
    ) -> None:
        device = sampler.frames.device
        objects, with_objects = len(field.layers) - 1, sampler.counts[0]
        self.sizes = Sizes(sampler.tiles, with_objects, objects)
        self.far_steps, self.zone = far_steps, zone
        self.clip = _clip_tables(field, sampler)
        self.batch = TileBatch.allocate(sampler.tiles, with_objects, objects, device)
        self.arrays = StepArrays.allocate(self.sizes, device)
        lending = min(patch_tiles, with_objects), min(patch_tiles, sampler.tiles - with_objects)
        canvases = torch.tensor([field.layer(index).canvas for index in range(objects + 1)], device=device)
        self.patch_source = PatchSource(*lending, inverse_motion.contiguous(), 1 / canvases, sampler.size, TILE)
        self.patches = Patches.allocate(self.patch_source.count(objects), device)
        self.grads = grads
        self.layers = [self._layer_step(field.layer(index), index) for index in range(objects + 1)]

    def compute(self, terms: Sequence[Term], choice: Float[Tensor, "tiles choices"]) -> Float[Tensor, " terms"]:
        """Set the gradients of the weighted sum of `terms` on the tiles that `choice` names (see `Sampler.read`).

        Returns every term's value, unweighted, in the order of `losses.TERMS`.
        """
        weights = {term.name: term.weight for term in terms}
        sizes, batch, arrays = self.sizes, self.batch, self.arrays
        self.grads.zero_()
        tiles.read_tiles(choice, self.clip, batch, ALPHA_START_LOGIT / 127)
        far_xy = (batch.xy[:, :1] + self.far_steps) if "global_rigidity" in weights else None
        for layer in self.layers:
            layer.map(batch, far_xy)
        consistency.place_patches(sizes, self.patch_source, arrays.uv, batch, self.patches)
        for layer in self.layers:
            layer.look_up()
        objective.composite(sizes, batch, arrays, self.zone, SEEING_LIMITS)
        objective.objective(sizes, batch, arrays, weights, LIMITS)
        consistency.consistency(sizes, self.patch_source, self.patches, weights.get("lighting_consistency", 0.0))
        for layer in self.layers:
            layer.backward(batch, far_xy is not None)
        return torch.cat([arrays.values.sum(0), self.patches.values.sum(0, keepdim=True)])

    def _layer_step(self, layer: Layer, index: int) -> "_LayerStep":
        patches = self.patches.part(self.patch_source.patches_of(index, self.sizes.objects))
        return _LayerStep(layer, index, self.sizes, self.arrays, patches, self.grads)


class _LayerStep:
    """One layer's share of a step: its parts of the arrays, and what only this layer needs."""

    def __init__(
        self, layer: Layer, index: int, sizes: Sizes, arrays: StepArrays, patches: Patches, grads: Float[Tensor, " all"]
    ) -> None:
        a, own = arrays, sizes.slots_of(index)
        device, self.count = a.uv.device, own.stop - own.start
        self.layer, self.patches = layer, patches
        self.mapping = layer.triton_mapping()
        unit_start = torch.zeros(self.count * (PIXELS + HALF), 3, device=device)
        here, there = unit_start.split([self.count * PIXELS, self.count * HALF])
        self.pixels = MappedTiles(a.uv[own], a.start[own], a.unit_uv[own], here.view(-1, PIXELS, 3))
        self.partners = MappedTiles(a.partner_uv[own], a.partner_start[own], None, there.view(-1, HALF, 3))
        self.far = MappedTiles(a.far_uv[own], a.far_start[own], None, torch.zeros(self.count, 3, 3, device=device))
        self.grad_uv, self.grad_partner_uv, self.grad_far_uv = (
            a.grad_uv[own],
            a.grad_partner_uv[own],
            a.grad_far_uv[own],
        )
        self.log_light, self.grad_log_light = a.log_light[own].view(-1, 3), a.grad_log_light[own].view(-1, 3)
        self.unit_uv = a.unit_uv[own].view(-1, 3)
        self.structure = a.structure if index == sizes.objects else None
        colours = a.texture_logits[own].view(-1, 3), a.grad_texture_logits[own].view(-1, 3)
        self.texture = _Chain(layer.texture_network, self.unit_uv, *colours, grads, needs_points=True)
        self.alpha: _Chain | None = None
        if layer.alpha_network is not None:
            odds = a.learned_odds[index][:, None], a.grad_odds[index][:, None]
            self.alpha = _Chain(layer.alpha_network, unit_start, *odds, grads, needs_points=False)

    def map(self, batch: TileBatch, far_xy: Float[Tensor, "n 3 2"] | None) -> None:
        """Where the layer is looked at."""
        frame, partner_frame = batch.frame[: self.count], batch.partner_frame[: self.count]
        map_tiles(self.mapping, batch.xy[: self.count], frame, self.pixels)
        map_tiles(self.mapping, batch.partner_xy[: self.count], partner_frame, self.partners)
        if far_xy is not None:
            map_tiles(self.mapping, far_xy[: self.count], frame, self.far)

    def look_up(self) -> None:
        """What is seen there."""
        light, patches = self.layer.log_lighting, self.patches
        self.texture.forward()
        hashgrid.lattice(self.unit_uv, light.table, light.layout, self.log_light)
        for points, found in (
            (patches.seen, patches.log_light_seen),
            (patches.unseen, patches.log_light_unseen),
        ):
            hashgrid.lattice(points.view(-1, 3), light.table, light.layout, found.view(-1, 3))
        if self.alpha is not None:
            self.alpha.forward()

    def backward(self, batch: TileBatch, has_far: bool) -> None:
        """From the gradients of what is seen to those of the parameters."""
        light = self.layer.log_lighting
        self.texture.backward()
        if self.alpha is not None:
            self.alpha.backward()
        for points, grad in ((self.unit_uv, self.grad_log_light), (self.patches.unseen, self.patches.grad_unseen)):
            grads = (grad.view(-1, 3), None, _grad(light.table))
            hashgrid.encode_backward(points.view(-1, 3), light.table, light.layout, *grads, summed=True)
        frame, partner_frame = batch.frame[: self.count], batch.partner_frame[: self.count]
        self._map_backward(frame, self.pixels, self.grad_uv, self.texture.grad_points)
        self._map_backward(partner_frame, self.partners, self.grad_partner_uv, None)
        if has_far:
            self._map_backward(frame, self.far, self.grad_far_uv, None)

    def _map_backward(self, frame: Tensor, mapped: MappedTiles, grad_uv: Tensor, grad_unit_uv: Tensor | None) -> None:
        grads = _grad(self.mapping.affine), _grad(self.mapping.table)
        map_tiles_backward(self.mapping, frame, mapped, grad_uv, grad_unit_uv, self.structure, *grads)


class _Chain:
    """A hash encoding and its network from points to outputs, and back."""

    def __init__(
        self,
        network: EncodedNetwork,
        points: Float[Tensor, "n columns"],
        output: Float[Tensor, "n outputs"],
        grad_output: Float[Tensor, "n outputs"],
        grads: Float[Tensor, " all"],
        needs_points: bool,
    ) -> None:
        layout, device = network.layout, points.device
        self.network, self.points, self.output, self.grad_output = network, points, output, grad_output
        precision = torch.bfloat16 if device.type == "cuda" else torch.float32
        self.features = torch.zeros(len(points), layout.output_features, dtype=precision, device=device)
        self.grad_features = torch.zeros_like(self.features)
        self.grad_points: Tensor | None = None
        if needs_points:
            self.grad_points = torch.zeros(len(layout.resolutions), len(points), layout.dimensions, device=device)
        self.parameters = (*network.weights, *network.biases)
        begin = int(_grad(self.parameters[0]).storage_offset())
        self.grad_parameters = grads[begin : begin + sum(parameter.numel() for parameter in self.parameters)]

    def forward(self) -> None:
        network = self.network
        hashgrid.encode(self.points, network.table, network.layout, self.features)
        mlp.evaluate(self.features, self.parameters, len(network.weights), self.output)

    def backward(self) -> None:
        """Fill the network's gradients and the points'; add to the table's."""
        network = self.network
        grads = (self.grad_output, self.grad_features, self.grad_parameters)
        mlp.evaluate_backward(self.features, self.parameters, len(network.weights), *grads)
        grads = (self.grad_features, self.grad_points, _grad(network.table))
        hashgrid.encode_backward(self.points, network.table, network.layout, *grads)


def _clip_tables(field: LayeredField, sampler: Sampler) -> ClipTables:
    return ClipTables(
        object_tiles=sampler.object_tiles.contiguous(),
        background_tiles=sampler.background_tiles.contiguous(),
        frames=sampler.frames,
        coverage=_with_background(sampler.coverage),
        trust=sampler.trust,
        alpha_start=field.alpha_start,
        steps=sampler.steps.int(),
        flow=sampler.flow,
        confidence=sampler.confidence,
    )


def _with_background(objects: UInt8[Tensor, "objects t h w"]) -> UInt8[Tensor, "layers t h w"]:
    """Coverage of all layers, the background's being what the objects leave."""
    background = torch.full(objects.shape[1:], 255, dtype=torch.uint8, device=objects.device)
    for coverage in objects:
        background -= torch.minimum(background, coverage)
    return torch.cat([objects, background[None]])


def _grad(parameter: Tensor) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
