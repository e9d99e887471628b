"""Settling the free scale between texture and light, and what light is where no frame saw the layer."""

import torch
import torch.nn.functional as functional
from jaxtyping import Bool
from torch import Tensor

from layerloom.bake.maps import LayerMaps, OwnAlpha, frame_alphas
from layerloom.core.gaps import fill_in_time
from layerloom.core.geometry import Size, pixel_centres, rescale_positions
from layerloom.ops.dispatch import splat

UNSEEN_WEIGHT = 1e-3
"""Frames that do not see a texel count this much towards its mean light, so that it is defined everywhere."""
LIGHT_STRIDE = 2


def normalise_lighting(maps: list[LayerMaps], own_alpha: OwnAlpha, size: Size) -> None:
    """Settle the free scale between texture and lighting: each texel's mean light over the frames that see it is 1.

    Outside of what a frame's camera saw nothing was learned: there, light is that of the times before and after.
    """
    device = own_alpha.device
    xy = torch.from_numpy(pixel_centres(size)[::LIGHT_STRIDE, ::LIGHT_STRIDE]).to(device)
    in_view: list[list[Bool[Tensor, " nodes"]]] = [[] for _ in maps]
    sums = [torch.zeros(6, layer.lighting[0, ..., 0].numel(), device=device) for layer in maps]
    for t in range(len(maps[0].lighting)):
        alpha = frame_alphas(own_alpha[:, t], size)
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
