"""prepare: footage becomes a Clip, with flow, masks and motion."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import torch
from jaxtyping import UInt8

from layerloom import media
from layerloom.core.device import DeviceType, choose_device
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.core.imaging import resize_all
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.core.quality import check_quality, default_long_edge
from layerloom.data.array_store import ArrayStore, DamagedEntry
from layerloom.data.clip import Clip, FlowField, FlowFields, Masks, Preparation, SourceReference
from layerloom.data.clip_store import find_clip, keep_clip, open_store
from layerloom.data.selection import Selection
from layerloom.prepare.cuts import cut_notes
from layerloom.prepare.discover.objects import Discovery, discover_masks
from layerloom.prepare.flow.compute import FIELD_LONG_EDGE, FlowSource, compute_flow, pair_matcher
from layerloom.prepare.flow.long_range import distant_flow
from layerloom.prepare.key import clip_key
from layerloom.prepare.masks.files import check_objects, load_masks
from layerloom.prepare.masks.repair import complete_masks
from layerloom.prepare.masks.soft_edges import soften
from layerloom.prepare.motion import estimate_motion
from layerloom.prepare.pieces import Pieces
from layerloom.prepare.select.selected import check_selection, selected_masks

FLOW_STEPS = (1, 2, 4, 8)
DISTANT_STEPS = (16, 32)
FINDING_LONG_EDGE = 384
"""Of the frames by whose flow objects are found where that flow is not learned from as well."""
DOUBTFUL = 0.9
"""Found objects should hold at least this share of what surely moves and departs from the background."""
LONG_EDGES = range(64, 8193)
LEAST_SIDE = 12
"""Of frames as they are learned, in pixels: optical flow needs as many."""

Frames = range | tuple[int | None, int | None]
"""A part of the source, half-open, counted from 0; None stands for its beginning or end."""


@dataclass(frozen=True)
class Inputs:
    """What a clip is prepared from, checked. `used` are the source's frames, `size` is the training size."""

    info: media.MediaInfo
    used: range
    size: Size
    masks: Path | Selection | None
    flow: FlowSource
    device: DeviceType

    @property
    def source(self) -> SourceReference:
        start = self.info.timestamps[self.used.start]
        return SourceReference(
            path=self.info.path.resolve(),
            fingerprint=self.info.fingerprint,
            size=self.info.size,
            first_frame=self.used.start,
            frames=len(self.used),
            fps=self.info.fps,
            timestamps=tuple(stamp - start for stamp in self.info.timestamps[self.used.start : self.used.stop]),
            description=self.info.description,
        )


def prepare(
    footage: str | Path,
    *,
    masks: str | Path | Selection | None = None,
    reading: media.ReadOptions | None = None,
    quality: str = "standard",
    frames: Frames = (None, None),
    long_edge: int | None = None,
    flow: str | Path = "dis",
    flow_weights: str | Path | None = None,
    device: str = "auto",
    cache: str | Path | ArrayStore | None = None,
    on_progress: OnProgress = silent,
) -> Clip:
    """Read footage (a video file or a folder of images) and find its flow, masks and motion.

    masks: a folder as `load_masks` takes it, or hints from which masks are made; None finds what moves. reading: what
    the footage does not say itself: the rate of images, an EXR's layer, whether it is linear light. quality: "draft",
    "standard" or "fine"; with the device it decides the training size, and `decompose` takes it over. frames: a part of
    the source. long_edge: the
    training size's longer side in pixels, 64 to 8192; what is rendered has the source's own size all the same. flow:
    "dis", "raft" (with the official `flow_weights`) or a folder of flow files. device: "auto", "cpu" or "cuda". cache:
    the folder where prepared clips are kept, "off", or a store; by default what the environment says (`open_store`).
    What is there is not made again, and is read from the disk as it is needed.

    LayerloomError for input that will not do, and where the memory will not.
    """
    on_progress(Progress("read", 0.0))
    dial, chosen = check_quality(quality), choose_device(device)
    info = media.probe(footage, reading)
    media.check_several_frames(info)
    used, size = frame_range(info, frames), _training_size(info, long_edge, default_long_edge(dial, chosen))
    method = flow if flow in ("dis", "raft") else Path(flow)
    source = FlowSource(method, None if flow_weights is None else Path(flow_weights), chosen, used.start)
    given = Path(masks) if isinstance(masks, str | Path) else masks
    inputs = Inputs(info, used, size, given, source, chosen)
    if isinstance(given, Selection):
        check_selection(given, used, info.size)
    key = clip_key(inputs.source, size, inputs.masks, source)
    preparation = Preparation(dial, given if isinstance(given, Path) else None, str(flow), key)
    store = cache if isinstance(cache, ArrayStore) else open_store(cache)
    kept = None if store is None else _find_kept(store, inputs, key, on_progress)
    return replace(kept or _make_and_keep(store, inputs, key, on_progress), preparation=preparation)


