"""Flow both ways against each other: confidence, and flow read or continued where other flow points."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from layerloom.core.geometry import Size
from layerloom.core.imaging import warp
from layerloom.data.clip import FlowField, FlowFields

LONGEST_PIXELS = 1e4
"""Flow that is longer is none."""

Flow = Float32[np.ndarray, "h w 2"]


def agreement(flow: Flow, opposite: Flow) -> UInt8[np.ndarray, "h w"]:
    """Confidence 0…255 of `flow`: exp(-(d/σ)²), where d = |flow(p) + opposite(p + flow(p))| is how far the way there
    and back misses its start and σ = 1 px + 1 % of the way. 0 where the flow leaves the frame or is not finite."""
    height, width = flow.shape[:2]
    known = np.isfinite(flow[..., :1] + flow[..., 1:])
    flow = np.where(known, flow, np.float32(0))
    miss = flow + sample_flow(opposite, flow)
    sigma = 1.0 + 0.01 * np.linalg.norm(flow, axis=-1)
    confidence = np.exp(-(miss**2).sum(-1) / sigma**2)
    target = _grid((width, height)) + flow
    inside = (target >= -0.5).all(-1) & (target[..., 0] <= width - 0.5) & (target[..., 1] <= height - 0.5)
    confidence = np.where(known[..., 0] & inside & np.isfinite(confidence), confidence, 0)
    return np.round(255 * confidence).astype(np.uint8)


def sample_flow(field: Flow, flow: Flow) -> Flow:
    """`field` read, bilinearly and clamped to its border, where `flow` points."""
    x, y = cv2.split(_grid((flow.shape[1], flow.shape[0])) + flow)
    return warp(field, x, y)


def chain_flow(pieces: Sequence[Flow]) -> Flow:
    """Flow over consecutive steps as one: follow the first piece, then the next from where it ends."""
    flow = pieces[0]
    for piece in pieces[1:]:
        flow = flow + sample_flow(piece, flow)
    return flow


def enter_pair(field: FlowField, start: int, forward: Flow, backward: Flow) -> None:
    """Pair `start` of the field: flow both ways, and its confidence."""
    field.forward[start], field.backward[start] = forward, backward
    field.forward_confidence[start] = agreement(forward, backward)
    field.backward_confidence[start] = agreement(backward, forward)


def take_field(out: Sequence[FlowField], step: int, frames: int, size: Size) -> FlowField:
    """The one of `out` of this step and size, or a new one."""
    found = (field for field in out if field.step == step and field.size == size)
    return next(found, None) or FlowFields.empty([step], frames, size).fields[0]


def _grid(size: Size) -> Flow:
    """Pixel (column, row) of every pixel, as `warp` counts them."""
    return np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).astype(np.float32)
