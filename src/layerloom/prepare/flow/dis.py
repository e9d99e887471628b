"""DIS flow (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016; OpenCV's), on any machine."""

from collections.abc import Callable, Sequence
from functools import partial

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.consistency import Flow, chain_flow, enter_pair

SURE_RESPONSE = 0.2
"""Of phase correlation (1 = a mere shift): below, it may have found anything."""
SMALLEST_SIDE = 16
"""In pixels: smaller pictures, which its patches do not fit into, are continued beyond their border."""

Grey = UInt8[np.ndarray, "h w"]
Pictures = UInt8[Tensor, "n h w 3"]
FlowImages = Float32[Tensor, "n 2 h w"]


def dis_flow(first: Grey, last: Grey, guess: Flow | None = None, fast: bool = False) -> Flow:
    """Flow from `first` to `last`, in pixels, from a guess or from rest. `fast` stops at half the pictures' size."""
    preset = cv2.DISOPTICAL_FLOW_PRESET_FAST if fast else cv2.DISOPTICAL_FLOW_PRESET_MEDIUM
    dis = cv2.DISOpticalFlow.create(preset)
    if not fast:
        dis.setFinestScale(0)  # refined down to full resolution: 0.04 px off instead of 0.07 px
    height, width = first.shape
    flow = np.zeros((height, width, 2), np.float32) if guess is None else guess
    first, last, flow = (_at_least(image) for image in (first, last, flow))
    return dis.calc(first, last, flow)[:height, :width]


def dis_both_ways(first: Grey, last: Grey, guess: tuple[Flow, Flow] | None = None) -> tuple[Flow, Flow]:
    """Flow from `first` to `last`, and back."""
    there, back = guess or (None, None)
    return dis_flow(first, last, there), dis_flow(last, first, back)


def dis_fields(
    frames: UInt8[np.ndarray, "t h w 3"], fields: Sequence[FlowField], progress: Callable[[float], None]
) -> tuple[FlowField, ...]:
    """The fields (shortest step first, of the frames' size), filled."""
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    total, done = sum(len(field.forward) for field in fields), 0
    for number, field in enumerate(fields):
        # The longest of those that can be chained to this step.
        shorter = next((known for known in reversed(fields[:number]) if field.step % known.step == 0), None)
        for _ in in_threads(partial(_enter_dis, greys, field, shorter), range(len(field.forward))):
            done += 1
            progress(done / total)
    return tuple(fields)


def dis_pairs(first: Pictures, second: Pictures) -> tuple[FlowImages, FlowImages]:
    """Flow there and back of pictures that look at much the same, pair by pair."""

    def match(pair: tuple[np.ndarray, np.ndarray]) -> tuple[Flow, Flow]:
        here, there = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pair)
        return dis_both_ways(here, there)

    found = zip(*in_threads(match, zip(first.cpu().numpy(), second.cpu().numpy(), strict=True)), strict=True)
    there, back = (torch.from_numpy(np.stack(way)).permute(0, 3, 1, 2).to(first.device) for way in found)
    return there, back


def _enter_dis(greys: Sequence[Grey], field: FlowField, shorter: FlowField | None, start: int) -> None:
    """Fill pair `start` of `field`."""
    first, last = greys[start], greys[start + field.step]
    guess = _chained_guess(field.step, shorter, start) if shorter else _shift_guess(first, last)
    enter_pair(field, start, *dis_both_ways(first, last, guess))


def _at_least(image: np.ndarray) -> np.ndarray:
    """The image, continued to SMALLEST_SIDE."""
    down, across = (max(SMALLEST_SIDE - side, 0) for side in image.shape[:2])
    return cv2.copyMakeBorder(image, 0, down, 0, across, cv2.BORDER_REPLICATE) if down or across else image


def _shift_guess(first: Grey, last: Grey) -> tuple[Flow, Flow]:
    """The camera's pan, by phase correlation: DIS alone loses pans of a quarter of the frame, and finds less in any."""
    there = np.zeros((*first.shape, 2), np.float32)
    if min(first.shape) >= SMALLEST_SIDE:
        window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
        shift, response = cv2.phaseCorrelate(first.astype(np.float32), last.astype(np.float32), window)
        if response > SURE_RESPONSE:
            there[:] = shift
    return there, -there


def _chained_guess(step: int, shorter: FlowField, start: int) -> tuple[Flow, Flow]:
    """Long ways start from the chained shorter ones: alone, DIS finds next to nothing 8 frames on in a fast pan."""
    starts = range(start, start + step, shorter.step)
    there = chain_flow([shorter.forward[i].astype(np.float32) for i in starts])
    back = chain_flow([shorter.backward[i].astype(np.float32) for i in reversed(starts)])
    return there, back
