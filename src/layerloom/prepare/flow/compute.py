"""Optical flow between frames near and far, both ways, with a confidence from their agreement.

Three sources: DIS (Kroeger et al. 2016, from OpenCV) on any machine, RAFT with the user's weights, or files:

    DIR/forward_00000.flo           on frame 0, points to frame 1 (`first_frame` of the footage counts, too)
    DIR/backward_00001.flo          on frame 1, points to frame 0
    DIR/step2/forward_00000.flo     on frame 0, points to frame 2; its partner is step2/backward_00002.flo

as Middlebury `.flo` or as `.npy` (h w 2, x first, float). Fields may be smaller than the frames, all of one size, in
pixels of their own size. Step 1 must be complete; longer steps are read where their folders exist.

Fields have at most FIELD_LONG_EDGE pixels, so they may be smaller than the frames. DIS works at this size; RAFT, which
finds flow at an eighth of what it looks at, looks at up to MATCH_LONG_EDGE. Flow is kept in half precision: at worst
0.03 px off for displacements below 128 px, 0.05 % of longer ones.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.core.imaging import resize_all
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField, FlowFields
from layerloom.prepare.flow.raft import RaftMatcher, RaftPairs, load_raft

FIELD_LONG_EDGE = 768
MATCH_LONG_EDGE = 1024
LONGEST_PIXELS = 1e4
SURE_RESPONSE = 0.2
"""Of phase correlation (1 = a mere shift): below, it may have found anything."""

Flow = Float32[np.ndarray, "h w 2"]
Grey = UInt8[np.ndarray, "h w"]
Progress = Callable[[float], None]
Pictures = UInt8[Tensor, "n h w 3"]
FlowImages = Float32[Tensor, "n 2 h w"]
PairMatcher = Callable[[Pictures, Pictures], tuple[FlowImages, FlowImages]]
"""Matches pictures pairwise: flow there and back of each pair, where the pictures are."""


def compute_flow(
    frames: UInt8[np.ndarray, "t h w 3"],
    steps: Sequence[int] = (1, 2, 4, 8),
    method: str | Path = "dis",
    weights: Path | None = None,
    device: str = "cpu",
    progress: Progress | None = None,
    first_frame: int = 0,
    room: Sequence[FlowField] = (),
) -> tuple[FlowField, ...]:
    """One `FlowField` per step that fits into the clip, shortest first; one of `room` if it is of this step and size.

    `method` is "dis", "raft" (needs `weights`, the official raft-small state dict) or a folder of flow files, in which
    frames[0] has the number `first_frame`. `progress` is told the fraction done. LayerloomError for bad weights or
    files.
    """
    steps = sorted({step for step in steps if 0 < step < len(frames)})
    report = progress or _no_report
    full = (frames.shape[2], frames.shape[1])
    size = fit_long_edge(full, FIELD_LONG_EDGE)
    if method == "dis":
        return _dis_fields(resize_all(frames, size), _take(room, steps, len(frames), size), report)
    if method == "raft":
        if weights is None:
            raise LayerloomError("RAFT needs its weights: give the official raft-small.pth (--flow-weights FILE)")
        matched = resize_all(frames, fit_long_edge(full, MATCH_LONG_EDGE))
        matcher = RaftMatcher(matched, load_raft(weights), device, size)
        return _raft_fields(matcher, _take(room, steps, len(frames), size), report)
    return read_flow(Path(method), len(frames), full, steps, first_frame, room)


def take_field(room: Sequence[FlowField], step: int, frames: int, size: Size) -> FlowField:
    """The field of this step and size, or a new one if there is no room for it."""
    found = (field for field in room if field.step == step and field.size == size)
    return next(found, None) or FlowFields.empty([step], frames, size).fields[0]


def _take(room: Sequence[FlowField], steps: Sequence[int], frames: int, size: Size) -> list[FlowField]:
    return [take_field(room, step, frames, size) for step in steps]


def pair_matcher(method: str | Path = "dis", weights: Path | None = None, device: str = "cpu") -> PairMatcher:
    """What matches pictures that look at much the same: RAFT on a GPU where that is the method, else DIS.

    DIS is as exact there, and on a CPU a hundred times as fast.
    """
    if method != "raft" or weights is None or device == "cpu":
        return _dis_pairs
    return RaftPairs(load_raft(weights), device)


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
    return cv2.remap(field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def chain_flow(pieces: Sequence[Flow]) -> Flow:
    """Flow over consecutive steps as one: follow the first piece, then the next from where it ends."""
    flow = pieces[0]
    for piece in pieces[1:]:
        flow = flow + sample_flow(piece, flow)
    return flow


def read_flow(
    directory: Path,
    frames: int,
    size: Size,
    steps: Sequence[int],
    first_frame: int = 0,
    room: Sequence[FlowField] = (),
) -> tuple[FlowField, ...]:
    """Flow files as the module's docstring names them. LayerloomError for a missing, damaged or misshapen file."""
    if not directory.is_dir():
        raise LayerloomError(
            f"{directory}: no such flow folder (allowed: dis, raft, or a folder of .flo or .npy files)"
        )
    fields: list[FlowField] = []
    for step in steps:
        folder = directory if step == 1 else directory / f"step{step}"
        if step > 1 and not folder.is_dir():
            continue
        starts = range(first_frame, first_frame + frames - step)
        forward = [_read_file(folder, f"forward_{start:05d}", size) for start in starts]
        backward = [_read_file(folder, f"backward_{start + step:05d}", size) for start in starts]
        sizes = {flow.shape for flow in (*forward, *backward)}
        if len(sizes) > 1:
            raise LayerloomError(
                f"{folder}: flow files of different sizes {sorted((s[1], s[0]) for s in sizes)}; one is allowed"
            )
        height, width = forward[0].shape[:2]
        field = take_field(room, step, frames, (width, height))
        _fill_from_files(field, forward, backward)
        fields.append(field)
    return tuple(fields)


