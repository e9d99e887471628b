"""What edits do to the layers' canvases, in the order of the edits, pass by pass.

A painting is carried from its frame to the canvases, and from there to every frame. In its own frame it is laid over
the picture as it was painted, so that its colours come out exactly: there the edits before it are one pass, with the
painting at its end, and those after it the next one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from layerloom.compose.blend import AffineBlend
from layerloom.compose.patch import LayerPatches, MovingPatch, Patch
from layerloom.core.geometry import Size


@dataclass(frozen=True, eq=False)
class CanvasStep:
    """One edit. parts: what it does, by layer; None where it does not reach.

    painted: of a painting, the source's frame (counted from 0) and the painting itself, over the whole frame.
    """

    parts: tuple[Patch | MovingPatch | None, ...]
    painted: tuple[int, AffineBlend] | None = None

    def share(self, canvases: Sequence[Size]) -> float | None:
        """Of the canvases that it reaches, the share of texels that it changes: 0 where it reaches none.

        canvases: of all layers. None where what it does is another thing at other times.
        """
        reached = [(part, canvas) for part, canvas in zip(self.parts, canvases, strict=True) if part is not None]
        changed = 0
        for part, _ in reached:
            if not isinstance(part, Patch):
                return None
            changed += int(np.count_nonzero((part.opacity.max(-1) > 0) | part.change.any(-1)))
        return changed / sum(width * height for _, (width, height) in reached) if reached else 0.0


@dataclass(frozen=True, eq=False)
class CanvasPass:
    """Changes of the layers, then a painting over the picture. patches: by layer; None where there is no change."""

    patches: tuple[LayerPatches | None, ...]
    paint: AffineBlend | None = None


class CanvasPlan:
    """All canvas edits of a composition. Threads may share it."""

    def __init__(self, steps: Sequence[CanvasStep], everywhere: CanvasPass) -> None:
        """everywhere: the steps as the one pass that they are in frames without a painting of their own."""
        self.steps, self._everywhere = tuple(steps), everywhere
        self._painted = {step.painted[0] for step in steps if step.painted is not None}
        self._split = lru_cache(maxsize=4)(self._split_at)

    def passes(self, source_number: int | None) -> tuple[CanvasPass, ...]:
        """Those of a picture that starts from a frame of the source (counted from 0), or from none."""
        return self._split(source_number) if source_number in self._painted else (self._everywhere,)

    def _split_at(self, source_number: int) -> tuple[CanvasPass, ...]:
        passes: list[CanvasPass] = []
        waiting: list[CanvasStep] = []
        for step in self.steps:
            if step.painted is not None and step.painted[0] == source_number:
                passes.append(CanvasPass(stack_steps(waiting, len(step.parts)), step.painted[1]))
                waiting = []
            else:
                waiting.append(step)
        return (*passes, CanvasPass(stack_steps(waiting, len(self._everywhere.patches))))


def stack_steps(steps: Sequence[CanvasStep], layers: int) -> tuple[LayerPatches | None, ...]:
    """By layer, all that steps do to it; None where none reaches it."""
    return tuple(stack_layer(steps, layer) for layer in range(layers))


def stack_layer(steps: Sequence[CanvasStep], layer: int) -> LayerPatches | None:
    """All that steps do to one layer; None where none reaches it."""
    parts = [part for step in steps if (part := step.parts[layer]) is not None]
    return LayerPatches.of(parts) if parts else None
