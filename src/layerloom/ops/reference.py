"""Multiresolution grid encoding and small MLP in plain PyTorch: what every other kernel is held against.

Source: Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", section 3.
Differences: cells may differ in number per axis (time has its own resolution), and a level whose nodes fit in its
share of the table is stored densely, row-major with the first axis fastest.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from math import prod

import torch
import torch.nn.functional as functional
from jaxtyping import Float, Int
from torch import Tensor

HASH_PRIMES = (1, 2654435761, 805459861)
NEIGHBOURHOOD_PIXELS = 7
"""Width of the boxes that make a neighbourhood, which falls off to nothing at about twice this width."""


@dataclass(frozen=True)
class GridLayout:
    """The shape of a multiresolution grid over [0, 1]^d, d = 2 or 3.

    resolutions: cells per axis for each level, coarse to fine, e.g. ((4, 4, 8), (6, 6, 11)).
    max_entries: a level with more nodes than this is hashed into that many entries; a power of two.
    features: features per entry.
    """

    resolutions: tuple[tuple[int, ...], ...]
    max_entries: int
    features: int = 2

    @property
    def dimensions(self) -> int:
        return len(self.resolutions[0])

    @property
    def output_features(self) -> int:
        return len(self.resolutions) * self.features

    @cached_property
    def entries(self) -> tuple[int, ...]:
        """Table entries of each level: nodes + 1 per axis if dense, `max_entries` if hashed."""
        return tuple(min(prod(cells + 1 for cells in level), self.max_entries) for level in self.resolutions)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First table row of each level; one more at the end: the number of rows."""
        rows = [0]
        for count in self.entries:
            rows.append(rows[-1] + count)
        return tuple(rows)

    def is_hashed(self, level: int) -> bool:
        return prod(cells + 1 for cells in self.resolutions[level]) > self.max_entries


def table_index(nodes: Int[Tensor, "n d"], layout: GridLayout, level: int) -> Int[Tensor, " n"]:
    """Row of the table that holds a node (int64 arithmetic; the hash is uint32 XOR, INGP equation 4)."""
    cells = layout.resolutions[level]
    if layout.is_hashed(level):
        index = torch.zeros_like(nodes[:, 0])
        for axis, prime in zip(range(layout.dimensions), HASH_PRIMES, strict=False):
            index = index ^ ((nodes[:, axis] * prime) & 0xFFFFFFFF)
        index = index & (layout.max_entries - 1)
    else:
        index = nodes[:, -1]
        for axis in reversed(range(layout.dimensions - 1)):
            index = index * (cells[axis] + 1) + nodes[:, axis]
    return index + layout.offsets[level]


def hash_encode(
    points: Float[Tensor, "n d"], table: Float[Tensor, "rows features"], layout: GridLayout
) -> Float[Tensor, "n levels_features"]:
    """Multilinear interpolation of each level's nodes at `points`; levels are concatenated, coarse to fine.

    Points outside [0, 1] are clamped to it (no gradient flows to a clamped coordinate). Differentiable in points and
    table. At a cell's border the gradient to the point is that of the cell on the right; at 1, of the last cell.
    """
    outputs: list[Tensor] = []
    clamped = points.clamp(0.0, 1.0)
    for level, cells in enumerate(layout.resolutions):
        counts = torch.tensor(cells, device=points.device)
        position = clamped * counts
        corner = torch.minimum(position.detach().floor().long(), counts - 1)
        fraction = position - corner
        total = torch.zeros(points.shape[0], layout.features, dtype=table.dtype, device=points.device)
        for bits in product((0, 1), repeat=layout.dimensions):
            offset = torch.tensor(bits, device=points.device)
            weight = torch.where(offset.bool(), fraction, 1 - fraction).prod(1)
            total = total + weight[:, None].to(table.dtype) * table[table_index(corner + offset, layout, level)]
        outputs.append(total)
    return torch.cat(outputs, 1)


def mlp(
    x: Float[Tensor, "n inputs"], weights: Sequence[Float[Tensor, "_ _"]], biases: Sequence[Float[Tensor, " _"]] | None
) -> Float[Tensor, "n outputs"]:
    """Fully connected layers with ReLU between them and nothing after the last; `weights` are (outputs, inputs)."""
    for index, weight in enumerate(weights):
        x = torch.relu(x) if index else x
        x = torch.nn.functional.linear(x, weight, None if biases is None else biases[index])
    return x


def splat(
    values: Float[Tensor, "c n"],
    positions: Float[Tensor, "n 2"],
    size: tuple[int, int],
    into: Float[Tensor, "texels c"],
) -> None:
    """Add values to the four texels around each position, in bilinear shares; what falls off the canvas is dropped.

    `size` = (columns, rows) of the canvas, `into` its texels row by row, texel i's centre at i + 0.5. The adjoint of
    the bilinear look-up.
    """
    corner = (positions - 0.5).floor()
    fraction = positions - 0.5 - corner
    rows_of_values = values.T
    for dy, dx in product((0, 1), repeat=2):
        column, row = corner[:, 0] + dx, corner[:, 1] + dy
        inside = (column >= 0) & (column < size[0]) & (row >= 0) & (row < size[1])
        share = (fraction[:, 0] if dx else 1 - fraction[:, 0]) * (fraction[:, 1] if dy else 1 - fraction[:, 1])
        index = (row * size[0] + column).where(inside, 0).long()
        into.index_add_(0, index, rows_of_values * (share * inside)[:, None])


def neighbourhood_mean(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """Mean over each pixel's neighbourhood: of two boxes, one after the other, which fall off much like a Gaussian.

    Of a box only what lies inside of the image counts.
    """
    width, reach = NEIGHBOURHOOD_PIXELS, NEIGHBOURHOOD_PIXELS // 2
    for _ in range(2):
        images = functional.avg_pool2d(images, (1, width), 1, (0, reach), count_include_pad=False)
        images = functional.avg_pool2d(images, (width, 1), 1, (reach, 0), count_include_pad=False)
    return images
