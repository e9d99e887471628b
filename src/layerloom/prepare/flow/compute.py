"""Optical flow between frames near and far, both ways, with a confidence from their agreement.

Three sources: DIS on any machine (`dis`), RAFT with the user's weights (`raft`), or files (`files`).

Fields have at most FIELD_LONG_EDGE pixels, so they may be smaller than the frames. DIS works at this size; RAFT, which
finds flow at an eighth of what it looks at, looks at up to MATCH_LONG_EDGE. Flow is kept in half precision: at worst
0.03 px off for displacements below 128 px, 0.05 % of longer ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import fit_long_edge
from layerloom.core.imaging import resize_all
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.consistency import take_field
from layerloom.prepare.flow.dis import FlowImages, Pictures, dis_fields, dis_pairs
from layerloom.prepare.flow.files import read_flow
from layerloom.prepare.flow.raft import RaftMatcher, RaftPairs, raft_fields
from layerloom.prepare.flow.raft_network import load_raft

FIELD_LONG_EDGE = 768
MATCH_LONG_EDGE = 1024


@dataclass(frozen=True)
class FlowSource:
    """Where flow comes from. method: "dis", "raft" (needs `weights`, the official raft-small state dict) or a folder of
    flow files, in which the first frame has the number `first_frame`. device: where RAFT runs, "cpu" or "cuda"."""

    method: str | Path = "dis"
    weights: Path | None = None
    device: str = "cpu"
    first_frame: int = 0


DIS = FlowSource()


def compute_flow(
    frames: UInt8[np.ndarray, "t h w 3"],
    steps: Sequence[int] = (1, 2, 4, 8),
    source: FlowSource = DIS,
    out: Sequence[FlowField] = (),
    progress: Callable[[float], None] = lambda done: None,
) -> tuple[FlowField, ...]:
    """One `FlowField` per step that fits into the clip, shortest first; one of `out` if it is of this step and size.

    `progress` is told the fraction done. LayerloomError for bad weights or files.
    """
    steps = sorted({step for step in steps if 0 < step < len(frames)})
    full = (frames.shape[2], frames.shape[1])
    if source.method not in ("dis", "raft"):
        return read_flow(Path(source.method), len(frames), full, steps, source.first_frame, out)
    size = fit_long_edge(full, FIELD_LONG_EDGE)
    fields = [take_field(out, step, len(frames), size) for step in steps]
    if source.method == "dis":
        return dis_fields(resize_all(frames, size), fields, progress)
    if source.weights is None:
        raise LayerloomError("RAFT needs its weights: the official raft-small.pth", "flow_weights")
    matched = resize_all(frames, fit_long_edge(full, MATCH_LONG_EDGE))
    return raft_fields(RaftMatcher(matched, load_raft(source.weights), source.device, size), fields, progress)


@dataclass(frozen=True)
class PairMatcher:
    """Matches pictures pairwise: flow there and back of each pair, on the device where the pictures should be."""

    match: Callable[[Pictures, Pictures], tuple[FlowImages, FlowImages]]
    device: torch.device


def pair_matcher(source: FlowSource = DIS) -> PairMatcher:
    """What matches pictures that look at much the same: RAFT on a GPU where that is the method, else DIS.

    DIS is as exact there, and on a CPU a hundred times as fast.
    """
    device = torch.device(source.device)
    if source.method != "raft" or source.weights is None or device.type == "cpu":
        return PairMatcher(dis_pairs, device)
    return PairMatcher(RaftPairs(load_raft(source.weights), source.device), device)
