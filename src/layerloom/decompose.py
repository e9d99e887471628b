"""decompose: a Clip becomes a Project: learned, baked, stored."""

import contextlib
import os
import platform
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from layerloom import media
from layerloom.bake.bake import bake
from layerloom.core.atomic import clean_once, lock_file, only_writer
from layerloom.core.device import choose_device
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.core.quality import check_quality
from layerloom.data.clip import Clip
from layerloom.data.layer_store import BakedLayer
from layerloom.data.project import Project
from layerloom.data.shot_set import PlannedShot, ShotSet, shot_name, write_shots
from layerloom.model.field import LayeredField
from layerloom.model.storage import field_to_arrays
from layerloom.ops.dispatch import kernel_report
from layerloom.train.checkpoint import Checkpoint, checkpoint_folder, is_resumable, resume_key
from layerloom.train.settings import TrainSettings, settings_for
from layerloom.train.trainer import Trainer

CHECKPOINT_SECONDS = {"cpu": 30.0, "cuda": 10.0}
"""At most so much work is lost when a run is killed."""
LEAST_DISK_BYTES = 2**29
"""Of weights with Adam's moments, however small the clip."""

OnField = Callable[[LayeredField], None]


def _unseen(field: LayeredField) -> None:
    """Nobody looks."""


def decompose(
    clip: Clip | Callable[[], Clip],
    out: str | Path,
    *,
    quality: str | None = None,
    device: str = "auto",
    seed: int = 0,
    resume: bool = False,
    settings: TrainSettings | None = None,
    on_progress: OnProgress = silent,
    on_field: OnField = _unseen,
) -> Project:
    """Learn a clip's layers and store them at `out`, complete or not at all.

    clip: what `prepare` made, or a function that makes it, which is called once `out` is known to be free. Then nobody
    else holds the clip's flow, most of its memory, which is let go of as soon as it is no longer needed. quality:
    "draft", "standard" or "fine", how long to learn; by default what the clip was prepared for. device: "auto", "cpu"
    or "cuda". seed: of everything random. settings: instead of those that quality, device and seed stand for. on_field:
    is shown what is being learned about twice a second, between two steps, on the caller's thread.

    Interrupted, it leaves `out`.partial, from which `resume=True` goes on. LayerloomError where `out` exists or cannot
    be written, or where there is nothing to resume.
    """
    out, chosen = Path(out), choose_device(device)
    with _reserved(out, resume):
        clip = clip if isinstance(clip, Clip) else clip()
        _check_disk(clip, out)
        dial = check_quality(quality or (clip.preparation.quality if clip.preparation else "standard"))
        settings = settings or settings_for(dial, chosen, seed)
        checkpoint = Checkpoint(out, resume_key(clip, settings))
        on_progress(Progress("train", 0.0))
        trainer = Trainer(clip, settings, torch.device(chosen))
        # A GPU has its own copy by now, and what the caller does not hold either is free.
        clip = clip.without_flow()
        if resume and is_resumable(out):
            checkpoint.load(trainer)
        seconds = _train(trainer, checkpoint, on_progress, on_field)
        layers, figures = _bake(trainer, clip, on_progress)
        on_progress(Progress("store", 0.0))
        project = Project.create(
            out,
            clip.source,
            clip.size,
            layers,
            field_to_arrays(trainer.field),
            settings={"quality": dial, "device": chosen, **asdict(settings)},
            provenance=_provenance(clip, trainer.device),
            figures={**figures, "train_seconds": seconds},
        )
        checkpoint.remove()
    on_progress(Progress("store", 1.0))
    return project


def decompose_shots(
    make_clip: Callable[[range], Clip],
    shots: Sequence[PlannedShot],
    out: str | Path,
    *,
    resume: bool = False,
    learn: Callable[..., Project] = decompose,
    on_progress: OnProgress = silent,
) -> ShotSet:
    """Learn each shot of a film as a project of its own, in one set at `out`, complete or not at all.

    make_clip: prepares frames of the source. learn: `decompose`, with all that it is to be told beside the clip and the
    place. With `resume`, shots that are finished stay as they are. LayerloomError as `decompose`.
    """
    out = Path(out)
    filling = checkpoint_folder(out)
    with _reserved(out, resume):
        for index, shot in enumerate(shots):
            frames, place = shot.frames, filling / shot_name(index)
            line = f"shot {index} ({index + 1} of {len(shots)}): frames {frames.start} to {frames.stop - 1}"
            on_progress(Progress("start", 0.0, message=line))
            if not resume:
                shutil.rmtree(place, ignore_errors=True)
            elif place.exists():
                if Project.open(place).source_range != frames:
                    raise LayerloomError(f"{place}: was begun with other frames; repeat those, or start anew", "resume")
                continue
            goes_on = resume and checkpoint_folder(place).is_dir()
            learn(partial(make_clip, frames), place, resume=goes_on, on_progress=on_progress)
        write_shots(filling, shots)
        filling.rename(out)
    return ShotSet.open(out)


