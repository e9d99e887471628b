"""The grid that holds a layer's light, and smoothing on it."""

import math

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

from layerloom.bake.maps import LayerMaps
from layerloom.core.geometry import Size, long_edge

NODE_PIXELS = 4.0
"""Spacing of the nodes in pixels of a source up to FINE_LIGHT_PIXELS long; larger ones get no more nodes than that."""
FINE_LIGHT_PIXELS = 960
COARSE_SIGMA = 4.0
"""A Gaussian wider than this is taken on a coarser grid."""


def spacing_pixels(source: Size) -> float:
    """Between nodes, where a layer is seen largest."""
    return NODE_PIXELS * max(1.0, long_edge(source) / FINE_LIGHT_PIXELS)


def refine(layer: LayerMaps, source: Size) -> None:
    """Give a layer's light the grid that it is solved on."""
    spacing = layer.texels_per_pixel * spacing_pixels(source)
    columns, rows = (max(2, round(side / spacing) + 1) for side in layer.canvas)
    planes = functional.interpolate(
        layer.lighting.permute(0, 3, 1, 2), (rows, columns), mode="bilinear", align_corners=True
    )
    layer.lighting = planes.permute(0, 2, 3, 1).contiguous()


def blur(planes: Float[Tensor, "n rows columns"], sigma: float) -> Float[Tensor, "n rows columns"]:
    """Gaussian of σ nodes; there is nothing outside of the grid."""
    if sigma > COARSE_SIGMA:
        rows, columns = planes.shape[1:]
        padded = functional.pad(planes, (0, columns % 2, 0, rows % 2))
        half = functional.interpolate(
            blur(functional.avg_pool2d(padded[None], 2)[0], sigma / 2)[None], scale_factor=2, mode="bilinear"
        )
        return half[0, :, :rows, :columns]
    reach = math.ceil(3 * sigma)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=planes.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    across = functional.conv2d(planes[:, None], kernel.view(1, 1, 1, -1), padding=(0, reach))
    return functional.conv2d(across, kernel.view(1, 1, -1, 1), padding=(reach, 0))[:, 0]
