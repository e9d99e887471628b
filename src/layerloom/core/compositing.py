"""Front-to-back compositing: what each of some layers that lie over one another has of a pixel.

With own coverages a₀, a₁, … before occlusion, front to back, layer l has the share a_l (1 − a₀) … (1 − a_{l−1})
(Porter and Duff, "Compositing Digital Images", SIGGRAPH 1984: the operator "over").
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float32

Plane = Float32[np.ndarray, "h w"]


def composite(own: Sequence[Plane]) -> Float32[np.ndarray, "layers h w"]:
    """Own coverages front to back to shares of the pixel; the last layer takes what the others leave."""
    shares = np.empty((len(own), *own[0].shape), np.float32)
    left = np.ones_like(own[0])
    for layer, coverage in enumerate(own[:-1]):
        np.multiply(coverage, left, out=shares[layer])
        left = left - shares[layer]
    shares[-1] = left
    return shares


def transmittance(own: Iterable[Plane], shape: tuple[int, ...]) -> Plane:
    """What layers leave of each pixel for those behind them; all of it where there are none."""
    left = np.ones(shape, np.float32)
    for coverage in own:
        left = left * (1 - coverage)
    return left
