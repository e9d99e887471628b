"""How long steps report that they live."""

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
