"""Mean over a neighbourhood in plain PyTorch: what the other kernels are held against."""

import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

NEIGHBOURHOOD_PIXELS = 7
"""Width of the boxes that make a neighbourhood, which falls off to nothing at about twice this width."""


def neighbourhood_mean(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Mean over each pixel's neighbourhood: of two boxes, one after the other, which fall off much like a Gaussian.

    Of a box only what lies inside of the image counts.
    """
    width, reach = NEIGHBOURHOOD_PIXELS, NEIGHBOURHOOD_PIXELS // 2
    for _ in range(2):
        images = functional.avg_pool2d(images, (1, width), 1, (0, reach), count_include_pad=False)
        images = functional.avg_pool2d(images, (width, 1), 1, (reach, 0), count_include_pad=False)
    return images
