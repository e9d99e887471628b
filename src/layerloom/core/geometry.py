"""Axes, pixel centres and units.

Arrays are ordered t h w c; x points right, y down. The centre of pixel (i, j) of a row-major image lies at
x = j + 0.5, y = i + 0.5, so an image of width w spans [0, w]; at size (1, 1) both axes span [0, 1]. Flow is in pixels
of its own resolution: x first, then y.

Every function takes NumPy arrays or PyTorch tensors alike and returns the kind it was given. PyTorch is imported
only where there is a tensor, so that what edits and renders starts without it.
"""

from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    import torch

ArrayOrTensor = TypeVar("ArrayOrTensor", np.ndarray, "torch.Tensor")

Size = tuple[int, int]
"""(width, height) in pixels or texels."""


def pixel_centres(size: Size) -> Float[np.ndarray, "h w 2"]:
    """Positions (x, y) in pixels of all pixel centres of an image of `size` = (width, height)."""
    width, height = size
    grid = np.empty((height, width, 2), np.float32)
    grid[..., 0] = np.arange(width, dtype=np.float32) + 0.5
    grid[..., 1] = np.arange(height, dtype=np.float32)[:, None] + 0.5
    return grid


def long_edge(size: Size) -> int:
    """The longer side."""
    return max(size)


def frame_to_unit_time(frame: ArrayOrTensor, frames: int) -> ArrayOrTensor:
    """Frame numbers (a frame's middle is at +0.5) to unit time in (0, 1)."""
    return (frame + 0.5) / float(frames)


def rescale_positions(xy_pixels: ArrayOrTensor, from_size: Size, to_size: Size) -> ArrayOrTensor:
    """Positions or displacements (…, 2) in pixels of an image of `from_size`, in pixels of the same image at `to_size`.

    Width scales x and height scales y. The same holds for flow vectors: resize the field, then call this on its values.
    """
    scale = (to_size[0] / from_size[0], to_size[1] / from_size[1])
    if isinstance(xy_pixels, np.ndarray):
        return xy_pixels * np.asarray(scale, xy_pixels.dtype)
    return xy_pixels * (
        scale[0] if scale[0] == scale[1] else _pair_on_device(*scale, xy_pixels.dtype, xy_pixels.device)
    )


def fit_long_edge(size: Size, limit: int) -> Size:
    """The largest even size of the same shape whose longer side is at most `limit` (never enlarged)."""
    if long_edge(size) <= limit:
        return size
    scale = limit / long_edge(size)
    width, height = (max(2, round(side * scale / 2) * 2) for side in size)
    return width, height


def uv_to_st(uv_texels: ArrayOrTensor, canvas: Size) -> ArrayOrTensor:
    """Texel positions (…, 2), texel i's centre at i + 0.5, to Nuke's STMap in [0, 1]: s rightwards, t bottom to top."""
    st = rescale_positions(uv_texels, canvas, (1, 1))
    return _pair(st[..., 0], 1.0 - st[..., 1])


def transform_points(matrix: ArrayOrTensor, xy: ArrayOrTensor) -> ArrayOrTensor:
    """Apply homographies (…, 3, 3) to points (…, 2); leading axes broadcast."""
    x, y = xy[..., 0], xy[..., 1]
    w = matrix[..., 2, 0] * x + matrix[..., 2, 1] * y + matrix[..., 2, 2]
    out_x = (matrix[..., 0, 0] * x + matrix[..., 0, 1] * y + matrix[..., 0, 2]) / w
    out_y = (matrix[..., 1, 0] * x + matrix[..., 1, 1] * y + matrix[..., 1, 2]) / w
    return _pair(out_x, out_y)


@lru_cache(maxsize=256)
def _pair_on_device(x: float, y: float, dtype: "torch.dtype", device: "torch.device") -> "torch.Tensor":
    """Kept, since making one is a copy to the device: that takes time, and a CUDA graph forbids it."""
    import torch

    with torch.inference_mode(False):
        return torch.tensor([x, y], dtype=dtype, device=device)


def _pair(x: ArrayOrTensor, y: ArrayOrTensor) -> ArrayOrTensor:
    """(…) and (…) to (…, 2)."""
    if isinstance(x, np.ndarray):
        return np.stack([x, y], -1)
    import torch

    assert isinstance(x, torch.Tensor) and isinstance(y, torch.Tensor)
    return torch.stack([x, y], -1)
