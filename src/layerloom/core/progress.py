"""How long steps report that they live."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """A sign of life from a long step.

    stage: its name, such as "flow" or "train". done: the stage's share in [0, 1]. psnr_db: how well the layers explain
    the pixels last learned from, in the stage "train". message: worth a line of its own.
    """

    stage: str
    done: float
    psnr_db: float | None = None
    message: str | None = None

    def __str__(self) -> str:
        quality = "" if self.psnr_db is None else f" {self.psnr_db:.1f} dB"
        return f"{self.stage} {self.done:.0%}{quality}" + (f": {self.message}" if self.message else "")


OnProgress = Callable[[Progress], None]
"""Called several times a second, on the caller's thread. It may raise to stop the work (as ctrl-C does)."""


def silent(progress: Progress) -> None:
    """Take no notice."""


class Pace:
    """How long a stage will take, by the pace since its first piece, which takes longer: it loads and compiles."""

    def __init__(self) -> None:
        self._first_pieces: dict[str, tuple[float, float]] = {}

    def seconds_left(self, progress: Progress) -> float | None:
        """Of the stage that the progress is of; None as long as nothing can be said."""
        if not 0 < progress.done < 1:
            return None
        now = time.perf_counter()
        begun, first = self._first_pieces.setdefault(progress.stage, (now, progress.done))
        return (now - begun) * (1 - progress.done) / (progress.done - first) if progress.done > first else None
