"""What an interrupted training leaves, beside the project it was to make, and how it is taken up again."""

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.data.clip import Clip
from layerloom.train.settings import TrainSettings
from layerloom.train.trainer import Trainer

FILE = "checkpoint.safetensors"
RESERVE_FACTOR = 3.1
"""Adam keeps two numbers beside each that is learned; and a little for all else."""


def checkpoint_folder(out: Path) -> Path:
    """Where a project that is to be at `out` has its checkpoint meanwhile."""
    return out.with_name(out.name + ".partial")


def is_resumable(out: Path) -> bool:
    """Whether an interrupted run left something from which a project at `out` can be finished."""
    return (checkpoint_folder(out) / FILE).is_file()


class Checkpoint:
    """What was learned of a project that is to be at `out`: one file in `checkpoint_folder`.

    key: what must be equal for a checkpoint to fit (`resume_key`).
    """

    def __init__(self, out: Path, key: str) -> None:
        self.folder, self._key = checkpoint_folder(out), key
        self._file, self._reserve = self.folder / FILE, self.folder / "reserve"

    def save(self, trainer: Trainer) -> None:
        """Write it, in place of an older one once it is complete. OSError where that cannot be.

        On a full disk the room is taken that was kept for this; `keep_room` keeps it.
        """
        self.folder.mkdir(exist_ok=True)
        try:
            self._write(trainer)
        except OSError:
            if not self._reserve.exists():
                raise
            self._reserve.unlink()
            self._write(trainer)

    def keep_room(self, trainer: Trainer) -> None:
        """Take up the room that a checkpoint will need, as far as there is any: another program may fill the disk."""
        numbers = sum(parameter.numel() for parameter in trainer.field.parameters())
        with contextlib.suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            with self._reserve.open("wb") as file:
                if hasattr(os, "posix_fallocate"):
                    os.posix_fallocate(file.fileno(), 0, round(RESERVE_FACTOR * 4 * numbers) + 2**20)

    def load(self, trainer: Trainer) -> None:
        """Set a trainer to what was stored.

        LayerloomError where that was begun with another clip or other settings, or is damaged.
        """
        try:
            with safe_open(self._file, "pt") as stored:
                metadata = stored.metadata()
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
            if metadata["key"] != self._key:
                what = "was begun with other footage, masks, flow or settings"
                raise LayerloomError(f"{self.folder}: {what}; repeat those, or start anew", "resume")
            if metadata["checksum"] != _checksum(tensors):
                raise ValueError("checksum")
            trainer.restore(tensors, json.loads(metadata["progress"]))
        except torch.OutOfMemoryError:
            raise
        except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise LayerloomError(f"{self._file}: damaged; start anew ({type(error).__name__})", "resume") from error

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def remove_room(self) -> None:
        """Give back what `keep_room` took."""
        with contextlib.suppress(OSError):
            self._reserve.unlink(missing_ok=True)

    def _write(self, trainer: Trainer) -> None:
        tensors, progress = trainer.state()
        metadata = {"key": self._key, "checksum": _checksum(tensors), "progress": json.dumps(progress)}
        try:
            with atomic_file(self._file) as temporary:
                save_file(dict(tensors), temporary, metadata)
        except SafetensorError as error:
            raise OSError(str(error)) from error


def resume_key(clip: Clip, settings: TrainSettings) -> str:
    """What must be equal for a checkpoint to fit: footage, masks, flow, their settings, and those of training."""
    prepared = clip.preparation.key if clip.preparation else _hash_of_arrays(clip)
    facts = {"clip": prepared, "size": clip.size, "layers": clip.layer_names, "settings": asdict(settings)}
    return json.dumps(facts)


def _hash_of_arrays(clip: Clip) -> str:
    """Of a clip that was not made by `prepare`."""
    digest = hashlib.sha256()
    masks, flow = clip.masks, clip.flow
    for array in (clip.frames, masks.coverage, masks.trust, flow.vectors, flow.confidence, clip.motion):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    """Over all numbers; the library that stores them keeps none."""
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(tensors[name].contiguous().numpy().data, zlib.crc32(name.encode(), total))
    return f"{total:08x}"
