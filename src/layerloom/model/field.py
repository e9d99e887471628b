"""LayeredField: (x, y, t) to what each layer shows there.

    colour(p, t) = Σ_l α_l(p, t) · T_l(W_l(p, t)) · R_l(W_l(p, t), t)

Layers run front to back, the background last. Positions are pixels of the training size, uv are texels of the
layer's canvas at training scale. Source: Chan et al. 2023 (arXiv 2309.14022), section 3; what differs is the
mapping (a motion prior and an affine part per frame plus a lattice in texels, instead of a network), the lighting (a
lattice in log light, so it starts at exactly 1 and stays smooth by its resolution) and alpha (starts at the given
mask). The mapping's lattice and alpha are functions of time and of where the prior looks on the canvas.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from layerloom.core.geometry import Size, frame_to_unit_time, long_edge, rescale_positions, transform_points
from layerloom.model.encoding import EncodedNetwork, Lattice, grid_resolutions
from layerloom.ops.dispatch import choose_kernel
from layerloom.ops.hash_encode.layout import GridLayout

if TYPE_CHECKING:
    from layerloom.ops.mapping.triton import Mapping

ALPHA_START_LOGIT = 5.0
"""Log odds of alpha at the start where the mask is fully trusted."""
ALPHA_FLOOR = 1e-5
"""Own alphas inside an object's support stay within [floor, 1 − floor], as published."""


@dataclass(frozen=True)
class FieldSettings:
    """Resolutions of the grids, in pixels, texels and frames, and the networks' sizes."""

    mapping_cells_texels: tuple[float, float] = (200.0, 2.0)
    mapping_cells_frames: tuple[float, float] = (16.0, 1.0)
    mapping_levels: int = 7
    texture_cells_texels: tuple[float, float] = (64.0, 1.0)
    texture_levels: int = 10
    texture_entries: int = 2**21
    texture_hidden: int = 64
    texture_hidden_layers: int = 2
    lighting_cells_per_canvas: tuple[float, float] = (4.0, 32.0)
    lighting_cells_frames: tuple[float, float] = (16.0, 1.0)
    lighting_levels: int = 4
    alpha_cells_texels: tuple[float, float] = (64.0, 2.0)
    alpha_cells_frames: tuple[float, float] = (8.0, 1.0)
    alpha_levels: int = 8
    alpha_entries: int = 2**19
    alpha_hidden: int = 32
    alpha_hidden_layers: int = 1


@dataclass(frozen=True)
class LayerSample:
    """What the layers show at some points. Leading axes: layer, then the points' own (tile, pixel in the tile).

    `uv_start` is where the motion prior alone would look; `texture_uv` is `uv` once more, at which the texture is read,
    so that its gradient is the colours' alone; `alpha` is composited: it sums to one over the layers.
    """

    uv: Float[Tensor, "layers *points 2"]
    uv_start: Float[Tensor, "layers *points 2"]
    texture_uv: Float[Tensor, "layers *points 2"]
    texture: Float[Tensor, "layers *points 3"]
    lighting: Float[Tensor, "layers *points 3"]
    alpha: Float[Tensor, "layers *points"]


def composite(sample: LayerSample) -> Float[Tensor, "*points 3"]:
    """Σ_l α_l T_l R_l."""
    return (sample.alpha[..., None] * sample.texture * sample.lighting).sum(0)


def composite_alpha(own: Float[Tensor, "objects *points"]) -> Float[Tensor, "layers *points"]:
    """Own coverages of the objects, front to back, to each layer's visible share; the background takes the rest."""
    # Not cumprod: its backward asks the host, which a CUDA graph cannot.
    remaining = own.new_ones(own.shape[1:])
    visible: list[Tensor] = []
    for alpha in own:
        visible.append(alpha * remaining)
        remaining = remaining * (1 - alpha)
    return torch.stack([*visible, remaining])


