"""The objects that are being selected, with their history; on the disk before a change is acknowledged."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from threading import RLock

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.data.selection import Hint, ObjectHints, Selection, read_selection, selection_to_json
from layerloom.prepare.select.hints import draw_hints

FILE = "selection.json"
MOST_STEPS = 1000
"""That can be undone."""
CHECK_LONG_EDGE = 480
"""Hints that contradict each other at this size are refused."""

State = tuple[ObjectHints, ...]


class HintStore:
    """Objects from front to back. Its file is a selection, as `layerloom decompose` takes it; none while it is empty.

    Threads may share it.
    """

    def __init__(self, folder: Path, frames: range, size: Size) -> None:
        """folder: made when there is something to keep. frames: of the source. size: (width, height) of the source.

        LayerloomError for a file that is damaged, or does not fit the footage.
        """
        self.path = folder / FILE
        self._frames, self._size = frames, size
        self._lock = RLock()
        self._undone: list[State] = []
        self._done: list[State] = []
        self.revision = 0
        self.objects: State = read_selection(self.path).objects if self.path.is_file() else ()
        try:
            self._check(self.objects)
        except LayerloomError as error:
            raise LayerloomError(f"{self.path}: {error}; it belongs to other footage: move it away") from None

    @property
    def selection(self) -> Selection | None:
        """None while there are no objects."""
        return Selection(self.objects) if self.objects else None

    @property
    def can_undo(self) -> bool:
        return bool(self._done)

    @property
    def can_redo(self) -> bool:
        return bool(self._undone)

    def add(self, name: str, hint: Hint) -> None:
        """Another hint; the object is made if there is none of that name. LayerloomError where it does not fit."""
        with self._lock:
            old = self._find(name)
            hints = (*_without_contradicted(old.hints if old else (), hint), hint)
            self._do(_replaced(self.objects, old, ObjectHints(name, hints)))

    def forget(self, name: str, frame: int) -> None:
        """No hints of an object in a frame; where none is left that says where it is, no object."""
        with self._lock:
            old = self._get(name)
            hints = tuple(hint for hint in old.hints if hint.frame != frame)
            says_where = any(hint.box or hint.include or hint.mask for hint in hints)
            self._do(_replaced(self.objects, old, ObjectHints(name, hints) if says_where else None))

    def remove(self, name: str) -> None:
        with self._lock:
            self._do(_replaced(self.objects, self._get(name), None))

    def rename(self, name: str, new: str) -> None:
        with self._lock:
            old = self._get(name)
            self._do(_replaced(self.objects, old, ObjectHints(new, old.hints)))

    def reorder(self, name: str, index: int) -> None:
        with self._lock:
            old = self._get(name)
            others = [each for each in self.objects if each is not old]
            self._do((*others[:index], old, *others[index:]))

    def join(self, found: Sequence[ObjectHints]) -> None:
        """More objects, behind those there are, under names that are free."""
        with self._lock:
            names = {each.name for each in self.objects}
            added: list[ObjectHints] = []
            for each in found:
                name = free_name(names)
                names.add(name)
                added.append(ObjectHints(name, each.hints))
            self._do((*self.objects, *added))

    def undo(self) -> None:
        """LayerloomError if there is nothing to undo."""
        with self._lock:
            self._swap(self._done, self._undone, "undo")

    def redo(self) -> None:
        """LayerloomError if there is nothing to redo."""
        with self._lock:
            self._swap(self._undone, self._done, "redo")

    def _swap(self, taken: list[State], given: list[State], deed: str) -> None:
        if not taken:
            raise LayerloomError(f"there is nothing to {deed}")
        before = self.objects
        self._keep(taken[-1])
        taken.pop()
        given.append(before)

    def _do(self, objects: State) -> None:
        self._check(objects)
        before = self.objects
        self._keep(objects)
        self._done = [*self._done, before][-MOST_STEPS:]
        self._undone.clear()

    def _keep(self, objects: State) -> None:
        """On the disk, then in mind; LayerloomError where it cannot be written, and all is as before."""
        try:
            if objects:
                text = selection_to_json(Selection(_relative(objects, self.path.parent)))
                self.path.parent.mkdir(exist_ok=True)
                with atomic_file(self.path) as temporary, temporary.open("w", encoding="utf-8") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(file.fileno())
            else:
                self.path.unlink(missing_ok=True)
                with contextlib.suppress(OSError):
                    self.path.parent.rmdir()  # unless there is something else in it
        except OSError as error:
            raise LayerloomError(f"{self.path}: the change is not kept: {error.strerror or error}") from None
        self.objects = objects
        self.revision += 1

    def _check(self, objects: State) -> None:
        if not objects:
            return
        Selection(objects)
        small = fit_long_edge(self._size, CHECK_LONG_EDGE)
        for each in objects:
            if any(hint.frame not in self._frames for hint in each.hints):
                first, last = self._frames[0], self._frames[-1]
                raise LayerloomError(f"'{each.name}': a hint in another frame than {first} to {last}")
            for frame in {hint.frame for hint in each.hints if hint.mask is None}:
                drawn = [hint for hint in each.in_frame(frame) if hint.mask is None]
                draw_hints(each.name, drawn, self._size, small)

    def _find(self, name: str) -> ObjectHints | None:
        return next((each for each in self.objects if each.name == name), None)

    def _get(self, name: str) -> ObjectHints:
        found = self._find(name)
        if found is None:
            raise LayerloomError(f"object '{name}': there is none of that name; it may have been removed meanwhile")
        return found


def free_name(taken: set[str]) -> str:
    """object1, object2, …: the first that nothing is called."""
    number = 1
    while f"object{number}" in taken:
        number += 1
    return f"object{number}"


def _replaced(objects: State, old: ObjectHints | None, new: ObjectHints | None) -> State:
    """`new` in the place of `old`; without an old one last, without a new one gone."""
    if old is None:
        return objects if new is None else (*objects, new)
    return tuple(entry for each in objects if (entry := new if each is old else each) is not None)


def _without_contradicted(hints: tuple[Hint, ...], new: Hint) -> tuple[Hint, ...]:
    """The hints without those of the same frame that the new one takes the place of."""

    def stays(hint: Hint) -> bool:
        if hint.frame != new.frame:
            return True
        if new.absent or hint.absent:
            return False
        return not (new.box and (hint.box or hint.mask))

    return tuple(hint for hint in hints if stays(hint))


def _relative(objects: State, folder: Path) -> State:
    """With paths of masks as they count from a folder."""
    return tuple(ObjectHints(each.name, tuple(_hint_in(hint, folder) for hint in each.hints)) for each in objects)


def _hint_in(hint: Hint, folder: Path) -> Hint:
    if hint.mask is None or not hint.mask.is_relative_to(folder):
        return hint
    return Hint(hint.frame, mask=hint.mask.relative_to(folder))
