"""Follows the selected objects through the footage, in a thread of its own, whenever the selection has changed."""

import itertools
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from layerloom.core.errors import LayerloomError
from layerloom.data.selection import Selection
from layerloom.editor.footage.messages import Following, MaskPlace, Masks
from layerloom.editor.footage.source import OpenedFootage
from layerloom.prepare.discover.objects import discover_masks
from layerloom.prepare.select.selector import Found, Selector

Stage = Literal["reading", "ready", "motion", "finding", "following", "followed", "failed"]
OnFound = Callable[[tuple[str, ...], np.ndarray], None]
"""Takes the names of found objects and their masks, objects t h w."""


@dataclass(frozen=True)
class Wanted:
    """What is to be followed. frame: the one that was changed last, shown first."""

    selection: Selection | None
    revision: int
    frame: int | None = None


class Follower:
    """One thread that reads the footage, then makes masks of the newest selection; older ones are given up."""

    def __init__(self, footage: OpenedFootage, tell: Callable[[Following | Masks], None]) -> None:
        """tell: takes signs of life and new masks, from the thread."""
        self._footage, self._tell = footage, tell
        self._changed = threading.Condition()
        self._wanted = Wanted(None, 0)
        self._followed = -1
        self._on_found: OnFound | None = None
        self._is_closed = False
        self._masks: dict[tuple[str, int], tuple[MaskPlace, bytes]] = {}
        self._versions = itertools.count(1)
        self.state = Following("reading", 0.0, 0)
        threading.Thread(target=self._run, name="follower", daemon=True).start()

    def follow(self, wanted: Wanted) -> None:
        """Follow these objects from now on."""
        with self._changed:
            self._wanted = wanted
            names = {each.name for each in wanted.selection.objects} if wanted.selection else set[str]()
            self._masks = {key: mask for key, mask in self._masks.items() if key[0] in names}
            self._changed.notify_all()

    def find(self, on_found: OnFound) -> None:
        """Look for objects, and hand them over, on the thread."""
        with self._changed:
            self._on_found = on_found
            self._changed.notify_all()

    def mask(self, name: str, frame: int) -> bytes | None:
        """An object's mask in a frame as a PNG of 8 bits grey; None if there is none yet."""
        found = self._masks.get((name, frame))
        return found and found[1]

    def places(self) -> Masks:
        """All masks that there are."""
        with self._changed:
            return Masks(tuple(place for place, _ in self._masks.values()))

    def wait_followed(self, revision: int, has_given_up: Callable[[], bool]) -> bool:
        """Wait until the selection of a revision is followed to its end; False if it will not be."""
        with self._changed:
            while self._followed != revision:
                if has_given_up() or self._is_closed or self._wanted.revision != revision:
                    return False
                if self.state.stage == "failed" and self.state.revision == revision:
                    return False
                self._changed.wait(0.2)
            return True

    def close(self) -> None:
        """End the thread as soon as that can be."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            selector = self._open()
        except LayerloomError as error:
            self._say("failed", message=str(error))
            return
        threading.Thread(target=selector.warm_up, name="warm-up", daemon=True).start()
        self._say("ready", 1.0)
        while (work := self._next_work()) is not None:
            try:
                if callable(work):
                    self._find(selector, work)
                else:
                    self._follow(selector, work)
            except LayerloomError as error:
                self._say("failed", message=str(error))

    def _open(self) -> Selector:
        small = self._footage.read_small(lambda done: self._say("reading", done))
        footage = self._footage
        return Selector(small, source_size=footage.size, mask_size=footage.mask_size, first_frame=footage.frames.start)

    def _next_work(self) -> OnFound | Wanted | None:
        """What to do next, as soon as there is something; None at the end."""
        with self._changed:
            seen = self.state.revision if self.state.stage == "failed" else self._followed
            while not self._is_closed and self._on_found is None and self._wanted.revision in (seen, self._followed):
                self._changed.wait()
            if self._is_closed:
                return None
            work, self._on_found = self._on_found or self._wanted, None
            return work

    def _find(self, selector: Selector, on_found: OnFound) -> None:
        self._say("finding")
        small = selector.frames
        found = discover_masks(small, selector.flow)
        on_found(found.masks.names, found.masks.coverage)
        said = f"{len(found.masks.names)} found" if found.masks.names else "nothing moves against the camera"
        self._say("ready", 1.0, said)

    def _follow(self, selector: Selector, wanted: Wanted) -> None:
        if wanted.selection is not None:
            self._say("motion" if not selector.is_warm else "following")
            total = len(wanted.selection.objects) * len(self._footage.frames)
            reached: set[tuple[str, int]] = set()
            masks = self._masks_of(selector, wanted, wanted.selection)
            for found in masks:
                if self._wanted.revision != wanted.revision or self._is_closed:
                    masks.close()
                    return
                self._keep(found, wanted)
                reached.add((found.name, found.frame))
                self._say("following", len(reached) / total)
        with self._changed:
            self._followed = wanted.revision
        self._say("followed" if wanted.selection else "ready", 1.0)

    def _masks_of(self, selector: Selector, wanted: Wanted, selection: Selection) -> Generator[Found]:
        """The changed frame's at once, as far as that goes, then all."""
        if wanted.frame is not None:
            quick = selector.frame(selection, wanted.frame)
            yield from (Found(name, wanted.frame, mask) for name, mask in quick.items())
        yield from selector.spread(selection)

    def _keep(self, found: Found, wanted: Wanted) -> None:
        _, data = cv2.imencode(".png", found.mask, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        place = MaskPlace(found.name, found.frame, next(self._versions), wanted.revision)
        with self._changed:
            if self._wanted.revision == wanted.revision:
                self._masks[found.name, found.frame] = place, data.tobytes()
        self._tell(Masks((place,)))

    def _say(self, stage: Stage, done: float = 0.0, message: str = "") -> None:
        with self._changed:
            self.state = Following(stage, done, self._wanted.revision, message)
            self._changed.notify_all()
        self._tell(self.state)
