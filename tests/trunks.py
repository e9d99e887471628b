"""Networks for LPIPS that have learned nothing: their weights are a formula's."""

import math

import numpy as np
import torch

from layerloom.evaluate.lpips import TRUNKS


def formula(shape: tuple[int, ...], seed: float) -> np.ndarray:
    """Numbers in [0, 1) that look random and are the same everywhere."""
    noise = np.sin(12.9898 * np.arange(math.prod(shape)) + seed) * 43758.5453
    return (noise - np.floor(noise)).reshape(shape)


def trunk_state(name: str) -> dict[str, torch.Tensor]:
    """A trunk that has learned nothing, of weights that keep the features' size; and a classifier's entry."""
    state = {"classifier.1.weight": torch.zeros(2, 2)}
    for row in TRUNKS[name]:
        inputs = row.channels_in * row.side**2
        weight = (2 * formula((row.channels, row.channels_in, row.side, row.side), row.number) - 1) * (
            6 / inputs
        ) ** 0.5
        state[f"features.{row.number}.weight"] = torch.from_numpy(weight.astype(np.float32))
        bias = 0.2 * formula((row.channels,), row.number + 0.5) - 0.1
        state[f"features.{row.number}.bias"] = torch.from_numpy(bias.astype(np.float32))
    return state
