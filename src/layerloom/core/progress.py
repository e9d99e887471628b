"""How long steps report that they live."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """A sign of life from a long step. `done` is the stage's share in [0, 1]; `message` is worth a line of its own."""

    stage: str
    done: float
    psnr: float | None = None
    message: str | None = None


OnReport = Callable[[Report], None]
"""Called several times a second. It may raise to stop the work (as ctrl-C does)."""
