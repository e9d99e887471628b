"""The two verbs: `prepare` turns footage into a Clip, `decompose` turns a Clip into a Project."""

import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from layerloom import media
from layerloom.bake.bake import bake
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.core.imaging import resize_all
from layerloom.core.progress import OnReport, Report
from layerloom.data.clip import Clip, FlowField, FlowFields, Masks, SourceReference
from layerloom.data.project import Project
from layerloom.model.storage import field_to_arrays
from layerloom.ops.dispatch import kernel_report
from layerloom.prepare.discover.objects import discover_masks
from layerloom.prepare.flow.compute import FIELD_LONG_EDGE, FlowSource, compute_flow, pair_matcher
from layerloom.prepare.flow.long_range import distant_flow
from layerloom.prepare.masks.files import load_masks
from layerloom.prepare.masks.repair import complete_masks
from layerloom.prepare.masks.soft_edges import soften
from layerloom.prepare.motion import estimate_motion
from layerloom.train.settings import Quality, TrainSettings, settings_for
from layerloom.train.trainer import Trainer
from layerloom.train.warm_up import warm_up

FLOW_STEPS = (1, 2, 4, 8)
DISTANT_STEPS = (16, 32)
FINDING_LONG_EDGE = 384
"""Of the frames by whose flow objects are found where that flow is not learned from as well."""
CHECKPOINT_SECONDS = 60.0
DOUBTFUL = 0.9
"""Found objects should hold at least this share of what surely moves and departs from the background."""


