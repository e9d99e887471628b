"""Splatting, the adjoint of the bilinear look-up, in plain PyTorch: what the other kernels are held against."""

from itertools import product

from jaxtyping import Float
from torch import Tensor


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
