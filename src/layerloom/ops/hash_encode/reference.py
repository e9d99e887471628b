"""Multiresolution grid encoding in plain PyTorch: what the other kernels are held against.

Source: Müller et al. 2022, "Instant Neural Graphics Primitives with a Multiresolution Hash Encoding", section 3.
Differences: cells may differ in number per axis (time has its own resolution), and a level whose nodes fit in its
share of the table is stored densely, row-major with the first axis fastest.
"""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from layerloom.ops.hash_encode.layout import GridLayout, table_index


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