def choose_device(name: str) -> torch.device:
    """ "auto", "cpu" or "cuda" to a device. LayerloomError when there is no such device here."""
    if name not in ("auto", "cpu", "cuda"):
        raise LayerloomError(f"device '{name}': allowed are auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise LayerloomError("device 'cuda': PyTorch finds no CUDA GPU here; allowed are auto, cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def default_long_edge(quality: Quality, device: torch.device) -> int:
    """Training size: what is learned in minutes on a CPU; the footage's own size, up to 1080p, on a GPU."""
    if device.type == "cpu":
        return {"draft": 384, "standard": 640, "fine": 960}[quality]
    return {"draft": 960, "standard": 1920, "fine": 4096}[quality]


def prepare(
    footage: Path,
    *,
    masks: Path | None = None,
    frames: tuple[int | None, int | None] = (None, None),
    long_edge: int = 640,
    flow: str | Path = "dis",
    flow_weights: Path | None = None,
    device: torch.device,
    on_report: OnReport = lambda report: None,
) -> Clip:
    """Read footage (a video file or a folder of images) and find flow, masks and motion.

    `masks` as `load_masks` takes them; None finds moving objects. `frames` = (first, end), half-open, of the source.
    `flow` is "dis", "raft" (with `flow_weights`) or a folder of flow files. LayerloomError for input that will not do.
    """
    on_report(Report("read", 0.0))
    info = media.probe(footage)
    media.check_several_frames(info)
    used = _frame_range(info, frames)
    size = fit_long_edge(info.size, long_edge)
    waking = _wake(size, device)
    _check_memory(len(used), size, info.path)
    images = _read_frames(info.path, used, size, on_report)
    given = load_masks(masks, used, size, info.frames) if masks is not None else None
    out = FlowFields.empty((*FLOW_STEPS, *DISTANT_STEPS), len(used), fit_long_edge(size, FIELD_LONG_EDGE))
    source = FlowSource(flow, flow_weights, device.type, used.start)
    fields = compute_flow(images, FLOW_STEPS, source, out.fields, lambda done: on_report(Report("flow", done)))
    on_report(Report("masks", 0.0))
    if given is None:
        waking.join()  # what it does draws from the generator that objects are found with, too
    found = _found_masks(images, fields, flow, on_report) if given is None else complete_masks(given, images, fields)
    del given
    on_report(Report("motion", 0.0))
    motion = estimate_motion(fields, found)
    # Matching far frames keeps a GPU busy, outlines the cores.
    with ThreadPoolExecutor(1) as beside:
        softened = beside.submit(soften, found, images, motion) if masks is not None else None
        far = [field for field in out.fields if field.step in DISTANT_STEPS]
        if fields[0].size != out.size:
            far = FlowFields.empty(DISTANT_STEPS, len(used), fields[0].size).fields
        matcher = pair_matcher(source)
        distant_flow(images, found, motion, far, matcher, lambda done: on_report(Report("motion", done)))
        found = softened.result() if softened else found
    if waking.is_alive():
        compiling = "the GPU's kernels are being compiled; next time they are there"
        on_report(Report("motion", 1.0, message=compiling))
        waking.join()
    return Clip(images, found, _together(out, (*fields, *far)), motion, _source(info, used))


def _together(out: FlowFields, fields: tuple[FlowField, ...]) -> FlowFields:
    """`out`, where it holds all fields: those of files may be of another size, or lack a step."""
    filled, wanted = ([(field.step, field.size) for field in some] for some in (fields, out.fields))
    return out if filled == wanted else FlowFields.of(fields, out.vectors.shape[2])


def _found_masks(images: np.ndarray, fields: tuple[FlowField, ...], flow: str | Path, on_report: OnReport) -> Masks:
    """Masks from motion; where they are none, or doubtful, it is said.

    RAFT's flow runs on beyond outlines, and sees thin things near the camera move as surely as objects do. What moves
    is told better by DIS.
    """
    if flow == "raft":
        small = resize_all(images, fit_long_edge((images.shape[2], images.shape[1]), FINDING_LONG_EDGE))
        fields = compute_flow(small, FLOW_STEPS)
    masks, explained = discover_masks(images, fields)
    if not masks.names:
        nothing = "nothing moves against the camera: one background layer; --masks tells of objects"
        on_report(Report("masks", 1.0, message=nothing))
    elif explained < DOUBTFUL:
        missed = f"doubtful masks: {1 - explained:.0%} of what moves is in no object"
        on_report(Report("masks", 1.0, message=f"{missed}; look at the mattes, or give --masks"))
    return masks


def decompose(
    clip: Clip,
    out: Path,
    *,
    quality: Quality = "standard",
    device: torch.device,
    seed: int = 0,
    resume: bool = False,
    settings: TrainSettings | None = None,
    provenance: dict[str, Any] | None = None,
    on_report: OnReport = lambda report: None,
) -> Project:
    """Learn the clip's layers and store them at `out`, complete or not at all.

    Interrupted, it leaves `out`.partial, from which `resume=True` goes on. LayerloomError where `out` exists, or where
    there is nothing to resume. The clip's flow, most of its memory, is let go of as soon as it is no longer needed:
    hand the clip over without keeping it to have that memory free.
    """
    check_new_project(out, resume)
    _check_disk(clip, out)
    settings = settings or settings_for(quality, device.type, seed)
    partial = _partial(out)
    key = _resume_key(clip, settings)
    if resume and (partial / "settings.json").read_text(encoding="utf-8") != key:
        raise LayerloomError(
            f"{partial}: was begun with other footage or settings; repeat those, or start without --resume"
        )
    on_report(Report("train", 0.0))
    started = time.perf_counter()
    trainer = Trainer(clip, settings, device)
    # A GPU has its own copy by now, and what the caller does not hold either is free.
    clip = clip.without_flow()
    if resume:
        trainer.load(partial / "checkpoint.safetensors")
    try:
        _train(trainer, partial, key, on_report)
        trained = time.perf_counter()
        trainer.forget_clip()
        on_report(Report("bake", 0.0))
        layers, psnr = bake(
            trainer.field, clip, lambda: _source_frames(clip), device, lambda done: on_report(Report("bake", done))
        )
    except KeyboardInterrupt:
        _store_checkpoint(trainer, partial, key)
        raise
    baked = time.perf_counter()
    on_report(Report("store", 0.0))
    project = Project.create(
        out,
        clip.source,
        clip.size,
        layers,
        field_to_arrays(trainer.field),
        settings={"quality": quality, "device": device.type, **asdict(settings)},
        provenance={**_provenance(device), **(provenance or {})},
        figures={
            "psnr": float(np.mean(psnr)),
            "psnr_per_frame": psnr,
            "train_seconds": trained - started,
            "bake_seconds": baked - trained,
            "history": [asdict(progress) for progress in trainer.history],
        },
    )
    shutil.rmtree(partial, ignore_errors=True)
    on_report(Report("store", 1.0))
    return project


def check_new_project(out: Path, resume: bool = False) -> None:
    """Raise LayerloomError early if a project cannot be written to `out`, or if there is nothing to resume."""
    folder = out.absolute().parent
    if out.exists():
        raise LayerloomError(f"{out}: exists already; remove it or choose another --out")
    if not folder.is_dir():
        raise LayerloomError(f"{folder}: the output's folder does not exist")
    if not os.access(folder, os.W_OK):
        raise LayerloomError(f"{folder}: no permission to write there")
    if resume and not is_resumable(out):
        raise LayerloomError(f"{_partial(out)}: nothing to resume; start without --resume")


def is_resumable(out: Path) -> bool:
    """Whether an interrupted run left something from which a project at `out` can be finished."""
    return all((_partial(out) / name).is_file() for name in ("settings.json", "checkpoint.safetensors"))


def _partial(out: Path) -> Path:
    return out.with_name(out.name + ".partial")


def _train(trainer: Trainer, partial: Path, key: str, on_report: OnReport) -> None:
    """Run to the end, and store a checkpoint every minute."""
    stored = time.perf_counter()
    for progress in trainer.run():
        on_report(Report("train", progress.step / progress.steps, psnr=progress.psnr))
        if time.perf_counter() - stored > CHECKPOINT_SECONDS:
            _store_checkpoint(trainer, partial, key)
            stored = time.perf_counter()


def _store_checkpoint(trainer: Trainer, partial: Path, key: str) -> None:
    partial.mkdir(exist_ok=True)
    (partial / "settings.json").write_text(key, encoding="utf-8")
    trainer.save(partial / "checkpoint.safetensors")


def _resume_key(clip: Clip, settings: TrainSettings) -> str:
    """What must be equal for a checkpoint to fit."""
    source = clip.source
    return json.dumps(
        {
            "fingerprint": source.fingerprint,
            "frames": [source.first_frame, source.frames],
            "size": clip.size,
            "layers": clip.layer_names,
            "settings": asdict(settings),
        },
        indent=1,
    )


def _frame_range(info: media.MediaInfo, frames: tuple[int | None, int | None]) -> range:
    first, end = frames[0] or 0, info.frames if frames[1] is None else frames[1]
    if not 0 <= first < end <= info.frames:
        raise LayerloomError(f"--frames {first}:{end}: {info.path} holds frames 0:{info.frames}")
    if end - first < 2:
        raise LayerloomError(f"--frames {first}:{end}: at least 2 frames are needed")
    return range(first, end)


def _source(info: media.MediaInfo, used: range) -> SourceReference:
    start = info.timestamps[used.start]
    return SourceReference(
        path=info.path.resolve(),
        fingerprint=info.fingerprint,
        size=info.size,
        first_frame=used.start,
        frames=len(used),
        fps=info.fps,
        timestamps=tuple(stamp - start for stamp in info.timestamps[used.start : used.stop]),
    )


def _read_frames(path: Path, used: range, size: Size, on_report: OnReport) -> np.ndarray:
    images = np.empty((len(used), size[1], size[0], 3), np.uint8)
    for index, frame in enumerate(media.read_frames(path, used.start, used.stop, size)):
        images[index] = frame if frame.dtype == np.uint8 else media.quantise(media.to_float(frame), 8)
        on_report(Report("read", (index + 1) / len(used)))
    return images


def _source_frames(clip: Clip) -> Iterator[np.ndarray]:
    """The clip's frames at source size; those in memory will do where they are that size and as deep."""
    if clip.size == clip.source.size and media.probe(clip.source.path).bit_depth == 8:
        return iter(clip.frames)
    first = clip.source.first_frame
    return media.read_frames(clip.source.path, first, first + clip.source.frames)


def _wake(size: Size, device: torch.device) -> threading.Thread:
    """A GPU takes a second or more to be ready, and so do the kernels of training; meanwhile the clip is prepared."""

    def wake() -> None:
        # What goes wrong here goes wrong again where it can be said, when training starts.
        with suppress(RuntimeError):
            if device.type == "cuda":
                warm_up(size, device)

    waking = threading.Thread(target=wake)
    waking.start()
    return waking


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
            f"{available / 2**30:.1f} GiB are free; use --long-edge or --frames to take less"
        )


def _check_disk(clip: Clip, out: Path) -> None:
    """Alphas, uv grids (4 bytes a node, at their finest one for 2 × 2 training pixels) and lighting as stored, 16-bit
    textures of about twice the frame, weights with Adam's moments.
    """
    width, height = clip.source.size
    layers = len(clip.layer_names)
    uv_grids = layers * clip.frames[..., 0].size
    needed = clip.masks.coverage.size + uv_grids + layers * (len(clip.frames) * 2**18 + 16 * width * height) + 2**29
    free = shutil.disk_usage(out.resolve().parent).free
    if needed > free:
        raise LayerloomError(
            f"{out}: needs about {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free there; "
            "make room, or use --frames to take less"
        )


def _provenance(device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "layerloom": _version(),
        "torch": torch.__version__,
        "device": name,
        "kernels": kernel_report(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _version() -> str:
    """Run from its source without having been installed, the package has no version."""
    try:
        return version("layerloom")
    except PackageNotFoundError:
        return "source"