def _fill_from_files(field: FlowField, forward: Sequence[Flow], backward: Sequence[Flow]) -> None:
    """Unknown flow (not finite, or huge as Middlebury marks it) becomes 0 with confidence 0."""
    for start, both_ways in enumerate(zip(forward, backward, strict=True)):
        there, back = (np.where(np.abs(flow) < LONGEST_PIXELS, flow, np.float32(np.nan)) for flow in both_ways)
        _fill_pair(field, start, there, back)
    np.nan_to_num(field.forward, copy=False)
    np.nan_to_num(field.backward, copy=False)


def _read_file(folder: Path, stem: str, size: Size) -> Flow:
    for path in (folder / f"{stem}.flo", folder / f"{stem}.npy"):
        if path.is_file():
            flow = _read_flo(path) if path.suffix == ".flo" else _read_npy(path)
            break
    else:
        raise LayerloomError(
            f"{folder / stem}.flo: no such flow file (nor .npy), and every pair of frames needs one each way"
        )
    height, width = flow.shape[:2]
    # A field may be shrunk, and then its sides are rounded: one pixel of it is the tolerance.
    if abs(width * size[1] - height * size[0]) > max(size):
        raise LayerloomError(
            f"{path}: flow of {width}x{height}, but the frames are {size[0]}x{size[1]}; the shapes must agree"
        )
    return flow


def _read_flo(path: Path) -> Flow:
    data = path.read_bytes()
    width, height = (int(n) for n in np.frombuffer(data[4:12].ljust(8, b"\0"), "<i4"))
    if data[:4] != b"PIEH" or width < 1 or height < 1 or len(data) != 12 + 8 * width * height:
        raise LayerloomError(f"{path}: not a Middlebury .flo file, or cut short")
    return np.frombuffer(data, "<f4", offset=12).reshape(height, width, 2).astype(np.float32)


def _read_npy(path: Path) -> Flow:
    try:
        flow = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise LayerloomError(f"{path}: not a NumPy array file, or cut short") from error
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0 or flow.dtype.kind != "f":
        raise LayerloomError(
            f"{path}: an array {flow.shape} of {flow.dtype}; flow is (height, width, 2), floating point"
        )
    return flow.astype(np.float32)


