"""Many flow fields at once, as tensors where they are: read where they point, and their agreement."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

Image = Float32[Tensor, "n _ height width"]
FlowImage = Float[Tensor, "n 2 height width"]


def look_along(images: Image, flow: FlowImage, mode: str = "bilinear") -> Image:
    """The images where the flow points; beyond them, their border."""
    height, width = images.shape[2:]
    x, y = (pixel_indices(width, height, flow.device) + flow).unbind(1)
    unit = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], -1)
    return F.grid_sample(images, unit, mode=mode, padding_mode="border", align_corners=True)


def pixel_indices(width: int, height: int, device: torch.device) -> Float32[Tensor, "2 height width"]:
    """(column, row) of every pixel."""
    x, y = torch.arange(width, device=device), torch.arange(height, device=device)
    return torch.stack(torch.meshgrid(x, y, indexing="xy")).float()


def agreement_on_device(flow: FlowImage, opposite: FlowImage) -> UInt8[Tensor, "n height width"]:
    """What `consistency.agreement` computes, of many finite fields at once, where they are."""
    height, width = flow.shape[2:]
    target = pixel_indices(width, height, flow.device) + flow
    # What leaves the frame (by up to half a pixel, it does not) reads the border.
    miss = flow + look_along(opposite, flow)
    sigma = 1.0 + 0.01 * flow.square().sum(1).sqrt()
    confidence = torch.exp(-miss.square().sum(1) / sigma.square())
    x, y = target.unbind(1)
    inside = (x >= -0.5) & (x <= width - 0.5) & (y >= -0.5) & (y <= height - 0.5)
    return (255 * confidence * inside).round().to(torch.uint8)
