"""Flow made exact: what a network finds at an eighth of the frame's size is led to a small part of a pixel.

A network's flow is off by 0.1 to 0.5 px, and by the same in frame after frame: along a track that adds up. Here each
pixel's neighbourhood is matched against the frames themselves (Lucas and Kanade 1981), some rounds of it. What the two
neighbourhoods differ in by a brightness and a contrast of their own does not count, so light may move over a surface;
where there is nothing to hold on to, the flow stays what it was.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor

from layerloom.ops.dispatch import neighbourhood_mean
from layerloom.prepare.flow.on_device import look_along

ROUNDS = 4
NOISE = 2.0 / 255
"""Of the frames' grey: neighbourhoods with less slope than that of noise keep their flow."""
LARGEST_STEP_PIXELS = 0.5

Grey = Float32[Tensor, "n 1 height width"]
FlowImage = Float[Tensor, "n 2 height width"]


def refine_flow(first: Grey, second: Grey, flow: FlowImage) -> Float32[Tensor, "n 2 height width"]:
    """Flow from `first` to `second` (grey in [0, 1]), in pixels; correct to about a pixel when it comes in."""
    first = first - neighbourhood_mean(first)
    slope_x, slope_y = _slopes(first)
    xx, xy, yy = _means(slope_x * slope_x, slope_x * slope_y, slope_y * slope_y)
    xx, yy = xx + NOISE**2, yy + NOISE**2
    determinant = xx * yy - xy * xy
    flow = flow.float()
    for _ in range(ROUNDS):
        there = look_along(second, flow)
        there = there - neighbourhood_mean(there)
        # The contrast that makes them most alike.
        together, alone = _means(there * first, there * there)
        gain = ((together + NOISE**2) / (alone + NOISE**2)).clamp(0.5, 2)
        error = gain * there - first
        along_x, along_y = _means(slope_x * error, slope_y * error)
        step = torch.cat([xy * along_y - yy * along_x, xy * along_x - xx * along_y], 1) / determinant
        flow = flow + step.clamp(-LARGEST_STEP_PIXELS, LARGEST_STEP_PIXELS)
    return flow


def _slopes(image: Grey) -> tuple[Grey, Grey]:
    """Central differences along x and y."""
    wide, tall = F.pad(image, (1, 1, 0, 0), mode="replicate"), F.pad(image, (0, 0, 1, 1), mode="replicate")
    return (wide[..., 2:] - wide[..., :-2]) / 2, (tall[..., 2:, :] - tall[..., :-2, :]) / 2


def _means(*images: Grey) -> tuple[Grey, ...]:
    """Over the neighbourhood; all at once, as a GPU takes as long to be told of one."""
    return neighbourhood_mean(torch.cat(images, 1)).split(1, 1)
