"""A source frame as the maps explain it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerloom.bake.maps import LayerMaps, OwnAlpha, frame_alphas
from layerloom.core.geometry import Size, pixel_centres

SourceFrames = Callable[[], Iterator[np.ndarray]]
"""Starts reading a clip's frames anew, at source size."""


@dataclass(frozen=True)
class Explained:
    """Frame t of the source; residual = colour − Σ α R T. Leading axis: layer."""

    t: int
    colour: Float[Tensor, "3 h w"]
    alpha: Float[Tensor, "layers h w"]
    uv: list[Float[Tensor, "h w 2"]]
    texture: list[Float[Tensor, "3 h w"]]
    light: list[Float[Tensor, "3 h w"]]
    residual: Float[Tensor, "3 h w"]


class Explainer:
    """Goes through a clip's source frames, and explains them by the maps as they are by then."""

    def __init__(self, maps: list[LayerMaps], own_alpha: OwnAlpha, source_frames: SourceFrames, size: Size) -> None:
        self.size = size
        self._maps, self._own_alpha, self._source_frames = maps, own_alpha, source_frames
        self._xy = torch.from_numpy(pixel_centres(size)).to(own_alpha.device)

    def frames(self) -> Iterator[Explained]:
        """All frames, one at a time."""
        for t, image in enumerate(self._source_frames()):
            colour = torch.from_numpy(image).to(self._xy.device).permute(2, 0, 1).float() / np.iinfo(image.dtype).max
            yield self._explain(t, colour, frame_alphas(self._own_alpha[:, t], self.size))

    def again(self, frame: Explained) -> Explained:
        """The same frame, after its maps have changed."""
        return self._explain(frame.t, frame.colour, frame.alpha)

    def _explain(self, t: int, colour: Float[Tensor, "3 h w"], alpha: Float[Tensor, "layers h w"]) -> Explained:
        uv = [layer.uv(t, self._xy, self.size) for layer in self._maps]
        light = [layer.light(t, position) for layer, position in zip(self._maps, uv, strict=True)]
        texture = [layer.look_up(position) for layer, position in zip(self._maps, uv, strict=True)]
        residual = colour
        for layer_alpha, layer_light, layer_colour in zip(alpha, light, texture, strict=True):
            residual = residual - layer_alpha * layer_light * layer_colour
        return Explained(t, colour, alpha, uv, texture, light, residual)