class MasksAlone(NamedTuple):
    """Masks without anything else, at the size they were made at. names: of the footage's own files, if it has such.

    frames: small ones; used: their numbers. sure: 0…1 of each object that was found by itself.
    """

    info: media.MediaInfo
    used: range
    frames: UInt8[np.ndarray, "t h w 3"]
    flow: tuple[FlowField, ...]
    masks: Masks
    sure: tuple[float, ...] | None


def find_masks(
    footage: str | Path,
    selection: Selection | None = None,
    *,
    reading: media.ReadOptions | None = None,
    frames: Frames = (None, None),
    long_edge: int | None = None,
    on_progress: OnProgress = silent,
) -> MasksAlone:
    """Masks of the selection's objects, or of what is found without one; no learning follows.

    reading, frames: see `prepare`. long_edge: of the frames that are looked at. LayerloomError for input that will
    not do.
    """
    on_progress(Progress("read", 0.0))
    info = media.probe(footage, reading)
    media.check_several_frames(info)
    used, size = frame_range(info, frames), _training_size(info, long_edge, default_long_edge("standard", "cpu"))
    inputs = Inputs(info, used, size, selection, FlowSource("dis", None, "cpu", used.start), "cpu")
    if selection is not None:
        check_selection(selection, used, info.size)
    _check_memory(len(used), size, info.path)
    images = _read_frames(inputs, on_progress)
    fields = compute_flow(images, FLOW_STEPS, inputs.flow, progress=_tell_share(on_progress, "flow"))
    on_progress(Progress("masks", 0.0))
    sure = None
    if selection is None:
        found = discover_masks(images, fields, "cpu")
        for message in _said_of(found):
            on_progress(Progress("masks", 1.0, message=message))
        masks, sure = found.masks, tuple(found.sureness)
    else:
        told = _tell_share(on_progress, "masks")
        masks = selected_masks(images, fields, selection, (info.size, used.start), on_share=told)
    return MasksAlone(info, used, images, fields, masks, sure)


def soft_masks(made: MasksAlone) -> MasksAlone:
    """With outlines as soft as the clip shows them."""
    if not made.masks.names:
        return made
    motion = estimate_motion(made.flow, made.masks)
    return made._replace(masks=soften(made.masks, made.frames, motion))


def _find_kept(store: ArrayStore, inputs: Inputs, key: str, on_progress: OnProgress) -> Clip | None:
    """As it was kept; None where it was not, or is damaged, which is said."""
    try:
        found = find_clip(store, key, inputs.source)
    except DamagedEntry as damage:
        on_progress(Progress("read", 0.0, message=f"the kept clip is damaged and made anew: {damage}"))
        return None
    if found is None:
        return None
    clip, notes = found
    for message in ("prepared before, and taken from the cache", *notes):
        on_progress(Progress("read", 1.0, message=message))
    return clip


def _make_and_keep(store: ArrayStore | None, inputs: Inputs, key: str, on_progress: OnProgress) -> Clip:
    pieces = Pieces(store, key, str(inputs.info.path), on_progress)
    clip = _make_clip(inputs, pieces)
    if store is None:
        return clip
    try:
        clip = keep_clip(store, key, clip, pieces.notes)
    except (LayerloomError, OSError) as error:
        on_progress(Progress("motion", 1.0, message=f"the prepared clip is not kept: {error}"))
    pieces.drop()
    return clip