class Layer(nn.Module):
    """Mapping, texture, lighting and, for an object, alpha of one layer."""

    motion: Tensor
    centre: Tensor

    def __init__(
        self,
        frames: int,
        canvas: Size,
        motion: Float[Tensor, "t 3 3"],
        has_alpha: bool,
        settings: FieldSettings,
    ) -> None:
        super().__init__()
        s = settings
        self.frames, self.canvas = frames, canvas
        self.register_buffer("motion", motion.float(), persistent=False)
        self.register_buffer("centre", torch.tensor(canvas, dtype=torch.float32) / 2, persistent=False)
        # Per frame: a shift and a linear part about the canvas centre, both in texels at the canvas' border.
        self.affine = nn.Parameter(torch.zeros(frames, 2, 3))

        def space_time_grid(
            cells: tuple[float, float], cells_frames: tuple[float, float], levels: int
        ) -> tuple[tuple[int, ...], ...]:
            coarse, fine = (min(cell, float(frames)) for cell in cells_frames)
            spans = (float(canvas[0]), float(canvas[1]), float(frames))
            return grid_resolutions(spans, (cells[0], cells[0], coarse), (cells[1], cells[1], fine), levels)

        mapping_grid = space_time_grid(s.mapping_cells_texels, s.mapping_cells_frames, s.mapping_levels)
        self.offset = Lattice(GridLayout(mapping_grid, s.texture_entries, 2))
        coarse, fine = s.texture_cells_texels
        texture_grid = grid_resolutions(
            (float(canvas[0]), float(canvas[1])), (coarse, coarse), (fine, fine), s.texture_levels
        )
        self.texture_network = EncodedNetwork(
            GridLayout(texture_grid, s.texture_entries), s.texture_hidden, s.texture_hidden_layers, 3
        )
        light_cells = (
            long_edge(canvas) / s.lighting_cells_per_canvas[0],
            long_edge(canvas) / s.lighting_cells_per_canvas[1],
        )
        lighting_grid = space_time_grid(light_cells, s.lighting_cells_frames, s.lighting_levels)
        self.log_lighting = Lattice(GridLayout(lighting_grid, s.texture_entries, 3))
        self.alpha_network: EncodedNetwork | None = None
        if has_alpha:
            alpha_grid = space_time_grid(s.alpha_cells_texels, s.alpha_cells_frames, s.alpha_levels)
            self.alpha_network = EncodedNetwork(
                GridLayout(alpha_grid, s.alpha_entries), s.alpha_hidden, s.alpha_hidden_layers, 1
            )

    def space_time(self, uv: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"]) -> Float[Tensor, "n*k 3"]:
        """Canvas position and time, each in [0, 1] where the canvas reaches."""
        time = frame_to_unit_time(frame.float(), self.frames)[:, None, None].expand(*uv.shape[:2], 1)
        return torch.cat([rescale_positions(uv, self.canvas, (1, 1)), time], -1).flatten(0, 1)

    def start(self, xy: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"]) -> Float[Tensor, "n k 2"]:
        """Texel positions that the motion prior alone gives pixels `xy` of `frame`."""
        return transform_points(self.motion[frame][:, None], xy)

    def mapping(
        self, xy: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"]
    ) -> tuple[Float[Tensor, "n k 2"], Float[Tensor, "n k 2"]]:
        """Texel positions seen at pixels `xy` of `frame`, and where the motion prior alone would look.

        The offset is a function of the prior's position and time, not of the pixel and time: there the layer stands
        still, so what bends it changes slowly, however fast layer and camera move across the frame.
        """
        if len(frame) == 1 and not torch.is_grad_enabled() and choose_kernel("mapping", xy) == "triton":
            from layerloom.ops.mapping.triton import map_points

            uv, start = map_points(self.triton_mapping(), xy[0], frame)
            return uv[None], start[None]
        start = self.start(xy, frame)
        affine = self.affine[frame]
        centred = (start - self.centre) / (long_edge(self.canvas) / 2)
        moved = start + affine[:, None, :, 2] + torch.einsum("nij,nkj->nki", affine[..., :2], centred)
        return moved + self.offset(self.space_time(start, frame)).view_as(xy), start

    def triton_mapping(self) -> "Mapping":
        """What the mapping is made of, for the kernels in `kernels.mapping`."""
        from layerloom.ops.mapping.triton import Mapping

        offset = self.offset
        return Mapping(self.motion, self.affine, offset.table, offset.layout, self.canvas, self.frames)

    def texture(self, uv: Float[Tensor, "n k 2"]) -> Float[Tensor, "n k 3"]:
        """Colour in (0, 1) at texel positions; beyond the canvas its border continues."""
        points = rescale_positions(uv, self.canvas, (1, 1)).flatten(0, 1)
        return torch.sigmoid(self.texture_network(points)).view(*uv.shape[:2], 3)

    def lighting(self, uv: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"]) -> Float[Tensor, "n k 3"]:
        """Multiplier of the texture's colour. uv enters without gradient: light never bends the mapping."""
        return self.log_lighting(self.space_time(uv.detach(), frame)).exp().view(*uv.shape[:2], 3)

    def own_alpha(
        self, xy: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"], odds: Float[Tensor, "n k"]
    ) -> Float[Tensor, "n k"]:
        """Coverage before occlusion by layers in front; `odds` are the log odds the mask gives, -inf where none.

        Learned over the prior's canvas position and time, as the mapping's offset is.
        """
        assert self.alpha_network is not None
        learned = self.alpha_network(self.space_time(self.start(xy, frame), frame)).view(xy.shape[:2])
        alpha = torch.sigmoid(odds.clamp(min=-2 * ALPHA_START_LOGIT) + learned)
        return alpha.clamp(ALPHA_FLOOR, 1 - ALPHA_FLOOR) * (odds > -2 * ALPHA_START_LOGIT)


class LayeredField(nn.Module):
    """All layers of a clip, and the masks' log odds that alphas start from.

    `alpha_start` 1…255 stands for log odds −limit…+limit; 0 marks pixels outside the object's support, where its
    alpha is 0 for certain.
    """

    alpha_start: Tensor

    def __init__(
        self,
        size: Size,
        frames: int,
        canvases: tuple[Size, ...],
        motion: Float[Tensor, "layers t 3 3"],
        alpha_start: UInt8[Tensor, "objects t h w"],
        settings: FieldSettings,
    ) -> None:
        super().__init__()
        self.size, self.frames = size, frames
        self.register_buffer("alpha_start", alpha_start, persistent=False)
        last = len(canvases) - 1
        self.layers = nn.ModuleList(
            Layer(frames, canvas, motion[index], index < last, settings) for index, canvas in enumerate(canvases)
        )

    def layer(self, index: int) -> Layer:
        layer = self.layers[index]
        assert isinstance(layer, Layer)
        return layer

    def shown(self, background_only: bool) -> range:
        """Numbers of the layers to evaluate. `background_only` where no object can be: the last one alone."""
        return range(len(self.layers))[-1 if background_only else 0 :]

    def mapping(
        self, xy: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"], background_only: bool
    ) -> tuple[Float[Tensor, "layers n k 2"], Float[Tensor, "layers n k 2"]]:
        """`Layer.mapping` of the layers that `shown` names."""
        uv, start = zip(*(self.layer(i).mapping(xy, frame) for i in self.shown(background_only)), strict=True)
        return torch.stack(uv), torch.stack(start)

    def alpha(
        self, xy: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"], background_only: bool
    ) -> Float[Tensor, "layers n k"]:
        """Composited alphas of the layers that `shown` names."""
        return xy.new_ones(1, *xy.shape[:2]) if background_only else composite_alpha(self.own_alpha(xy, frame))

    def own_alpha(self, xy: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"]) -> Float[Tensor, "objects n k"]:
        """The objects' coverages before occlusion."""
        width, height = self.size
        column = xy[..., 0].long().clamp(0, width - 1)
        row = xy[..., 1].long().clamp(0, height - 1)
        alphas: list[Tensor] = []
        for index in range(len(self.layers) - 1):
            code = self.alpha_start[index, frame[:, None], row, column].float()
            odds = torch.where(code > 0, (code - 128) * (ALPHA_START_LOGIT / 127), float("-inf"))
            alphas.append(self.layer(index).own_alpha(xy, frame, odds))
        return torch.stack(alphas) if alphas else xy.new_zeros(0, *xy.shape[:2])

    def forward(self, xy: Float[Tensor, "n k 2"], frame: Int[Tensor, " n"], background_only: bool) -> LayerSample:
        """Evaluate at k pixels in each of n frames, in the layers that `shown` names."""
        uv, start = self.mapping(xy, frame, background_only)
        texture_uv = uv.clone()
        shown = self.shown(background_only)
        layers = [(self.layer(index), texels) for index, texels in zip(shown, texture_uv, strict=True)]
        return LayerSample(
            uv,
            start,
            texture_uv,
            torch.stack([layer.texture(texels) for layer, texels in layers]),
            torch.stack([layer.lighting(texels, frame) for layer, texels in layers]),
            self.alpha(xy, frame, background_only),
        )
