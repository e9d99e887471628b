"""Flow between frames far apart, which ties the ends of a clip together: short steps alone add up their errors.

Once it is known how a layer moves, one frame can be brought into the other's view first. What is left to be matched is
small, however far the camera went, so it is found as exactly as between neighbours. That is done layer by layer; each
pixel takes the flow of the layer that it belongs to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from layerloom.clip import FlowField, Masks, layer_coverage
from layerloom.conventions import Size
from layerloom.parallel import in_threads
from layerloom.prepare.flow import Flow, PairMatcher, agreement, empty_field, sample_flow, shrink

PAIRS_AT_ONCE = 32
SMALLEST_SHARE = 1e-4
"""Of the frame: a layer that shows less of itself is not matched."""
LARGEST_ZOOM = 4.0
"""In area; beyond, one frame's texture is not the other's."""

Frame = UInt8[np.ndarray, "h w 3"]
Progress = Callable[[float], None]


@dataclass(frozen=True)
class _Task:
    """Layer `layer` from frame `first` to frame `last`; `motion` takes pixel indices of the one to the other's."""

    layer: int
    first: int
    last: int
    motion: Float64[np.ndarray, "3 3"]


def distant_flow(
    frames: UInt8[np.ndarray, "t h w 3"],
    masks: Masks,
    motion: Float[np.ndarray, "layers t 3 3"],
    steps: Sequence[int],
    size: Size,
    match: PairMatcher,
    progress: Progress = lambda done: None,
) -> tuple[FlowField, ...]:
    """One field of `size` per step that fits into the clip. `motion` is `estimate_motion`'s, at training size.

    A pixel of a layer that the other frame does not show gets confidence 0.
    """
    steps = [step for step in steps if step < len(frames)]
    small = shrink(frames, size)
    owners = _owners(masks, size)
    to_small = np.diag([size[0] / frames.shape[2], size[1] / frames.shape[1], 1.0])
    fields: list[FlowField] = []
    for number, step in enumerate(steps):
        field = empty_field(step, len(frames), (size[1], size[0]))
        for array in (field.forward, field.backward, field.forward_confidence, field.backward_confidence):
            array[:] = 0
        tasks = list(_tasks(motion, owners, step, to_small))
        for begin in range(0, len(tasks), PAIRS_AT_ONCE):
            part = tasks[begin : begin + PAIRS_AT_ONCE]
            brought = list(in_threads(partial(_bring, small, size), part))
            flows = match([small[task.first] for task in part], brought)
            for _ in in_threads(partial(_enter, field, owners), zip(part, flows, strict=True)):
                pass
            progress((number + (begin + len(part)) / len(tasks)) / len(steps))
        fields.append(field)
    return tuple(fields)


def _owners(masks: Masks, size: Size) -> Bool[np.ndarray, "layers t _ _"]:
    """The pixels that are surely one layer's."""
    return (
        np.stack(
            [
                np.stack(list(in_threads(partial(cv2.resize, dsize=size, interpolation=cv2.INTER_AREA), layer)))
                for layer in layer_coverage(masks)
            ]
        )
        > 127
    )


def _tasks(
    motion: Float[np.ndarray, "layers t 3 3"],
    owners: Bool[np.ndarray, "layers t h w"],
    step: int,
    to_small: Float64[np.ndarray, "3 3"],
) -> Iterator[_Task]:
    shown = owners.mean((2, 3)) > SMALLEST_SHARE
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    for first in range(owners.shape[1] - step):
        last = first + step
        for layer in np.flatnonzero(shown[:, first] & shown[:, last]):
            carried = np.linalg.inv(motion[layer, last]) @ motion[layer, first]
            carried = np.linalg.inv(centre) @ to_small @ carried @ np.linalg.inv(to_small) @ centre
            carried = carried / carried[2, 2]
            if 1 / LARGEST_ZOOM < np.linalg.det(carried) < LARGEST_ZOOM:
                yield _Task(int(layer), first, last, carried)


def _bring(frames: UInt8[np.ndarray, "t h w 3"], size: Size, task: _Task) -> Frame:
    """The last frame as the layer's motion brings it into the first one's view."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(
        cv2.warpPerspective(frames[task.last], task.motion, size, flags=flags, borderMode=cv2.BORDER_REPLICATE),
        np.uint8,
    )


def _enter(
    field: FlowField, owners: Bool[np.ndarray, "layers t h w"], matched: tuple[_Task, tuple[Flow, Flow]]
) -> None:
    """Write the layer's flow into the field where the layer is."""
    task, (there, back) = matched
    forward = _move(task.motion, there)
    # On the last frame: bring each pixel into the first one's view, and go on from there by the way back.
    brought = _move(np.linalg.inv(task.motion), np.zeros_like(there))
    backward = brought + sample_flow(back, brought)
    start = task.first
    for flow, opposite, frame, target, confidence in (
        (forward, backward, task.first, field.forward, field.forward_confidence),
        (backward, forward, task.last, field.backward, field.backward_confidence),
    ):
        own = owners[task.layer, frame]
        target[start][own] = np.clip(flow, -60000, 60000)[own]
        confidence[start][own] = agreement(flow, opposite)[own]


def _move(motion: Float64[np.ndarray, "3 3"], flow: Float32[np.ndarray, "h w 2"]) -> Flow:
    """Where the motion takes what the flow points to, relative to the pixel."""
    height, width = flow.shape[:2]
    pixel = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).astype(np.float32)
    moved = cv2.perspectiveTransform((pixel + flow).reshape(1, -1, 2), motion).reshape(flow.shape)
    return np.asarray(moved - pixel, np.float32)
