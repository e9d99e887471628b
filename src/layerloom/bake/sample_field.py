"""A trained field to maps: coverage, uv, light and the networks' own texture, sampled on grids."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from layerloom.bake.maps import LayerMaps, OwnAlpha, between_nodes, grid_nodes
from layerloom.core.geometry import Size, long_edge, pixel_centres, rescale_positions
from layerloom.model.field import LayeredField, composite_alpha

UV_TOLERANCE_TEXELS = 0.05
UV_NODE_SPACINGS_PIXELS = (4, 2, 1)
"""Coarser ones would hold what was learned of a smooth mapping, but not how frames are placed on the texture."""
DENSE_GRID_PIXELS = 2**20
"""Larger frames get no uv grid of a node per pixel: two pixels apart, it takes a hundred megabytes as it is."""
PROBES = 2000
MOST_TEXELS_PER_PIXEL = 2.0
FINE_CANVAS_PIXELS = 1920
"""Footage smaller than this is given more texels per pixel: looked up between them, a texture of one texel per pixel
cannot hold what frames half a pixel apart show sharply."""
POINTS_AT_ONCE = 2**18


def sample_alpha(field: LayeredField, device: torch.device) -> OwnAlpha:
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


def sample_maps(field: LayeredField, index: int, source_size: Size, own_alpha: OwnAlpha) -> LayerMaps:
    layer, device = field.layer(index), own_alpha.device
    texels_per_pixel = min(MOST_TEXELS_PER_PIXEL, max(1.0, FINE_CANVAS_PIXELS / long_edge(source_size)))
    scale = texels_per_pixel * long_edge(source_size) / long_edge(field.size)
    canvas = round(layer.canvas[0] * scale), round(layer.canvas[1] * scale)
    affine, offset = _sample_uv(field, index, source_size, canvas, own_alpha)
    lighting = _sample_lighting(field, index, device)
    texels = rescale_positions(torch.from_numpy(pixel_centres(canvas)).to(device), canvas, layer.canvas)
    rows = max(1, POINTS_AT_ONCE // canvas[0])
    colour = torch.cat([layer.texture(part.reshape(1, -1, 2))[0] for part in texels.split(rows)])
    texture = colour.view(canvas[1], canvas[0], 3).permute(2, 0, 1).contiguous()
    return LayerMaps(canvas, texels_per_pixel, affine, offset, lighting, texture, torch.zeros_like(texture[0]))


def _sample_uv(
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
        nodes = grid_nodes(source_size, columns, rows, device)
        offset = torch.empty(field.frames, rows, columns, 2, device=device)
        error = torch.empty_like(exact[..., 0])
        # A frame at a time: the finest grids of a long clip are large.
        for t, frame in enumerate(frames):
            offset[t] = (texels(nodes, frame) - _apply_affine(affine[t], nodes)).view(rows, columns, 2)
            between = between_nodes(offset[t][None], probes[None, None], source_size)[0, :, 0].T
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


def _sample_lighting(field: LayeredField, index: int, device: torch.device) -> Float[Tensor, "t lh lw 3"]:
    """Lighting on a grid of half the finest lattice cell's spacing."""
    layer = field.layer(index)
    columns, rows = (2 * cells + 1 for cells in layer.log_lighting.layout.resolutions[-1][:2])
    nodes = grid_nodes(layer.canvas, columns, rows, device)[None]
    frames = torch.arange(field.frames, device=device)
    return torch.cat([layer.lighting(nodes, frame[None]).view(1, rows, columns, 3) for frame in frames])