def _make_clip(inputs: Inputs, pieces: Pieces) -> Clip:
    """Read; then find flow, masks and motion, each a piece that is not found again where it was kept."""
    warming = _start_warming_up(inputs.size, inputs.device)
    _check_memory(len(inputs.used), inputs.size, inputs.info.path)
    images = _read_frames(inputs, pieces.report)
    notes = [*inputs.info.notes, *cut_notes(images, inputs.used.start)]
    given = _given_masks(inputs, notes)
    steps = (*FLOW_STEPS, *DISTANT_STEPS)
    out = FlowFields.empty(steps, len(images), fit_long_edge(inputs.size, FIELD_LONG_EDGE))
    tell = partial(_tell_share, pieces.report)
    pieces.report(Progress("flow", 0.0))
    fields = pieces.flow(out, lambda: compute_flow(images, FLOW_STEPS, inputs.flow, out.fields, tell("flow")))
    # Only now is it sure that the inputs will do: a refusal is a single line.
    for note in notes:
        pieces.report(Progress("flow", 1.0, message=note))
    pieces.report(Progress("masks", 0.0))
    if given is None:
        warming.join()  # what it does draws from the generator that objects are found with, too
    found = pieces.masks(lambda: _masks_of(inputs, given, images, fields, pieces.report))
    pieces.report(Progress("motion", 0.0))
    motion = pieces.motion(lambda: estimate_motion(fields, found))
    # Matching far frames keeps a GPU busy, outlines the cores.
    with ThreadPoolExecutor(1) as beside:
        softened = None if inputs.masks is None else beside.submit(soften, found, images, motion)
        far = [field for field in out.fields if field.step in DISTANT_STEPS]
        if fields[0].size != out.size:
            far = FlowFields.empty(DISTANT_STEPS, len(images), fields[0].size).fields
        distant_flow(images, found, motion, far, pair_matcher(inputs.flow), tell("motion"))
        masks = softened.result() if softened else found
    if warming.is_alive():
        pieces.report(Progress("motion", 1.0, message="the GPU's kernels are being compiled; next time they are there"))
        warming.join()
    return Clip(images, masks, _together(out, (*fields, *far)), motion, inputs.source)


def _tell_share(on_progress: OnProgress, stage: str) -> Callable[[float], None]:
    return lambda done: on_progress(Progress(stage, done))


def _given_masks(inputs: Inputs, notes: list[str]) -> Masks | None:
    if not isinstance(inputs.masks, Path):
        return None
    return load_masks(inputs.masks, inputs.used, inputs.size, inputs.info.frames, inputs.info.names, notes.append)


def _masks_of(
    inputs: Inputs,
    given: Masks | None,
    images: UInt8[np.ndarray, "t h w 3"],
    fields: tuple[FlowField, ...],
    on_progress: OnProgress,
) -> Masks:
    """Given ones made whole, or made from hints, or found."""
    if given is not None:
        return complete_masks(given, images, fields)
    if inputs.masks is None:
        return _found_masks(images, fields, inputs.flow.method, inputs.device, on_progress)
    assert isinstance(inputs.masks, Selection)
    source = inputs.info.size, inputs.used.start
    told = _tell_share(on_progress, "masks")
    made = selected_masks(images, fields, inputs.masks, source, inputs.device, told)
    check_objects("selection", made)
    return made


def _together(out: FlowFields, fields: tuple[FlowField, ...]) -> FlowFields:
    """`out`, where it holds all fields: those of files may be of another size, or lack a step."""
    filled, wanted = ([(field.step, field.size) for field in some] for some in (fields, out.fields))
    return out if filled == wanted else FlowFields.of(fields, out.vectors.shape[2])


def _found_masks(
    images: UInt8[np.ndarray, "t h w 3"],
    fields: tuple[FlowField, ...],
    flow: str | Path,
    device: str,
    on_progress: OnProgress,
) -> Masks:
    """Masks from motion; what was found is said.

    RAFT's flow runs on beyond outlines, and sees thin things near the camera move as surely as objects do. What moves
    is told better by DIS.
    """
    if flow == "raft":
        small = resize_all(images, fit_long_edge((images.shape[2], images.shape[1]), FINDING_LONG_EDGE))
        fields = compute_flow(small, FLOW_STEPS)
    found = discover_masks(images, fields, device)
    for message in _said_of(found):
        on_progress(Progress("masks", 1.0, message=message))
    return found.masks


