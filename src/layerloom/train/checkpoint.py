"""What an interrupted training leaves, beside the project it was to make, and how it is taken up again."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path

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
