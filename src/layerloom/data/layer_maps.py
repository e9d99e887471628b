"""Where texels are in frames: the maps of layers, looked up at any point."""

import numpy as np
from jaxtyping import Float32

from layerloom.data.project import Project


def frame_positions(
    project: Project, layer: int, frame: int, texels: Float32[np.ndarray, "h w 2"]
) -> Float32[np.ndarray, "h w 2"]:
    """Where texels are in a frame, in source pixels, finite everywhere, also outside the frame.

    Where the bent map does not lead back to the texel (within half a texel), the affine part alone says where it is.
    """
    affine = project.layers[layer].uv_affine[frame]
    xy, _ = project.find_xy(layer, frame, texels)
    # Newton's steps may have run away: to be near the straight answer is part of having found one.
    straight = ((texels - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T).astype(np.float32)
    near = np.abs(xy - straight).max(-1) < max(project.source.size)
    xy = np.where(near[..., None], xy, straight)
    error = np.square(texels - project.uv_at(layer, frame, xy)).sum(-1)
    return np.where((error < 0.25)[..., None], xy, straight)
