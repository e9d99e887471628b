"""Flow that lies in files: Middlebury `.flo`, or `.npy` (h w 2, x first, float).

    DIR/forward_00000.flo           on frame 0, points to frame 1 (`first_frame` of the footage counts, too)
    DIR/backward_00001.flo          on frame 1, points to frame 0
    DIR/step2/forward_00000.flo     on frame 0, points to frame 2; its partner is step2/backward_00002.flo

Fields may be smaller than the frames, all of one size, in pixels of their own size. Step 1 must be complete; longer
steps are read where their folders exist.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.data.clip import FlowField
from layerloom.prepare.flow.consistency import LONGEST_PIXELS, Flow, enter_pair, take_field


def read_flow(
    directory: Path,
    frames: int,
    size: Size,
    steps: Sequence[int],
    first_frame: int = 0,
    out: Sequence[FlowField] = (),
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
        field = take_field(out, step, frames, (width, height))
        _fill_from_files(field, forward, backward)
        fields.append(field)
    return tuple(fields)


def _fill_from_files(field: FlowField, forward: Sequence[Flow], backward: Sequence[Flow]) -> None:
    """Unknown flow (not finite, or huge as Middlebury marks it) becomes 0 with confidence 0."""
    for start, both_ways in enumerate(zip(forward, backward, strict=True)):
        there, back = (np.where(np.abs(flow) < LONGEST_PIXELS, flow, np.float32(np.nan)) for flow in both_ways)
        enter_pair(field, start, there, back)
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
    except Exception as error:  # its header is parsed as Python's literals are: any of its errors may come
        raise LayerloomError(f"{path}: not a NumPy array file, or cut short") from error
    if flow.ndim != 3 or flow.shape[2] != 2 or flow.size == 0 or flow.dtype.kind != "f":
        raise LayerloomError(
            f"{path}: an array {flow.shape} of {flow.dtype}; flow is (height, width, 2), floating point"
        )
    return flow.astype(np.float32)
