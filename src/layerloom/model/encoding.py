"""Learnable functions over space and time: a grid that is read directly, and a grid read through a small network."""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from layerloom.ops.dispatch import hash_encode, lattice, mlp
from layerloom.ops.hash_encode.layout import GridLayout


def grid_resolutions(
    extents: tuple[float, ...], coarsest: tuple[float, ...], finest: tuple[float, ...], levels: int
) -> tuple[tuple[int, ...], ...]:
    """Cells per axis for `levels` levels whose cell size shrinks geometrically, coarse to fine.

    `extents` are the lengths of the axes, `coarsest` and `finest` the cell sizes, in the same units axis by axis
    (pixels or texels for space, frames for time), so that cells are square in space whatever the picture's shape.
    """
    resolutions: list[tuple[int, ...]] = []
    for level in range(levels):
        share = level / max(levels - 1, 1)
        cells = [c ** (1 - share) * f**share for c, f in zip(coarsest, finest, strict=True)]
        resolutions.append(tuple(max(1, round(e / c)) for e, c in zip(extents, cells, strict=True)))
    return tuple(resolutions)


class Lattice(nn.Module):
    """A smooth vector field: the sum over levels of a multiresolution grid, read without a network.

    Every entry is in the units of the output, so a learning rate is a step in those units. Starts at zero.
    """

    def __init__(self, layout: GridLayout) -> None:
        super().__init__()
        self.layout = layout
        self.table = nn.Parameter(torch.zeros(layout.offsets[-1], layout.features))

    def forward(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n features"]:
        return lattice(points, self.table, self.layout)


class EncodedNetwork(nn.Module):
    """Hash encoding followed by a small ReLU network (Müller et al. 2022). Output is linear.

    On CUDA features and products are bfloat16, sums and parameters float32; on the CPU all is float32.
    """

    def __init__(self, layout: GridLayout, hidden: int, hidden_layers: int, outputs: int) -> None:
        super().__init__()
        self.layout = layout
        self.table = nn.Parameter(torch.empty(layout.offsets[-1], layout.features).uniform_(-1e-2, 1e-2))
        widths = [layout.output_features, *[hidden] * hidden_layers, outputs]
        linear = [nn.Linear(width_in, width_out) for width_in, width_out in pairwise(widths)]
        self.weights = nn.ParameterList(module.weight for module in linear)
        self.biases = nn.ParameterList(module.bias for module in linear)

    def forward(self, points: Float[Tensor, "n d"]) -> Float[Tensor, "n outputs"]:
        precision = torch.bfloat16 if points.is_cuda else torch.float32
        features = hash_encode(points, self.table, self.layout, precision)
        return mlp(features, list(self.weights), list(self.biases)).float()
