"""Composited mattes at source size: front to back, and refined against the source where they were learned smaller.

Refinement is joint upsampling by the guided filter (He, Sun, Tang, "Guided Image Filtering", TPAMI 2013, equations
19 to 21; coefficients at the small size as in He and Sun, "Fast Guided Filter", 2015): near an outline, alpha is an
affine function of the source's colour.
"""

from collections.abc import Collection, Iterator
from itertools import repeat

import cv2
import numpy as np
from jaxtyping import Float32, UInt16

from layerloom import media
from layerloom.core.compositing import composite
from layerloom.core.imaging import GuidedFilter, image_size, resize
from layerloom.data.project import Project

RADIUS = 1
"""Half width of the filter's window, in pixels of training size. A larger one mixes more colours than three explain."""
COLOUR_VARIANCE = 3e-5
"""Variance of a colour channel below which the source is taken for flat (epsilon in the paper): noise of 1.4/255."""
LEAST_LEFT = 1 / 64
"""Where the layers in front leave less of a pixel than this, the source says little about the layer behind them."""
UNDECIDED = 0.02
"""Alpha farther than this from 0 and 1 is undecided, which is where refinement acts."""

Plane = Float32[np.ndarray, "h w"]


def mattes(
    project: Project, frame: int, source_frame: np.ndarray | None = None
) -> Float32[np.ndarray, "layers height width"]:
    """Each layer's share of every pixel of a frame (counted from the project's first), at source size; sums to one.

    source_frame: the source's own picture of that frame. Without it, mattes learned smaller are upsampled as they are.
    """
    if source_frame is None or project.training_size == project.source.size:
        return composite([project.own_alpha(layer, frame) for layer in range(len(project.layers))])
    objects = [media.to_float(layer.alpha(frame)) for layer in project.layers if layer.kind == "object"]
    background = np.ones(project.training_size[::-1], np.float32)
    return upsample(composite([*objects, background]), media.to_float(source_frame))


def own_alphas(
    project: Project, frame: int, source_frame: np.ndarray | None = None
) -> UInt16[np.ndarray, "objects h w"]:
    """The objects' coverages before occlusion in a frame (counted from the project's first); composited, the mattes.

    At training size as stored, or at source size refined against `source_frame`. An object that lies hidden behind
    others is not refined there: the source does not show it.
    """
    objects = [layer for layer, stored in enumerate(project.layers) if stored.kind == "object"]
    if not objects or source_frame is None or project.training_size == project.source.size:
        width, height = project.training_size
        planes = np.empty((len(objects), height, width), np.uint16)
        for plane, layer in zip(planes, objects, strict=True):
            stored = project.layers[layer].alpha(frame)
            np.multiply(stored, 257 if stored.dtype == np.uint8 else 1, out=plane, dtype=np.uint16)
        return planes
    shares = mattes(project, frame, source_frame)
    own = np.empty((len(objects), *shares.shape[1:]), np.uint16)
    left = np.ones_like(shares[0])
    for index, layer in enumerate(objects):
        plain = project.own_alpha(layer, frame)
        sureness = np.clip(left / LEAST_LEFT, 0, 1)
        refined = plain + sureness * (np.clip(shares[layer] / np.maximum(left, 1e-6), 0, 1) - plain)
        own[index] = media.quantise(refined, 16)
        left = left - shares[layer]
    return own


def stream_mattes(project: Project, frames: range) -> Iterator[Float32[np.ndarray, "layers height width"]]:
    """Mattes of some of the source's frames (numbered as the source's), one after the other.

    The source is read only where it refines mattes that were learned smaller; if it is gone they stay unrefined.
    """
    refine = project.training_size != project.source.size and project.source_exists
    pictures = project.read_source(frames) if refine else repeat(None, len(frames))
    for number, picture in zip(frames, pictures, strict=True):
        yield mattes(project, project.frame_index(number), picture)


def reveal(
    project: Project, frame: int, shares: Float32[np.ndarray, "layers h w"], hidden: Collection[int]
) -> Float32[np.ndarray, "layers h w"]:
    """Mattes without the hidden layers: what they had goes to the layers behind them, as these cover one another.

    A hidden background leaves its pixels to nobody, so that the sum falls short of one.
    """
    if not hidden:
        return shares
    own = [
        np.zeros(shares.shape[1:], np.float32) if layer in hidden else project.own_alpha(layer, frame)
        for layer in range(len(shares))
    ]
    revealed = shares.copy()
    for layer in hidden:
        revealed[layer:] += composite(own[layer:]) * shares[layer]
    revealed[list(hidden)] = 0
    return revealed


def upsample(
    small: Float32[np.ndarray, "layers small_h small_w"], guide: Float32[np.ndarray, "h w 3"]
) -> Float32[np.ndarray, "layers h w"]:
    """Composited mattes at the guide's size: bilinear, but guided by its colours around every outline."""
    size = guide.shape[1], guide.shape[0]
    guided_filter = GuidedFilter(resize(guide, image_size(small)), RADIUS, COLOUR_VARIANCE)
    large = np.empty((len(small), *guide.shape[:2]), np.float32)
    left = np.ones(guide.shape[:2], np.float32)
    for layer, alpha in enumerate(small[:-1]):
        slope, intercept = guided_filter.fit(alpha)
        guided = np.einsum("hwc,hwc->hw", resize(slope, size), guide) + resize(intercept, size)
        plain = resize(alpha, size)
        refined = plain + resize(_undecided(alpha), size) * (np.clip(guided, 0, 1) - plain)
        large[layer] = np.minimum(refined, left)
        left = left - large[layer]
    large[-1] = left
    return large


def _undecided(alpha: Plane) -> Plane:
    """1 where alpha is neither 0 nor 1 or jumps from one to the other, 0 elsewhere."""
    band = (alpha > UNDECIDED) & (alpha < 1 - UNDECIDED)
    jump = cv2.dilate(alpha, np.ones((3, 3))) - cv2.erode(alpha, np.ones((3, 3))) > 0.5
    return (band | jump).astype(np.float32)