def _dis_fields(
    frames: UInt8[np.ndarray, "t h w 3"], fields: Sequence[FlowField], report: Progress
) -> tuple[FlowField, ...]:
    """The fields, filled, shortest step first."""
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    total, done = sum(len(field.forward) for field in fields), 0
    for number, field in enumerate(fields):
        shorter = _divisor(fields[:number], field.step)
        for _ in in_threads(partial(_dis_pair, greys, field, shorter), range(len(field.forward))):
            done += 1
            report(done / total)
    return tuple(fields)


def _dis_pair(greys: Sequence[Grey], field: FlowField, shorter: FlowField | None, start: int) -> None:
    """Fill pair `start` of `field`."""
    first, last = greys[start], greys[start + field.step]
    there, back = _chained_guess(field.step, shorter, start) if shorter else _shift_guess(first, last)
    dis = _make_dis()
    _fill_pair(field, start, dis.calc(first, last, there), dis.calc(last, first, back))


def _raft_fields(matcher: RaftMatcher, empty: Sequence[FlowField], report: Progress) -> tuple[FlowField, ...]:
    """Long ways start from nothing, too: RAFT sees all of the frame, and a chained guess made it worse."""
    fields = {field.step: field for field in empty}
    pairs = [(start, start + step) for step in fields for start in range(matcher.frames - step)]
    done = 0
    for match in matcher.matches(pairs):
        for i, (start, end) in enumerate(zip(match.first, match.second, strict=True)):
            field = fields[end - start]
            field.forward[start], field.backward[start] = match.forward[i], match.backward[i]
            field.forward_confidence[start] = match.forward_confidence[i]
            field.backward_confidence[start] = match.backward_confidence[i]
        done += len(match.first)
        report(done / len(pairs))
    return tuple(fields.values())


def _dis_pairs(first: Pictures, second: Pictures) -> tuple[FlowImages, FlowImages]:
    def match(pair: tuple[np.ndarray, np.ndarray]) -> tuple[Flow, Flow]:
        here, there = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in pair)
        still = np.zeros((*here.shape, 2), np.float32)
        dis = _make_dis()
        return dis.calc(here, there, still.copy()), dis.calc(there, here, still)

    found = zip(*in_threads(match, zip(first.cpu().numpy(), second.cpu().numpy(), strict=True)), strict=True)
    there, back = (torch.from_numpy(np.stack(way)).permute(0, 3, 1, 2).to(first.device) for way in found)
    return there, back


def _make_dis() -> cv2.DISOpticalFlow:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    dis.setFinestScale(0)  # refined down to full resolution: 0.04 px off instead of 0.07 px
    return dis


def _fill_pair(field: FlowField, start: int, forward: Flow, backward: Flow) -> None:
    field.forward[start], field.backward[start] = forward, backward
    field.forward_confidence[start] = agreement(forward, backward)
    field.backward_confidence[start] = agreement(backward, forward)


def _divisor(fields: Sequence[FlowField], step: int) -> FlowField | None:
    """The longest of the fields (shortest first) that can be chained to `step`."""
    return next((field for field in reversed(fields) if step % field.step == 0), None)


def _shift_guess(first: Grey, last: Grey) -> tuple[Flow, Flow]:
    """The camera's pan, by phase correlation: DIS alone loses pans of a quarter of the frame, and finds less in any."""
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    shift, response = cv2.phaseCorrelate(first.astype(np.float32), last.astype(np.float32), window)
    there = np.zeros((*first.shape, 2), np.float32)
    if response > SURE_RESPONSE:
        there[:] = shift
    return there, -there


def _chained_guess(step: int, shorter: FlowField, start: int) -> tuple[Flow, Flow]:
    """Long ways start from the chained shorter ones: alone, DIS finds next to nothing 8 frames on in a fast pan."""
    starts = range(start, start + step, shorter.step)
    there = chain_flow([shorter.forward[i].astype(np.float32) for i in starts])
    back = chain_flow([shorter.backward[i].astype(np.float32) for i in reversed(starts)])
    return there, back


def _grid(size: Size) -> Flow:
    """Pixel (column, row) of every pixel, as `cv2.remap` counts them."""
    return np.stack(np.meshgrid(np.arange(size[0]), np.arange(size[1])), -1).astype(np.float32)


def _no_report(fraction: float) -> None:
    pass
