"""How likely each pixel is an object's by its appearance alone: a small network that learns a clip's own objects.

It sees colour and its spread around the pixel at several scales, not where or when the pixel is, nor how it moves. So
it finds an object in frames in which it rests, and what only sometimes looks as if it moved (waves) stays unlikely.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor
from torch.nn import Linear, Parameter, ReLU, Sequential
from torch.nn.functional import binary_cross_entropy_with_logits

from layerloom.core.parallel import in_threads

SCALES_PIXELS = (1.5, 4.0, 10.0)
HIDDEN = 32
EXAMPLES = 80_000
BATCH = 4096
STEPS = 250
LARGEST_RATE, WARM_UP, WEIGHT_DECAY = 1e-2, 0.3, 1e-4
BETAS = 0.9, 0.999
FEWEST_OF_OBJECTS = 0.05
"""Share of objects among the examples, at least."""
LARGEST_LOGIT = 6.0

Maps = Float32[np.ndarray, "t h w"]
Features = Float32[np.ndarray, "t h w features"]


def appearance_features(frames: UInt8[np.ndarray, "t h w 3"]) -> Features:
    """Colour (CIELAB, about unit variance) as it is and blurred, and the spread of lightness at each scale."""
    return np.stack(list(in_threads(frame_features, frames)))


def frame_features(frame: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w features"]:
    """Of one frame, as `appearance_features` has them."""
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) / np.array([25, 15, 15], np.float32)
    columns = [lab]
    for scale in SCALES_PIXELS:
        mean = cv2.GaussianBlur(lab, (0, 0), scale)
        variance = cv2.GaussianBlur(lab[..., 0] ** 2, (0, 0), scale) - mean[..., 0] ** 2
        columns += [mean, 2 * np.sqrt(np.maximum(variance, 0))[..., None]]
    return np.concatenate(columns, -1)


def appearance_log_odds(features: Features, objects: Bool[np.ndarray, "t h w"], weights: Maps) -> Maps:
    """Log odds of each pixel being an object's, learned from the pixels of `weights` > 0. Deterministic."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _learned(features, objects, weights)


def _learned(features: Features, objects: Bool[np.ndarray, "t h w"], weights: Maps) -> Maps:
    generator = np.random.default_rng(0)
    flat, labels = features.reshape(-1, features.shape[-1]), objects.ravel()
    share = float(weights[objects].sum(dtype=np.float64) / weights.sum(dtype=np.float64))
    count = round(EXAMPLES * max(share, FEWEST_OF_OBJECTS))
    inside = _drawn(weights.ravel() * labels, count, generator)
    chosen = np.concatenate([inside, _drawn(weights.ravel() * ~labels, EXAMPLES - count, generator)])
    examples, targets = torch.from_numpy(flat[chosen]), torch.from_numpy(labels[chosen].astype(np.float32))
    mean, deviation = examples.mean(0), examples.std(0) + 1e-3
    examples = (examples - mean) / deviation
    network = Sequential(Linear(flat.shape[1], HIDDEN), ReLU(), Linear(HIDDEN, HIDDEN), ReLU(), Linear(HIDDEN, 1))
    adam = _Adam(list(network.parameters()))
    for step in range(STEPS):
        batch = torch.from_numpy(generator.integers(len(chosen), size=BATCH))
        loss = binary_cross_entropy_with_logits(network(examples[batch])[:, 0], 0.98 * targets[batch] + 0.01)
        adam.step(torch.autograd.grad(loss, adam.parameters), LARGEST_RATE * _rate(step / (STEPS - 1)))
    with torch.no_grad():
        parts = [network((part - mean) / deviation)[:, 0] for part in torch.from_numpy(flat).split(50_000)]
    return np.clip(torch.cat(parts).numpy(), -LARGEST_LOGIT, LARGEST_LOGIT).reshape(objects.shape)


def _rate(done: float) -> float:
    """Of learning, as a share of the largest: a cosine up over the first third, and down to nothing."""
    ramp = done / WARM_UP if done < WARM_UP else (1 - done) / (1 - WARM_UP)
    return 0.5 - 0.5 * math.cos(math.pi * ramp)


class _Adam:
    """Adam (Kingma and Ba 2015). PyTorch's own takes two seconds to import what it never uses here."""

    def __init__(self, parameters: list[Parameter]) -> None:
        self.parameters = parameters
        self._moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], rate: float) -> None:
        self._steps += 1
        for parameter, gradient, (mean, square) in zip(self.parameters, gradients, self._moments, strict=True):
            gradient = gradient + WEIGHT_DECAY * parameter
            mean.lerp_(gradient, 1 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1 - BETAS[1])
            unbiased = (square / (1 - BETAS[1] ** self._steps)).sqrt_().add_(1e-8)
            parameter.addcdiv_(mean, unbiased, value=-rate / (1 - BETAS[0] ** self._steps))


def _drawn(weights: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Indices drawn by weight, with replacement."""
    known = np.flatnonzero(weights)
    cumulated = np.cumsum(weights[known], dtype=np.float64)
    return known[np.minimum(np.searchsorted(cumulated, generator.random(count) * cumulated[-1]), len(known) - 1)]
