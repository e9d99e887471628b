"""The shape of a multiresolution grid, and which row of its table holds a node."""

from dataclasses import dataclass
from functools import cached_property
from math import prod

import torch
from jaxtyping import Int
from torch import Tensor

HASH_PRIMES = (1, 2654435761, 805459861)


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
