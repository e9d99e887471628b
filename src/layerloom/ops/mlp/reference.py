"""A small fully connected network in plain PyTorch: what the Triton kernel is held against."""

from collections.abc import Sequence

import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor


def mlp(
    x: Float[Tensor, "n inputs"], weights: Sequence[Float[Tensor, "_ _"]], biases: Sequence[Float[Tensor, " _"]] | None
) -> Float[Tensor, "n outputs"]:
    """Fully connected layers with ReLU between them and nothing after the last; `weights` are (outputs, inputs)."""
    for index, weight in enumerate(weights):
        x = torch.relu(x) if index else x
        x = functional.linear(x, weight, None if biases is None else biases[index])
    return x
