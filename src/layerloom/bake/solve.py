"""Texture, light and the placing of frames, each solved in turn with the others fixed."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from layerloom.bake.explain import Explainer
from layerloom.bake.light_solve import LightSolver
from layerloom.bake.maps import LayerMaps
from layerloom.bake.registration import layer_shifts
from layerloom.bake.texture_solve import TextureStep, trust
from layerloom.core.geometry import Size


class Round(NamedTuple):
    """Once through the frames. Each is first placed on the textures, then lit, if asked for; textures come last."""

    places: bool
    lights: bool


ROUNDS = (Round(False, False), Round(True, True), Round(True, True), Round(False, True), Round(False, False))
"""The first one without, as the networks' own texture is coarse; the last one for the texture under the final light."""


def solve(
    maps: list[LayerMaps], explainer: Explainer, frames: int, training_size: Size, progress: Callable[[float], None]
) -> list[float]:
    """Settle textures, lighting and uv of all layers; return each frame's PSNR in dB by them.

    Frames are placed at `training_size`. `progress` is told the share done.
    """
    for done, (places, lights) in enumerate(ROUNDS):
        step = TextureStep(maps)
        light = LightSolver(maps, explainer.size) if lights else None
        for frame in explainer.frames():
            progress((done + frame.t / frames) / (len(ROUNDS) + 1))
            if places:
                shifts = layer_shifts(frame.colour, frame.colour - frame.residual, frame.alpha, training_size)
                for layer, shift in zip(maps, shifts, strict=True):
                    layer.shift(frame.t, shift, explainer.size)
                frame = explainer.again(frame)
            if light:
                light.solve(frame)
                frame = explainer.again(frame)
            # What a texel shows most of the time must be found before anything can be called an outlier of it.
            step.add(frame, trust(frame.residual) if done else torch.ones_like(frame.residual[0]))
        step.take()
    squared = torch.stack([frame.residual.square().mean() for frame in explainer.frames()])
    return (-10 * squared.clamp(min=1e-10).log10()).tolist()
