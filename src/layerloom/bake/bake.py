"""LayeredField to baked maps: what the editing half needs, at the source's own scale.

The networks learn at training size; canvases are baked at the source's scale or finer. uv and lighting are smooth, so
small grids hold them. The texture is then solved against the source frames: with uv, alpha and lighting fixed, colour
is linear in the texels, and a few steps of a preconditioned gradient descent bring the source's own detail into them.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from layerloom.bake.registration import layer_shifts
from layerloom.core.gaps import fill_in_time
from layerloom.core.geometry import Size, long_edge, pixel_centres, rescale_positions
from layerloom.data.clip import Clip
from layerloom.data.project import BakedLayer
from layerloom.model.field import LayeredField, composite_alpha
from layerloom.ops.dispatch import splat

UV_TOLERANCE_TEXELS = 0.05
UV_NODE_SPACINGS_PIXELS = (4, 2, 1)
"""Coarser ones would hold what was learned of a smooth mapping, but not how frames are placed on the texture."""
DENSE_GRID_PIXELS = 2**20
"""Larger frames get no uv grid of a node per pixel: two pixels apart, it takes a hundred megabytes as it is."""
PROBES = 2000
SOLVE_ROUNDS = 4
PLACED_IN_ROUNDS = (1, 2)
"""Then frames are first placed on the texture as the round before left it. It is solved once more after that."""
MOST_TEXELS_PER_PIXEL = 2.0
FINE_CANVAS_PIXELS = 1920
"""Footage smaller than this is given more texels per pixel: looked up between them, a texture of one texel per pixel
cannot hold what frames half a pixel apart show sharply."""
OUTLIER_LEVEL = 0.3
"""A residual this large (of full scale) counts a quarter in the texture: passers-by should not be burnt in."""
PRIOR_WEIGHT = 0.1
"""How many fully covered pixels the network's own colour counts for."""
UNSEEN_WEIGHT = 1e-3
"""Frames that do not see a texel count this much towards its mean light, so that it is defined everywhere."""
SEEN_TEXELS = 5
"""Across the neighbourhood by which a texel counts as seen."""
LIGHT_STRIDE = 2
POINTS_AT_ONCE = 2**18

OwnAlpha = UInt8[Tensor, "objects t h w"]
"""Of 255, as it is stored: a clip's in floats would take as much memory as all that it was learned from."""
SourceFrames = Callable[[], Iterator[np.ndarray]]


@dataclass
class _Maps:
    """One layer while it is baked, on the device. Texel units are those of the baked canvas.

    texels_per_pixel: of the source, where the layer is seen largest. A pixel's share of a texel is the less the more.
    """

    canvas: Size
    texels_per_pixel: float
    affine: Float[Tensor, "t 2 3"]
    offset: Float[Tensor, "t gh gw 2"]
    lighting: Float[Tensor, "t lh lw 3"]
    texture: Float[Tensor, "3 ch cw"]
    seen: Float[Tensor, "ch cw"]

    def uv(self, frame: int, xy: Float[Tensor, "h w 2"], size: Size) -> Float[Tensor, "h w 2"]:
        """Texel positions at pixels of a frame of source size."""
        offset = _between_nodes(self.offset[frame][None], xy[None], size)[0]
        by_x, by_y, shift = self.affine[frame].unbind(1)  # a product of matrices so thin takes a GPU longer
        return xy[..., :1] * by_x + xy[..., 1:] * by_y + shift + offset.permute(1, 2, 0)

    def light(self, frame: int, uv: Float[Tensor, "h w 2"]) -> Float[Tensor, "3 h w"]:
        return _between_nodes(self.lighting[frame][None], uv[None], self.canvas)[0]

    def shift(self, frame: int, shift: Float[Tensor, "h w 2"], size: Size) -> None:
        """Let each pixel look where the one at its position less `shift` has looked."""
        rows, columns = self.offset.shape[1:3]
        nodes = _nodes(size, columns, rows, shift.device).view(1, rows, columns, 2)
        at_nodes = _at_pixels(shift.permute(2, 0, 1)[None], nodes, size)[0].permute(1, 2, 0)
        offset = _between_nodes(self.offset[frame][None], nodes - at_nodes, size)[0].permute(1, 2, 0)
        self.offset[frame] = offset - at_nodes @ self.affine[frame, :, :2].T

    def evenness(self, frame: int, uv: Float[Tensor, "h w 2"]) -> Float[Tensor, "h w"]:
        """Texels that a pixel covers over those that the frame's affine part gives it, at most 1.

        Where the mapping was stretched to follow something that is not on the surface, a few texels fill many pixels.
        They shall not outvote the frames that show the surface as it is: shadows that the mapping was bent round left
        dark lines on the ground.
        """
        right, below = torch.diff(uv, dim=1), torch.diff(uv, dim=0)
        right, below = torch.cat([right, right[:, -1:]], 1), torch.cat([below, below[-1:]])
        area = (right[..., 0] * below[..., 1] - right[..., 1] * below[..., 0]).abs()
        (a, b, _), (c, d, _) = self.affine[frame].unbind(0)
        return (area / (a * d - b * c).abs().clamp(min=1e-6)).clamp(max=1)

    def look_up(self, uv: Float[Tensor, "h w 2"]) -> Float[Tensor, "3 h w"]:
        """The texture, bilinear between texel centres."""
        return _at_pixels(self.texture[None], uv[None], self.canvas)[0]


