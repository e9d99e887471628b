"""Textures solved against the source frames: with uv, alpha and lighting fixed, colour is linear in the texels.

Least squares: T ← T + splat(α R w e) / (splat(α² R² w) + prior), e the residual of the frame. Bilinear splatting is the
adjoint of the look-up, and the divisor the diagonal of the normal matrix (Jacobi's preconditioner), so each step lowers
the residual. w = 1 / (1 + (e / outlier level)²)² is the Geman–McClure weight.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from layerloom.bake.explain import Explained
from layerloom.bake.maps import LayerMaps
from layerloom.ops.dispatch import splat

OUTLIER_LEVEL = 0.3
"""A residual this large (of full scale) counts a quarter in the texture: passers-by should not be burnt in."""
PRIOR_WEIGHT = 0.1
"""How many fully covered pixels the colour that a texel had before counts for."""


def trust(residual: Float[Tensor, "3 h w"]) -> Float[Tensor, "h w"]:
    """w: how far a pixel is what the layers show, 0 to 1."""
    return 1 / (1 + (residual.abs().amax(0) / OUTLIER_LEVEL).square()).square()


class TextureStep:
    """One step for all layers: frames are added, then it is taken."""

    def __init__(self, maps: list[LayerMaps]) -> None:
        self._maps = maps
        self._sums = [torch.zeros(layer.texture[0].numel(), 5, device=layer.texture.device) for layer in maps]

    def add(self, frame: Explained, weight: Float[Tensor, "h w"]) -> None:
        """What a frame says of the texels; `weight` is its pixels' trust."""
        for layer, uv, alpha, light, total in zip(
            self._maps, frame.uv, frame.alpha, frame.light, self._sums, strict=True
        ):
            # One divisor for three channels: the largest light of the three keeps the step a descent.
            strength = alpha * weight * layer.evenness(frame.t, uv) * light
            # A few percent of alpha, frame after frame, must not pass for having been seen.
            seen = (2 * alpha - 0.5).clamp(0, 1)
            values = torch.cat([strength * frame.residual, (strength * alpha * light).amax(0)[None], seen[None]])
            splat(values.flatten(1), uv.view(-1, 2), layer.canvas, total)

    def take(self) -> None:
        """Change the textures, and note how often each texel was seen."""
        for layer, total in zip(self._maps, self._sums, strict=True):
            step = total[:, :3] / (total[:, 3:4] + PRIOR_WEIGHT / layer.texels_per_pixel**2)
            layer.texture = (layer.texture + step.T.view_as(layer.texture)).clamp(0, 1)
            layer.seen = layer.texels_per_pixel**2 * total[:, 4].view_as(layer.seen)
