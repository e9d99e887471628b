"""What a layer's maps are while it is baked: uv, light and texture on the device, looked up at a frame's pixels."""

from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from jaxtyping import Float, UInt8
from torch import Tensor

from layerloom.core.geometry import Size, rescale_positions
from layerloom.model.field import composite_alpha

OwnAlpha = UInt8[Tensor, "objects t h w"]
"""Own coverages at training size, of 255: in floats a clip's would take as much memory as all it was learned from."""


@dataclass
class LayerMaps:
    """One layer on the device. Texels are those of the baked canvas, which is finer than the learned one.

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
        offset = between_nodes(self.offset[frame][None], xy[None], size)[0]
        by_x, by_y, shift = self.affine[frame].unbind(1)  # a product of matrices so thin takes a GPU longer
        return xy[..., :1] * by_x + xy[..., 1:] * by_y + shift + offset.permute(1, 2, 0)

    def light(self, frame: int, uv: Float[Tensor, "h w 2"]) -> Float[Tensor, "3 h w"]:
        return between_nodes(self.lighting[frame][None], uv[None], self.canvas)[0]

    def shift(self, frame: int, shift: Float[Tensor, "h w 2"], size: Size) -> None:
        """Let each pixel look where the one at its position less `shift` has looked."""
        rows, columns = self.offset.shape[1:3]
        nodes = grid_nodes(size, columns, rows, shift.device).view(1, rows, columns, 2)
        at_nodes = at_pixels(shift.permute(2, 0, 1)[None], nodes, size)[0].permute(1, 2, 0)
        offset = between_nodes(self.offset[frame][None], nodes - at_nodes, size)[0].permute(1, 2, 0)
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
        return at_pixels(self.texture[None], uv[None], self.canvas)[0]


def grid_nodes(extent: Size, columns: int, rows: int, device: torch.device) -> Float[Tensor, "k 2"]:
    """Positions of a grid's nodes, row by row; the outermost lie on the extent's corners."""
    x = torch.linspace(0, extent[0], columns, device=device)
    y = torch.linspace(0, extent[1], rows, device=device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2)


def at_pixels(
    image: Float[Tensor, "n c _ _"], positions: Float[Tensor, "n h w 2"], size: Size
) -> Float[Tensor, "n c h w"]:
    """An image of `size`, bilinear between pixel centres; beyond it its border continues."""
    grid = 2 * rescale_positions(positions, size, (1, 1)) - 1
    return functional.grid_sample(image, grid, align_corners=False, padding_mode="border")


def between_nodes(
    values: Float[Tensor, "n rows columns c"], positions: Float[Tensor, "n h w 2"], extent: Size
) -> Float[Tensor, "n c h w"]:
    """Values of such nodes, bilinear between them; beyond the extent its border continues."""
    grid = 2 * rescale_positions(positions, extent, (1, 1)) - 1
    return functional.grid_sample(values.permute(0, 3, 1, 2), grid, align_corners=True, padding_mode="border")


def frame_alphas(own: UInt8[Tensor, "objects h w"], size: Size) -> Float[Tensor, "layers H W"]:
    """All layers' shares of a frame at source size."""
    if not len(own):
        return torch.ones(1, size[1], size[0], device=own.device)
    large = functional.interpolate(own[None] / 255, (size[1], size[0]), mode="bilinear", align_corners=False)[0]
    return composite_alpha(large)
