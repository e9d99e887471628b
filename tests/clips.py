"""Small clips for tests of the learning half: synthetic footage with masks, flow and motion taken from the truth."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from layerloom.core.geometry import pixel_centres
from layerloom.data.clip import Clip, FlowFields, Masks, SourceReference
from layerloom.prepare.flow.compute import compute_flow
from layerloom.synthetic.clip import SyntheticClip, make_clip


def small_synthetic(objects: int = 1, size: tuple[int, int] = (72, 48), frames: int = 6) -> SyntheticClip:
    return make_clip(size=size, frames=frames, objects=objects, seed=3)


def clip_from_truth(truth: SyntheticClip) -> Clip:
    """The Clip that perfect preparation would give: exact masks, DIS flow, affine motion fitted to the true uv."""
    frames, height, width, _ = truth.frames.shape
    masks = Masks(truth.names[:-1], truth.masks, _trust(truth.masks))
    source = SourceReference(
        Path("synthetic"),
        "0",
        (width, height),
        0,
        frames,
        Fraction(24),
        tuple(Fraction(t, 24) for t in range(frames)),
    )
    flow = FlowFields.of(compute_flow(truth.frames, (1, 2)), len(truth.frames))
    return Clip(truth.frames, masks, flow, _motion(truth), source)


def _trust(masks: np.ndarray) -> np.ndarray:
    trust = np.full_like(masks, 255)
    for index in np.ndindex(*masks.shape[:2]):
        outline = cv2.morphologyEx(masks[index], cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
        trust[index][outline > 0] = 64
    return trust


def _motion(truth: SyntheticClip) -> np.ndarray:
    xy = pixel_centres(truth.size).reshape(-1, 2)
    matrices = np.tile(np.eye(3), (*truth.alpha.shape[:2], 1, 1))
    for layer, t in np.ndindex(*truth.alpha.shape[:2]):
        seen = truth.alpha[layer, t].ravel() > 0.5
        known = np.c_[xy[seen], np.ones(seen.sum())]
        matrices[layer, t, :2] = np.linalg.lstsq(known, truth.uv[layer, t].reshape(-1, 2)[seen], rcond=None)[0].T
    return matrices
