"""Textures solved against the source frames: with uv, alpha and lighting fixed, colour is linear in the texels."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from layerloom.bake.maps import LayerMaps, OwnAlpha, frame_alphas
from layerloom.bake.registration import layer_shifts
from layerloom.core.geometry import pixel_centres
from layerloom.data.clip import Clip
from layerloom.ops.dispatch import splat

SOLVE_ROUNDS = 4
PLACED_IN_ROUNDS = (1, 2)
"""Then frames are first placed on the texture as the round before left it. It is solved once more after that."""
OUTLIER_LEVEL = 0.3
"""A residual this large (of full scale) counts a quarter in the texture: passers-by should not be burnt in."""
PRIOR_WEIGHT = 0.1
"""How many fully covered pixels the network's own colour counts for."""

SourceFrames = Callable[[], Iterator[np.ndarray]]


def solve_textures(
    maps: list[LayerMaps],
    explain: "Callable[[bool], Iterator[Explained]]",
    frames: int,
    progress: Callable[[float], None],
) -> list[float]:
    """Least squares in the texels: T ← T + splat(α R w e) / (splat(α² R² w) + prior), e the residual of the frame.

    Bilinear splatting is the adjoint of the look-up, and the divisor the diagonal of the normal matrix (Jacobi's
    preconditioner), so each round lowers the residual. w = 1 / (1 + (e / outlier level)²)² is the Geman–McClure
    weight. `explain` goes through the frames once, and places them on the texture first if told so. Returns each
    frame's PSNR in dB after the last round.
    """
    for done in range(SOLVE_ROUNDS):
        sums = [torch.zeros(layer.texture[0].numel(), 5, device=layer.texture.device) for layer in maps]
        for t, frame in enumerate(explain(done in PLACED_IN_ROUNDS)):
            progress((done + t / frames) / (SOLVE_ROUNDS + 1))
            trust = 1 / (1 + (frame.error.abs().amax(0) / OUTLIER_LEVEL).square()).square()
            if done == 0:
                # What a texel shows most of the time must be found before anything can be called an outlier of it.
                trust = torch.ones_like(trust)
            for layer, uv, alpha, light, total in zip(maps, frame.uv, frame.alpha, frame.light, sums, strict=True):
                # One divisor for three channels: the largest light of the three keeps the step a descent.
                strength = alpha * trust * layer.evenness(t, uv) * light
                # A few percent of alpha, frame after frame, must not pass for having been seen.
                seen = (2 * alpha - 0.5).clamp(0, 1)
                values = torch.cat([strength * frame.error, (strength * alpha * light).amax(0)[None], seen[None]])
                splat(values.flatten(1), uv.view(-1, 2), layer.canvas, total)
        for layer, total in zip(maps, sums, strict=True):
            step = total[:, :3] / (total[:, 3:4] + PRIOR_WEIGHT / layer.texels_per_pixel**2)
            layer.texture = (layer.texture + step.T.view_as(layer.texture)).clamp(0, 1)
            layer.seen = layer.texels_per_pixel**2 * total[:, 4].view_as(layer.seen)
    squared = torch.stack([frame.error.square().mean() for frame in explain(False)])
    return (-10 * squared.clamp(min=1e-10).log10()).tolist()


@dataclass(frozen=True)
class Explained:
    """A source frame as the maps explain it; error = source − Σ α R T. Leading axis: layer."""

    uv: list[Float[Tensor, "h w 2"]]
    alpha: Float[Tensor, "layers h w"]
    light: list[Float[Tensor, "3 h w"]]
    error: Float[Tensor, "3 h w"]


def explain(
    maps: list[LayerMaps], own_alpha: OwnAlpha, source_frames: SourceFrames, clip: Clip, place: bool
) -> Iterator[Explained]:
    """Frame by frame. With `place`, each frame is placed on the textures first (see `registration`)."""
    size, device = clip.source.size, own_alpha.device
    xy = torch.from_numpy(pixel_centres(size)).to(device)
    for t, image in enumerate(source_frames()):
        colour = torch.from_numpy(image).to(device).permute(2, 0, 1).float() / np.iinfo(image.dtype).max
        alpha = frame_alphas(own_alpha[:, t], size)
        explained = _explain_frame(maps, t, xy, alpha, colour)
        if place:
            shifts = layer_shifts(colour, colour - explained.error, alpha, clip.size)
            for layer, shift in zip(maps, shifts, strict=True):
                layer.shift(t, shift, size)
            explained = _explain_frame(maps, t, xy, alpha, colour)
        yield explained


def _explain_frame(
    maps: list[LayerMaps],
    t: int,
    xy: Float[Tensor, "h w 2"],
    alpha: Float[Tensor, "layers h w"],
    colour: Float[Tensor, "3 h w"],
) -> Explained:
    size = xy.shape[1], xy.shape[0]
    uv = [layer.uv(t, xy, size) for layer in maps]
    light = [layer.light(t, position) for layer, position in zip(maps, uv, strict=True)]
    shown = [layer.look_up(position) for layer, position in zip(maps, uv, strict=True)]
    error = colour
    for layer_alpha, layer_light, layer_colour in zip(alpha, light, shown, strict=True):
        error = error - layer_alpha * layer_light * layer_colour
    return Explained(uv, alpha, light, error)
