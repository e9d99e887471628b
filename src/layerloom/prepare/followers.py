"""Flow that follows an object outside of its mask: its shadow, its reflection, the water and the dust that it moves.

It is the background that is seen there, but its flow says where the object goes. A background mapped by it would be
dragged along and torn where the shadow ends.
"""

from collections.abc import Sequence
from functools import partial

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64

from layerloom.clip import FlowField, Masks
from layerloom.conventions import Size, transform_points
from layerloom.parallel import do_in_threads

STRIDE = 2
NEAR = 1.0
"""How far about an object its followers are looked for, as a share of its size (the root of its area)."""
EXACT_PIXELS = 0.5
"""Flow this near the background's motion is the background's, whatever the object does."""

Points = Float64[np.ndarray, "h w 2"]


def distrust_followers(fields: Sequence[FlowField], masks: Masks, motion: Float[np.ndarray, "layers t 3 3"]) -> None:
    """Lower the confidence of background flow near objects where it agrees better with an object's motion."""
    if not masks.names:
        return
    full = masks.coverage.shape[3], masks.coverage.shape[2]
    for field in fields:
        scale = np.array(full, float) / field.size
        near = _near_objects(masks, field.size)
        for pairs in (
            (field.forward, field.forward_confidence, 0, field.step),
            (field.backward, field.backward_confidence, field.step, -field.step),
        ):
            do_in_threads(partial(_distrust, pairs, near, motion, scale), range(len(field.forward)))


def _near_objects(masks: Masks, size: Size) -> Float32[np.ndarray, "objects t h w"]:
    """1 beside each object, falling to 0 at the distance NEAR says; 0 inside of any object. At every STRIDEth pixel."""
    size = -(-size[0] // STRIDE), -(-size[1] // STRIDE)
    near = np.zeros((*masks.coverage.shape[:2], size[1], size[0]), np.float32)

    def measure(t: int) -> None:
        small = [cv2.resize(mask[t], size, interpolation=cv2.INTER_AREA) for mask in masks.coverage]
        outside = np.max(small, axis=0) < 8
        for index, mask in enumerate(small):
            area = (mask > 127).sum()
            if area:
                distance = cv2.distanceTransform((mask <= 127).astype(np.uint8), cv2.DIST_L2, 5)
                near[index, t] = np.clip(2 - 2 * distance / (NEAR * np.sqrt(area)), 0, 1) * outside

    do_in_threads(measure, range(masks.coverage.shape[1]))
    return near


def _distrust(
    pairs: tuple[np.ndarray, np.ndarray, int, int],
    near: Float32[np.ndarray, "objects t h w"],
    motion: Float[np.ndarray, "layers t 3 3"],
    scale: Float64[np.ndarray, "2"],
    index: int,
) -> None:
    flows, confidences, offset, step = pairs
    frame = index + offset
    if not near[:, frame].any():
        return
    flow, confidence = flows[index], confidences[index]
    height, width = flow.shape[:2]
    xy = np.stack(np.meshgrid(np.arange(0, width, STRIDE), np.arange(0, height, STRIDE)), -1) + 0.5
    end = (xy + flow[::STRIDE, ::STRIDE]) * scale
    start = xy * scale
    own = np.maximum(_miss(motion[-1], frame, step, start, end) - EXACT_PIXELS, 0)
    trust = np.ones(own.shape)
    for item, closeness in enumerate(near[:, frame]):
        other = _miss(motion[item], frame, step, start, end)
        agreeing = np.clip(other / (2 * own + 1e-6), 0, 1)
        trust = np.minimum(trust, 1 - closeness * (1 - agreeing))
    spread = cv2.resize(trust.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    confidence[:] = np.rint(confidence * spread).astype(np.uint8)


def _miss(
    motion: Float[np.ndarray, "t 3 3"], frame: int, step: int, start: Points, end: Points
) -> Float64[np.ndarray, "h w"]:
    """How far from `end` a layer's motion takes `start`, in pixels of the training size."""
    carried = np.linalg.inv(motion[frame + step]) @ motion[frame]
    return np.linalg.norm(transform_points(carried, start) - end, axis=-1)
