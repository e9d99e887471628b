"""What a preparation has finished, kept until all of it is: one that was killed goes on from there."""

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from layerloom.core.errors import LayerloomError
from layerloom.core.progress import OnProgress, Progress
from layerloom.data.array_store import Arrays, ArrayStore, DamagedEntry
from layerloom.data.clip import FlowField, FlowFields, Masks

WORTH_SECONDS = 3.0
"""What took less is sooner found again than kept."""
NAMES = ("flow", "masks", "motion")
Result = TypeVar("Result")


class Pieces:
    """Flow, masks and motion under one clip's key. Without a store nothing is kept, and nothing found.

    `report` hands signs of life on; `notes` are the messages among them, which come again with what is found.
    """

    def __init__(self, store: ArrayStore | None, key: str, about: str, on_progress: OnProgress) -> None:
        self._store, self._key, self._about, self._on_progress = store, key, about, on_progress
        self.notes: list[str] = []

    def report(self, progress: Progress) -> None:
        if progress.message:
            self.notes.append(progress.message)
        self._on_progress(progress)

    def flow(self, out: FlowFields, make: Callable[[], tuple[FlowField, ...]]) -> tuple[FlowField, ...]:
        """Fields that `make` puts into `out`, the first ones there; others are not kept."""
        found = self._find("flow")
        if found is not None:
            vectors, confidence = found.arrays["vectors"], found.arrays["confidence"]
            count = len(vectors)
            if vectors.shape[1:] == out.vectors.shape[1:] and confidence.shape == vectors.shape[:-1]:
                out.vectors[:count], out.confidence[:count] = vectors, confidence
                return out.fields[:count]
        fields, seconds, notes = self._timed(make)
        near = out.fields[: len(fields)]
        if [(field.step, field.size) for field in fields] == [(field.step, field.size) for field in near]:
            arrays = {"vectors": out.vectors[: len(near)], "confidence": out.confidence[: len(near)]}
            self._keep("flow", arrays, {"notes": notes}, seconds)
        return fields

    def masks(self, make: Callable[[], Masks]) -> Masks:
        found = self._find("masks")
        if found is not None:
            return Masks(tuple(found.facts["names"]), found.arrays["coverage"], found.arrays["trust"])
        masks, seconds, notes = self._timed(make)
        arrays = {"coverage": masks.coverage, "trust": masks.trust}
        self._keep("masks", arrays, {"names": masks.names, "notes": notes}, seconds)
        return masks

    def motion(self, make: Callable[[], Float[np.ndarray, "layers t 3 3"]]) -> Float[np.ndarray, "layers t 3 3"]:
        found = self._find("motion")
        if found is not None:
            return found.arrays["motion"]
        motion, seconds, notes = self._timed(make)
        self._keep("motion", {"motion": motion}, {"notes": notes}, seconds)
        return motion

    def drop(self) -> None:
        """Let go of them, once the clip is whole."""
        if self._store is not None:
            for name in NAMES:
                self._store.drop(f"{self._key}-{name}")

    def _timed(self, make: Callable[[], Result]) -> tuple[Result, float, list[str]]:
        """What is made, how long that took, and what was said."""
        started, said = time.perf_counter(), len(self.notes)
        made = make()
        return made, time.perf_counter() - started, self.notes[said:]

    def _find(self, name: str) -> Arrays | None:
        if self._store is None:
            return None
        try:
            found = self._store.find(f"{self._key}-{name}")
        except DamagedEntry:
            return None  # it is made anew, and was only a part
        for note in found.facts["notes"] if found else ():
            self.report(Progress(name, 1.0, message=note))
        return found

    def _keep(self, name: str, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any], seconds: float) -> None:
        if self._store is not None and seconds >= WORTH_SECONDS:
            # Where there is no room for it, the whole clip will say so.
            with contextlib.suppress(LayerloomError, OSError):
                self._store.keep(f"{self._key}-{name}", Arrays(arrays, facts), self._about)
