"""What an interrupted training leaves, beside the project it was to make, and how it is taken up again."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

import numpy as np

from layerloom.core.errors import LayerloomError
from layerloom.data.clip import Clip
from layerloom.train.settings import TrainSettings
from layerloom.train.trainer import Trainer

KEY, TENSORS = "settings.json", "checkpoint.safetensors"


def checkpoint_folder(out: Path) -> Path:
    """Where a project that is to be at `out` has its checkpoint meanwhile."""
    return out.with_name(out.name + ".partial")


def is_resumable(out: Path) -> bool:
    """Whether an interrupted run left something from which a project at `out` can be finished."""
    return all((checkpoint_folder(out) / name).is_file() for name in (KEY, TENSORS))


class Checkpoint:
    """What was learned of a project that is to be at `out`, in a folder that is made with the first one.

    settings.json            the key: what must be equal for a checkpoint to fit
    checkpoint.safetensors   what `Trainer.save` writes
    """

    def __init__(self, out: Path, key: str) -> None:
        self.folder, self._key = checkpoint_folder(out), key

    def check(self) -> None:
        """LayerloomError unless what is stored was begun with the same footage and settings."""
        if (self.folder / KEY).read_text(encoding="utf-8") != self._key:
            raise LayerloomError(
                f"{self.folder}: was begun with other footage or settings; repeat those, or start anew", "resume"
            )

    def save(self, trainer: Trainer) -> None:
        self.folder.mkdir(exist_ok=True)
        (self.folder / KEY).write_text(self._key, encoding="utf-8")
        trainer.save(self.folder / TENSORS)

    def load(self, trainer: Trainer) -> None:
        trainer.load(self.folder / TENSORS)

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def resume_key(clip: Clip, settings: TrainSettings) -> str:
    """What must be equal for a checkpoint to fit: footage, masks, flow, their settings, and those of training."""
    prepared = clip.preparation.key if clip.preparation else _hash_of_arrays(clip)
    facts = {"clip": prepared, "size": clip.size, "layers": clip.layer_names, "settings": asdict(settings)}
    return json.dumps(facts, indent=1)


def _hash_of_arrays(clip: Clip) -> str:
    """Of a clip that was not made by `prepare`."""
    digest = hashlib.sha256()
    masks, flow = clip.masks, clip.flow
    for array in (clip.frames, masks.coverage, masks.trust, flow.vectors, flow.confidence, clip.motion):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]