@torch.no_grad()
def bake(
    field: LayeredField,
    clip: Clip,
    source_frames: SourceFrames,
    device: torch.device,
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[tuple[BakedLayer, ...], list[float]]:
    """All layers of a trained field, and each frame's PSNR in dB as they explain it.

    `source_frames()` starts reading the clip's frames anew, at source size. `progress` is told the share done.
    """
    own_alpha = _bake_alpha(field, device)
    maps = [_bake_maps(field, index, clip.source.size, own_alpha) for index in range(len(field.layers))]
    psnr = _solve_textures(maps, partial(_explain, maps, own_alpha, source_frames, clip), len(clip.frames), progress)
    _normalise_lighting(maps, own_alpha, clip.source.size)
    layers = tuple(
        _finish(layer_maps, name, own_alpha[index] if index < len(own_alpha) else None)
        for index, (name, layer_maps) in enumerate(zip(clip.layer_names, maps, strict=True))
    )
    return layers, psnr


def _bake_alpha(field: LayeredField, device: torch.device) -> OwnAlpha:
    """Own coverages at the training size's pixel centres."""
    width, height = field.size
    xy = torch.from_numpy(pixel_centres(field.size)).to(device).view(1, -1, 2)
    planes = torch.zeros(len(field.layers) - 1, field.frames, width * height, dtype=torch.uint8, device=device)
    for t in range(field.frames):
        frame = torch.tensor([t], device=device)
        near_objects = (field.alpha_start[:, t] > 0).any(0).flatten().nonzero()[:, 0]
        for part in near_objects.split(POINTS_AT_ONCE):
            planes[:, t, part] = (field.own_alpha(xy[:, part], frame)[:, 0] * 255).round().byte()
    return planes.view(len(planes), field.frames, height, width)


def _bake_maps(field: LayeredField, index: int, source_size: Size, own_alpha: OwnAlpha) -> _Maps:
    layer, device = field.layer(index), own_alpha.device
    texels_per_pixel = min(MOST_TEXELS_PER_PIXEL, max(1.0, FINE_CANVAS_PIXELS / long_edge(source_size)))
    scale = texels_per_pixel * long_edge(source_size) / long_edge(field.size)
    canvas = round(layer.canvas[0] * scale), round(layer.canvas[1] * scale)
    affine, offset = _bake_uv(field, index, source_size, canvas, own_alpha)
    lighting = _bake_lighting(field, index, device)
    texels = rescale_positions(torch.from_numpy(pixel_centres(canvas)).to(device), canvas, layer.canvas)
    rows = max(1, POINTS_AT_ONCE // canvas[0])
    colour = torch.cat([layer.texture(part.reshape(1, -1, 2))[0] for part in texels.split(rows)])
    texture = colour.view(canvas[1], canvas[0], 3).permute(2, 0, 1).contiguous()
    return _Maps(canvas, texels_per_pixel, affine, offset, lighting, texture, torch.zeros_like(texture[0]))


def _bake_uv(
    field: LayeredField, index: int, source_size: Size, canvas: Size, own_alpha: OwnAlpha
) -> tuple[Float[Tensor, "t 2 3"], Float[Tensor, "t gh gw 2"]]:
    """Affine part and offset grid, the coarsest one that stays within the tolerance at 99 of 100 visible pixels."""
    layer, device = field.layer(index), own_alpha.device
    frames = torch.arange(field.frames, device=device)

    def texels(xy_source: Float[Tensor, "k 2"], frame: Int[Tensor, ""]) -> Float[Tensor, "k 2"]:
        xy = rescale_positions(xy_source, source_size, field.size)
        uv, _ = layer.mapping(xy[None], frame[None])
        return rescale_positions(uv[0], layer.canvas, canvas)

    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(PROBES, 2, generator=generator).to(device)
    probes = rescale_positions(unit, (1, 1), source_size)
    column, row = rescale_positions(unit, (1, 1), field.size).long().unbind(1)
    shown = composite_alpha(own_alpha[:, :, row, column] / 255)[index] > 0.1
    exact = torch.stack([texels(probes, frame) for frame in frames])
    affine = _fit_affine(probes, exact)
    offset = torch.zeros(0, device=device)
    dense = field.size[0] * field.size[1] <= DENSE_GRID_PIXELS
    for spacing in UV_NODE_SPACINGS_PIXELS if dense else UV_NODE_SPACINGS_PIXELS[:-1]:
        columns, rows = (max(2, round(side / spacing) + 1) for side in field.size)
        nodes = _nodes(source_size, columns, rows, device)
        offset = torch.empty(field.frames, rows, columns, 2, device=device)
        error = torch.empty_like(exact[..., 0])
        # A frame at a time: the finest grids of a long clip are large.
        for t, frame in enumerate(frames):
            offset[t] = (texels(nodes, frame) - _apply_affine(affine[t], nodes)).view(rows, columns, 2)
            between = _between_nodes(offset[t][None], probes[None, None], source_size)[0, :, 0].T
            error[t] = (_apply_affine(affine[t], probes) + between - exact[t]).norm(dim=-1)
        if not shown.any() or error[shown].quantile(0.99) < UV_TOLERANCE_TEXELS:
            break
    return affine, offset


def _fit_affine(xy: Float[Tensor, "k 2"], uv: Float[Tensor, "t k 2"]) -> Float[Tensor, "t 2 3"]:
    ones = torch.cat([xy, torch.ones_like(xy[:, :1])], 1).double()
    normal = ones.T @ ones
    return torch.linalg.solve(normal, ones.T @ uv.double()).transpose(1, 2).float()


def _apply_affine(affine: Float[Tensor, "2 3"], xy: Float[Tensor, "k 2"]) -> Float[Tensor, "k 2"]:
    return xy @ affine[:, :2].T + affine[:, 2]


def _bake_lighting(field: LayeredField, index: int, device: torch.device) -> Float[Tensor, "t lh lw 3"]:
    """Lighting on a grid of half the finest lattice cell's spacing."""
    layer = field.layer(index)
    columns, rows = (2 * cells + 1 for cells in layer.log_lighting.layout.resolutions[-1][:2])
    nodes = _nodes(layer.canvas, columns, rows, device)[None]
    frames = torch.arange(field.frames, device=device)
    return torch.cat([layer.lighting(nodes, frame[None]).view(1, rows, columns, 3) for frame in frames])


def _nodes(extent: Size, columns: int, rows: int, device: torch.device) -> Float[Tensor, "k 2"]:
    """Positions of a grid's nodes, row by row; the outermost lie on the extent's corners."""
    x = torch.linspace(0, extent[0], columns, device=device)
    y = torch.linspace(0, extent[1], rows, device=device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2)


def _at_pixels(
    image: Float[Tensor, "n c _ _"], positions: Float[Tensor, "n h w 2"], size: Size
) -> Float[Tensor, "n c h w"]:
    """An image of `size`, bilinear between pixel centres; beyond it its border continues."""
    grid = 2 * rescale_positions(positions, size, (1, 1)) - 1
    return functional.grid_sample(image, grid, align_corners=False, padding_mode="border")


def _between_nodes(
    values: Float[Tensor, "n rows columns c"], positions: Float[Tensor, "n h w 2"], extent: Size
) -> Float[Tensor, "n c h w"]:
    """Values of such nodes, bilinear between them; beyond the extent its border continues."""
    grid = 2 * rescale_positions(positions, extent, (1, 1)) - 1
    return functional.grid_sample(values.permute(0, 3, 1, 2), grid, align_corners=True, padding_mode="border")


def _solve_textures(
    maps: list[_Maps],
    explain: "Callable[[bool], Iterator[_Explained]]",
    frames: int,
    progress: Callable[[float], None],
) -> list[float]:
    """Least squares in the texels: T ← T + splat(α R w e) / (splat(α² R² w) + prior), e the residual of the frame.

    Bilinear splatting is the adjoint of the look-up, and the divisor the diagonal of the normal matrix (Jacobi's
    preconditioner), so each round lowers the residual. w = 1 / (1 + (e / outlier level)²)² is the Geman–McClure
    weight. `explain` goes through the frames once, and places them on the texture first if told so. Returns each
    frame's PSNR in dB after the last round.
    """
    for done in range(SOLVE_ROUNDS):
        sums = [torch.zeros(layer.texture[0].numel(), 5, device=layer.texture.device) for layer in maps]
        for t, frame in enumerate(explain(done in PLACED_IN_ROUNDS)):
            progress((done + t / frames) / (SOLVE_ROUNDS + 1))
            trust = 1 / (1 + (frame.error.abs().amax(0) / OUTLIER_LEVEL).square()).square()
            if done == 0:
                # What a texel shows most of the time must be found before anything can be called an outlier of it.
                trust = torch.ones_like(trust)
            for layer, uv, alpha, light, total in zip(maps, frame.uv, frame.alpha, frame.light, sums, strict=True):
                # One divisor for three channels: the largest light of the three keeps the step a descent.
                strength = alpha * trust * layer.evenness(t, uv) * light
                # A few percent of alpha, frame after frame, must not pass for having been seen.
                seen = (2 * alpha - 0.5).clamp(0, 1)
                values = torch.cat([strength * frame.error, (strength * alpha * light).amax(0)[None], seen[None]])
                splat(values.flatten(1), uv.view(-1, 2), layer.canvas, total)
        for layer, total in zip(maps, sums, strict=True):
            step = total[:, :3] / (total[:, 3:4] + PRIOR_WEIGHT / layer.texels_per_pixel**2)
            layer.texture = (layer.texture + step.T.view_as(layer.texture)).clamp(0, 1)
            layer.seen = layer.texels_per_pixel**2 * total[:, 4].view_as(layer.seen)
    squared = torch.stack([frame.error.square().mean() for frame in explain(False)])
    return (-10 * squared.clamp(min=1e-10).log10()).tolist()


@dataclass(frozen=True)
class _Explained:
    """A source frame as the maps explain it; error = source − Σ α R T. Leading axis: layer."""

    uv: list[Float[Tensor, "h w 2"]]
    alpha: Float[Tensor, "layers h w"]
    light: list[Float[Tensor, "3 h w"]]
    error: Float[Tensor, "3 h w"]


def _explain(
    maps: list[_Maps], own_alpha: OwnAlpha, source_frames: SourceFrames, clip: Clip, place: bool
) -> Iterator[_Explained]:
    """Frame by frame. With `place`, each frame is placed on the textures first (see `registration`)."""
    size, device = clip.source.size, own_alpha.device
    xy = torch.from_numpy(pixel_centres(size)).to(device)
    for t, image in enumerate(source_frames()):
        colour = torch.from_numpy(image).to(device).permute(2, 0, 1).float() / np.iinfo(image.dtype).max
        alpha = _frame_alphas(own_alpha[:, t], size)
        explained = _explain_frame(maps, t, xy, alpha, colour)
        if place:
            shifts = layer_shifts(colour, colour - explained.error, alpha, clip.size)
            for layer, shift in zip(maps, shifts, strict=True):
                layer.shift(t, shift, size)
            explained = _explain_frame(maps, t, xy, alpha, colour)
        yield explained


def _explain_frame(
    maps: list[_Maps],
    t: int,
    xy: Float[Tensor, "h w 2"],
    alpha: Float[Tensor, "layers h w"],
    colour: Float[Tensor, "3 h w"],
) -> _Explained:
    size = xy.shape[1], xy.shape[0]
    uv = [layer.uv(t, xy, size) for layer in maps]
    light = [layer.light(t, position) for layer, position in zip(maps, uv, strict=True)]
    shown = [layer.look_up(position) for layer, position in zip(maps, uv, strict=True)]
    error = colour
    for layer_alpha, layer_light, layer_colour in zip(alpha, light, shown, strict=True):
        error = error - layer_alpha * layer_light * layer_colour
    return _Explained(uv, alpha, light, error)


def _frame_alphas(own: UInt8[Tensor, "objects h w"], size: Size) -> Float[Tensor, "layers H W"]:
    """All layers' shares of a frame at source size."""
    if not len(own):
        return torch.ones(1, size[1], size[0], device=own.device)
    large = functional.interpolate(own[None] / 255, (size[1], size[0]), mode="bilinear", align_corners=False)[0]
    return composite_alpha(large)


def _normalise_lighting(maps: list[_Maps], own_alpha: OwnAlpha, size: Size) -> None:
    """Settle the free scale between texture and lighting: each texel's mean light over the frames that see it is 1.

    Outside of what a frame's camera saw nothing was learned: there, light is that of the times before and after.
    """
    device = own_alpha.device
    xy = torch.from_numpy(pixel_centres(size)[::LIGHT_STRIDE, ::LIGHT_STRIDE]).to(device)
    in_view: list[list[Bool[Tensor, " nodes"]]] = [[] for _ in maps]
    sums = [torch.zeros(6, layer.lighting[0, ..., 0].numel(), device=device) for layer in maps]
    for t in range(len(maps[0].lighting)):
        alpha = _frame_alphas(own_alpha[:, t], size)
        for layer, total, visible, views in zip(maps, sums, alpha, in_view, strict=True):
            rows, columns = layer.lighting.shape[1:3]
            on_nodes = rescale_positions(layer.uv(t, xy, size), layer.canvas, (columns - 1, rows - 1)) + 0.5
            weights = torch.zeros(total.shape[1], 2, device=device)
            shown = torch.stack([visible, torch.ones_like(visible)])[:, ::LIGHT_STRIDE, ::LIGHT_STRIDE]
            splat(shown.reshape(2, -1), on_nodes.reshape(-1, 2), (columns, rows), weights)
            # Where the frame shows the layer small, pixels lie farther apart than nodes: spread them.
            weights = functional.avg_pool2d(weights.T.reshape(1, 2, rows, columns), 5, 1, 2).view(2, -1)
            weight = weights[:1]
            views.append(weights[1] > 0)
            light = layer.lighting[t].view(-1, 3).T
            total += torch.cat([light * (weight + UNSEEN_WEIGHT), (weight + UNSEEN_WEIGHT).expand(3, -1)])
    for layer, total, views in zip(maps, sums, in_view, strict=True):
        mean = (total[:3] / total[3:]).view(3, *layer.lighting.shape[1:3])
        layer.lighting = layer.lighting / mean.permute(1, 2, 0)
        known = torch.stack(views).view(layer.lighting.shape[:3])
        filled = fill_in_time(layer.lighting.cpu().numpy(), known.cpu().numpy())
        layer.lighting = torch.from_numpy(filled).to(device)
        width, height = layer.canvas
        on_texels = functional.interpolate(mean[None], (height, width), mode="bilinear", align_corners=True)[0]
        layer.texture = (layer.texture * on_texels).clamp(0, 1)


def _finish(maps: _Maps, name: str, alpha: UInt8[Tensor, "t h w"] | None) -> BakedLayer:
    """Fill what was never seen, and hand over to the CPU."""
    sureness = 1 - torch.exp(-2 * maps.seen)
    # Where the layer is seen small, texels between the pixels get nothing; they lie in what was seen all the same.
    around = functional.avg_pool2d(maps.seen[None], SEEN_TEXELS, 1, SEEN_TEXELS // 2)[0]
    opacity = 1 - torch.exp(-2 * around)
    texture = torch.cat([_fill_unseen(maps.texture, sureness), opacity[None]]).permute(1, 2, 0)
    return BakedLayer(
        name=name,
        kind="background" if alpha is None else "object",
        texture=texture.contiguous().cpu().numpy(),
        alpha=None if alpha is None else alpha.cpu().numpy(),
        uv_affine=maps.affine.double().cpu().numpy(),
        uv_offset=maps.offset.cpu().numpy(),
        lighting=maps.lighting.half().cpu().numpy(),
    )


def _fill_unseen(colour: Float[Tensor, "3 h w"], sureness: Float[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Continue seen colours smoothly into what no frame saw (pull–push: Gortler et al. 1996, "The Lumigraph")."""
    if min(sureness.shape) < 2:
        return colour
    pulled = functional.avg_pool2d(torch.cat([colour * sureness, sureness[None]])[None], 2, ceil_mode=True)[0]
    weight = pulled[3]
    coarse = _fill_unseen(pulled[:3] / weight.clamp(min=1e-6), (4 * weight).clamp(max=1))
    pushed = functional.interpolate(coarse[None], sureness.shape, mode="bilinear", align_corners=False)[0]
    return colour * sureness + pushed * (1 - sureness)