def _said_of(found: Discovery) -> list[str]:
    """What was found, how large and how sure; and where that is nothing, or doubtful."""
    if not found.masks.names:
        return ["nothing moves against the camera: one background layer; masks can tell of objects"]
    shares = [float(coverage.mean()) / 255 for coverage in found.masks.coverage]
    each = zip(found.masks.names, shares, found.sureness, strict=True)
    said = ["found " + ", ".join(f"{name} ({share:.1%} of the frame, {sure:.0%} sure)" for name, share, sure in each)]
    if found.explained < DOUBTFUL:
        missed = f"doubtful masks: {1 - found.explained:.0%} of what moves is in no object"
        said.append(f"{missed}; look at the mattes, or give masks")
    return said


def _training_size(info: media.MediaInfo, long_edge: int | None, usual: int) -> Size:
    if long_edge is not None and long_edge not in LONG_EDGES:
        allowed = f"allowed are {LONG_EDGES.start} to {LONG_EDGES.stop - 1} pixels"
        raise LayerloomError(f"long edge {long_edge}: {allowed}", "long_edge")
    size = fit_long_edge(info.size, long_edge or usual)
    if min(size) < LEAST_SIDE:
        at_size = "" if size == info.size else f" ({size[0]}x{size[1]} for learning)"
        raise LayerloomError(
            f"{info.path}: {info.size[0]}x{info.size[1]} pixels{at_size}; at least {LEAST_SIDE} a side are needed",
            "long_edge",
        )
    return size


def frame_range(info: media.MediaInfo, frames: Frames) -> range:
    bounds = (frames.start, frames.stop) if isinstance(frames, range) else frames
    first, end = bounds[0] or 0, info.frames if bounds[1] is None else bounds[1]
    if (isinstance(frames, range) and frames.step != 1) or not 0 <= first < end <= info.frames:
        raise LayerloomError(f"frames {first}:{end}: {info.path} holds frames 0:{info.frames}", "frames")
    if end - first < 2:
        raise LayerloomError(f"frames {first}:{end}: at least 2 frames are needed", "frames")
    return range(first, end)


def _read_frames(inputs: Inputs, on_progress: OnProgress) -> UInt8[np.ndarray, "t h w 3"]:
    info, used, (width, height) = inputs.info, inputs.used, inputs.size
    images = np.empty((len(used), height, width, 3), np.uint8)
    for index, frame in enumerate(
        media.read_frames(info.path, used.start, used.stop, inputs.size, options=info.description.options)
    ):
        images[index] = frame if frame.dtype == np.uint8 else media.quantise(media.to_float(frame), 8)
        on_progress(Progress("read", (index + 1) / len(used)))
    return images


def _start_warming_up(size: Size, device: DeviceType) -> threading.Thread:
    """A GPU takes a second or more to be ready, and so do the kernels of training; meanwhile the clip is prepared."""

    def run() -> None:
        from layerloom.train.warm_up import warm_up

        # What goes wrong here goes wrong again where it can be said, when training starts.
        with suppress(RuntimeError):
            warm_up(size, torch.device(device))

    warming = threading.Thread(target=run if device == "cuda" else lambda: None)
    warming.start()
    return warming


def _check_memory(frames: int, size: Size, path: Path) -> None:
    """Raise LayerloomError where the host has not the memory for a clip of two objects; see docs/commands.md.

    Bytes a pixel and frame: 3 of the frames; of each object given mask, trust, their completed versions and where
    alpha starts, 5; the least trust of them, 1. And flow with confidence, 5 bytes both ways over all steps, at its own
    size. And a GiB for PyTorch and the layers' grids.
    """
    flow_size = fit_long_edge(size, FIELD_LONG_EDGE)
    flow_bytes = 5 * 2 * len(FLOW_STEPS + DISTANT_STEPS) * frames * flow_size[0] * flow_size[1]
    needed = frames * size[0] * size[1] * (3 + 2 * 5 + 1) + flow_bytes + 2**30
    available = psutil.virtual_memory().available
    if needed > available:
        raise LayerloomError(
            f"{path}: {frames} frames at {size[0]}x{size[1]} need about {needed / 2**30:.1f} GiB of memory, "
            f"{available / 2**30:.1f} GiB are free; learn smaller, or fewer frames",
            *("long_edge", "frames"),
        )
