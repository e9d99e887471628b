"""A layer's maps, looked up at any point and frame: texels, their places in frames, light, coverage.

Frames count from the project's first. A window is a pair of slices (rows, columns) of a frame of source size.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom import media
from layerloom.core.geometry import Size
from layerloom.data.layer_store import Layer

Window = tuple[slice, slice]
Points = Float32[np.ndarray, "h w 2"]


@dataclass(frozen=True)
class LayerMaps:
    """A stored layer over frames of `size` = (width, height), the source's."""

    layer: Layer
    size: Size

    def uv(self, frame: int, window: Window | None = None) -> Float32[np.ndarray, "h w 2"]:
        """Texel positions on the layer's canvas of the source's pixel centres."""
        width, height = self.size
        rows, columns = window if window else (slice(0, height), slice(0, width))
        x = np.arange(width)[columns] + 0.5
        y = np.arange(height)[rows, None] + 0.5
        affine = self.layer.uv_affine[frame]
        offset = self.layer.uv_offset(frame)
        node_x, node_y = (nodes[rows, columns] for nodes in _nodes_under_pixels(offset.shape[1::-1], self.size))
        uv = np.empty((*node_x.shape, 2), np.float32)
        for axis in (0, 1):
            straight = (affine[axis, 1] * y + affine[axis, 2]).astype(np.float32) + (affine[axis, 0] * x).astype(
                np.float32
            )
            np.add(straight, cv2.remap(offset[..., axis], node_x, node_y, cv2.INTER_LINEAR), out=uv[..., axis])
        return uv

    def uv_at(self, frame: int, xy: Points) -> Points:
        """Texel positions of any points (x, y), in source pixels; outside the frame the border's offset goes on."""
        offset = self.layer.uv_offset(frame)
        width, height = self.size
        node_x = xy[..., 0] * np.float32((offset.shape[1] - 1) / width)
        node_y = xy[..., 1] * np.float32((offset.shape[0] - 1) / height)
        bent = cv2.remap(offset, node_x, node_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        affine = self.layer.uv_affine[frame]
        return (xy @ affine[:, :2].T + affine[:, 2]).astype(np.float32) + bent

    def find_xy(self, frame: int, uv: Points) -> tuple[Points, Bool[np.ndarray, "h w"]]:
        """Where texels are in a frame (source pixels), and whether they are in it: the inverse of `uv_at`.

        Newton's method with the affine part's Jacobian. A texel is in the frame where the map leads back to within
        half a texel of it from a point of the frame.
        """
        xy, missed = self.invert(frame, uv)
        (x, y), (width, height) = np.moveaxis(xy, -1, 0), self.size
        return xy, (x >= 0) & (y >= 0) & (x <= width) & (y <= height) & (missed < 0.25)

    def invert(self, frame: int, uv: Points) -> tuple[Points, Float32[np.ndarray, "h w"]]:
        """Positions (source pixels), also outside of the frame, at which the map leads to texels, and the square of by
        how many texels it misses them: see `inverse_map`."""
        # Numba takes longer to load than most projects to open.
        from layerloom.data.inverse_map import invert_map

        xy, error = invert_map(uv, self.layer.uv_affine[frame], self.layer.uv_offset(frame), self.size)
        return xy, np.square(error[..., 0]) + np.square(error[..., 1])

    def positions(self, frame: int, texels: Points) -> Points:
        """Where texels are in a frame, in source pixels, finite everywhere, also outside the frame.

        Where the bent map does not lead back to the texel (within half a texel), the affine part alone says where it
        is.
        """
        affine = self.layer.uv_affine[frame]
        xy, missed = self.invert(frame, texels)
        # Newton's steps may have run away: to be near the straight answer is part of having found one.
        straight = ((texels - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T).astype(np.float32)
        far = np.abs(xy - straight)
        found = (np.maximum(far[..., 0], far[..., 1]) < max(self.size)) & (missed < 0.25)
        return xy if found.all() else np.where(found[..., None], xy, straight)

    def lighting_planes(self, frame: int, uv: Points) -> list[Float32[np.ndarray, "h w"]]:
        """Red, green and blue of the multiplier of the texture's colour, at texel positions."""
        grid = self.layer.lighting_grid(frame)
        width, height = self.layer.canvas
        node_x = uv[..., 0] * np.float32((grid.shape[1] - 1) / width)
        node_y = uv[..., 1] * np.float32((grid.shape[0] - 1) / height)
        return [
            cv2.remap(plane, node_x, node_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for plane in cv2.split(grid)
        ]

    def own_alpha(self, frame: int) -> Float32[np.ndarray, "h w"]:
        """The layer's coverage at source size before occlusion by layers in front, bilinear from training size."""
        width, height = self.size
        if self.layer.kind == "background":
            return np.ones((height, width), np.float32)
        alpha = media.to_float(self.layer.alpha(frame))
        if alpha.shape == (height, width):
            return alpha
        return cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)


@lru_cache(maxsize=4)
def _nodes_under_pixels(nodes: Size, size: Size) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Column and row among `nodes` = (columns, rows), spread over a frame of `size`, of every pixel centre."""
    columns, rows = ((np.arange(side) + 0.5) * (count - 1) / side for side, count in zip(size, nodes, strict=True))
    node_x, node_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return node_x, node_y
