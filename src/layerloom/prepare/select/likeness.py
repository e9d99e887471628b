"""What an object looks like in frames where its mask is known, and how likely other pixels are its own by that."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float32
from torch import Tensor
from torch.nn import Linear, ReLU, Sequential
from torch.nn.functional import binary_cross_entropy_with_logits

from layerloom.prepare.masks.outlines import signed_distance

EXAMPLES = 12_000
"""Drawn from each frame, half of them the object's."""
HIDDEN = 32
STEPS = 250
BATCH = 2048
NOISE = 0.1
"""Standard deviation that is added to examples, in those of the features: one frame's are not all there are."""
SOFTNESS = 0.02
"""Labels are this far from 0 and 1."""
RIM_PIXELS, RIM_WEIGHT = 1.0, 0.1
"""Pixels this near to the outline are mixtures, and count less."""
FAR_WEIGHT = 0.15
"""How much background far from the object counts against that beside it."""
FAR_PIXELS = 200.0
LARGEST_LOGIT = 5.0

Features = Float32[np.ndarray, "h w features"]


class Examples(NamedTuple):
    """Pixels of one frame, drawn by how much they can teach."""

    features: Float32[np.ndarray, "n features"]
    labels: Float32[np.ndarray, " n"]


def draw_examples(features: Features, mask: Bool[np.ndarray, "h w"], seed: int) -> Examples:
    """Object and background alike, whatever is there of them; of the background more beside the object."""
    distance = signed_distance(mask, FAR_PIXELS)
    reach = 0.5 * float(np.sqrt(max(int(mask.sum()), 1)))
    weights = np.where(mask, 1.0, FAR_WEIGHT + np.exp(np.minimum(distance, 0) / reach))
    weights = np.where(np.abs(distance) < RIM_PIXELS, RIM_WEIGHT, weights)
    generator = np.random.default_rng(seed)
    flat, inside = features.reshape(-1, features.shape[-1]), mask.ravel()
    drawn = [_drawn(weights.ravel() * part, EXAMPLES // 2, generator) for part in (inside, ~inside) if part.any()]
    chosen = np.concatenate(drawn)
    return Examples(flat[chosen], inside[chosen].astype(np.float32))


class Likeness:
    """A small network that tells an object's pixels from others by their features. Deterministic."""

    def __init__(self, examples: list[Examples]) -> None:
        inputs = torch.from_numpy(np.concatenate([each.features for each in examples]))
        labels = torch.from_numpy(np.concatenate([each.labels for each in examples]))
        self._mean, self._deviation = inputs.mean(0), inputs.std(0) + 1e-3
        generator = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            widths = inputs.shape[1], HIDDEN, HIDDEN
            hidden = [layer for pair in pairwise(widths) for layer in (Linear(*pair), ReLU())]
            self._network = Sequential(*hidden, Linear(HIDDEN, 1))
        self._learn((inputs - self._mean) / self._deviation, SOFTNESS + (1 - 2 * SOFTNESS) * labels, generator)

    def _learn(self, inputs: Tensor, targets: Tensor, generator: torch.Generator) -> None:
        optimiser = torch.optim.Adam(self._network.parameters(), weight_decay=1e-4)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=STEPS)
        for _ in range(STEPS):
            batch = torch.randint(len(inputs), (BATCH,), generator=generator)
            noisy = inputs[batch] + NOISE * torch.randn((BATCH, inputs.shape[1]), generator=generator)
            loss = binary_cross_entropy_with_logits(self._network(noisy)[:, 0], targets[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()

    @torch.no_grad()
    def logits(self, features: Features) -> Float32[np.ndarray, "h w"]:
        """Log odds of each pixel being the object's, at most LARGEST_LOGIT either way."""
        flat = torch.from_numpy(np.ascontiguousarray(features).reshape(-1, features.shape[-1]))
        found = self._network((flat - self._mean) / self._deviation)[:, 0].numpy()
        return np.clip(found, -LARGEST_LOGIT, LARGEST_LOGIT).reshape(features.shape[:2])


def _drawn(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Indices drawn by weight, with replacement."""
    cumulated = np.cumsum(weights)
    return np.minimum(np.searchsorted(cumulated, generator.random(count) * cumulated[-1]), len(weights) - 1)
