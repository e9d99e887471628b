"""Where a frame still lies beside the layers' own picture of it, as a shift of each layer's pixels.

The mapping was learned with a coarser texture than the one that is solved from the source afterwards, and among other
terms. Against that texture a frame can be placed to a small part of a pixel, as a picture is placed on a mosaic:
windows of the two are matched, their brightness and contrast left free, so that neither light nor shade moves anything.
"""

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

from layerloom.core.geometry import Size
from layerloom.ops.dispatch import neighbourhood_mean
from layerloom.prepare.flow.refine import refine_flow

INSIDE_ALPHA = 0.9
"""Only pixels that show little else say how a layer has shifted."""
LITTLE = 0.05
"""Of a window that the layer covers: where it is less, what is known of the shift fades."""


def layer_shifts(
    seen: Float[Tensor, "3 h w"], explained: Float[Tensor, "3 h w"], alpha: Float[Tensor, "layers h w"], size: Size
) -> Float[Tensor, "layers h w 2"]:
    """How far, in pixels of `seen`, each pixel lies from where the layers put what it shows; 0 where that is unknown.

    `seen` shows at p what `explained` shows at p − shift(p). Matching is done at `size`, smaller than the frame's or
    the same: windows and noise are those of training. Slopes are those of `explained`: what it does not know, such as a
    shadow's border, pulls at nothing. Away from a layer its shifts are continued, and fade.
    """
    height, width = seen.shape[1:]
    grey = torch.stack([seen, explained]).mean(1, keepdim=True)
    source, model = _at_size(grey, size).split(1)
    covered = _at_size(alpha[:, None], size)
    flow = refine_flow(model, source, torch.zeros(1, 2, *model.shape[2:], device=model.device))
    inside = (covered > INSIDE_ALPHA).float()
    # A window that reaches over an outline matches the outline.
    inside = inside * (2 * neighbourhood_mean(inside) - 1).clamp(min=0)
    shift = neighbourhood_mean(flow * inside) / neighbourhood_mean(inside).clamp(min=LITTLE)
    shift = functional.interpolate(shift, (height, width), mode="bilinear", align_corners=False)
    return shift.permute(0, 2, 3, 1) * torch.tensor([width / size[0], height / size[1]], device=shift.device)


def _at_size(images: Float[Tensor, "n 1 _ _"], size: Size) -> Float[Tensor, "n 1 _ _"]:
    if (images.shape[3], images.shape[2]) == size:  # an area's mean would go over all pixels, slowly
        return images
    return functional.interpolate(images, (size[1], size[0]), mode="area")