def check_new_project(out: Path, resume: bool = False) -> None:
    """Raise LayerloomError early if a project cannot be written to `out`, or if there is nothing to resume."""
    folder = out.absolute().parent
    if out.exists():
        raise LayerloomError(f"{out}: exists already; remove it or choose another place", "out")
    if not folder.is_dir():
        raise LayerloomError(f"{folder}: the output's folder does not exist", "out")
    if not os.access(folder, os.W_OK):
        raise LayerloomError(f"{folder}: no permission to write there", "out")
    if resume and not checkpoint_folder(out).is_dir():
        raise LayerloomError(f"{checkpoint_folder(out)}: nothing to resume; start anew", "resume")
    _check_room(out, LEAST_DISK_BYTES)


@contextlib.contextmanager
def _reserved(out: Path, resume: bool) -> Generator[None]:
    """`out` as a free place that nobody else is about to fill. LayerloomError where it is not."""
    check_new_project(out, resume)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_writer(lock_file(out)))
        except BlockingIOError:
            raise LayerloomError(
                f"{out}: another run is making this project; wait for it, or choose another place", "out"
            ) from None
        check_new_project(out, resume)  # what ran until now may have made it
        clean_once(out.absolute().parent)
        # There from the beginning, so that what was killed can be resumed, however far it had come.
        with contextlib.suppress(OSError):
            checkpoint_folder(out).mkdir(exist_ok=True)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                checkpoint_folder(out).rmdir()  # unless there is something in it


def _train(trainer: Trainer, checkpoint: Checkpoint, on_progress: OnProgress, on_field: OnField) -> float:
    """Run to the end, with checkpoints now and then, when interrupted and at the end. Returns the seconds it took."""
    started = stored = time.perf_counter()
    checkpoint.keep_room(trainer)

    def tell(line: str) -> None:
        on_progress(Progress("train", trainer.step / trainer.schedule.steps, message=line))

    def save() -> None:
        trainer.settle()
        try:
            checkpoint.save(trainer)
        except OSError as error:
            tell(f"a checkpoint could not be written: {error.strerror or error}; learning goes on")

    try:
        for record in trainer.run(tell):
            on_progress(Progress("train", record.step / record.steps, psnr_db=record.psnr))
            on_field(trainer.field)
            if time.perf_counter() - stored > CHECKPOINT_SECONDS[trainer.device.type]:
                save()
                stored = time.perf_counter()
    finally:
        if trainer.is_between_steps and trainer.step:
            save()
        checkpoint.remove_room()
    return time.perf_counter() - started


def _bake(trainer: Trainer, clip: Clip, on_progress: OnProgress) -> tuple[Sequence[BakedLayer], dict[str, Any]]:
    """The layers, and figures of how they were learned."""
    started = time.perf_counter()
    trainer.forget_clip()
    on_progress(Progress("bake", 0.0))

    def report(done: float) -> None:
        on_progress(Progress("bake", done))

    layers, psnr = bake(trainer.field, clip, lambda: _source_frames(clip), trainer.device, report)
    return layers, {
        "psnr": float(np.mean(psnr)),
        "psnr_per_frame": psnr,
        "bake_seconds": time.perf_counter() - started,
        "history": [asdict(record) for record in trainer.history],
    }


def _source_frames(clip: Clip) -> Iterator[np.ndarray]:
    """The clip's frames at source size; those in memory will do where they are that size and as deep."""
    if clip.size == clip.source.size and media.probe(clip.source.path, clip.source.options).bit_depth == 8:
        return iter(clip.frames)
    first = clip.source.first_frame
    return media.read_frames(clip.source.path, first, first + clip.source.frames, options=clip.source.options)


def _check_disk(clip: Clip, out: Path) -> None:
    """Alphas, uv grids (4 bytes a node, at their finest one for 2 × 2 training pixels) and lighting as stored, 16-bit
    textures of about twice the frame, weights with Adam's moments.
    """
    width, height = clip.source.size
    layers = len(clip.layer_names)
    uv_grids = layers * clip.frames[..., 0].size
    needed = (
        LEAST_DISK_BYTES
        + clip.masks.coverage.size
        + uv_grids
        + layers * (len(clip.frames) * 2**18 + 16 * width * height)
    )
    _check_room(out, needed)


def _check_room(out: Path, needed: int) -> None:
    free = shutil.disk_usage(out.resolve().parent).free
    if needed > free:
        raise LayerloomError(
            f"{out}: needs about {needed / 2**30:.1f} GiB of disk, {free / 2**30:.1f} GiB are free there; "
            "make room, or take fewer frames",
            *("out", "frames"),
        )


def _provenance(clip: Clip, device: torch.device) -> dict[str, Any]:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    how = clip.preparation
    given = {} if how is None else {"masks": None if how.masks is None else str(how.masks.resolve()), "flow": how.flow}
    return {
        "layerloom": _version(),
        "torch": torch.__version__,
        "device": name,
        "kernels": kernel_report(),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **given,
    }


def _version() -> str:
    """Run from its source without having been installed, the package has no version."""
    try:
        return version("layerloom")
    except PackageNotFoundError:
        return "source"
