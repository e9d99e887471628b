"""The journal: every change of a session on a line of its own, on the disk before it is acknowledged.

    project/edits/journal.jsonl     CRC-32 of the rest of the line, a space, a Line as JSON
                  tiles/HASH.png    painted tiles, straight RGBA, named after what they hold
                  files/NAME        pictures and videos that were brought in

Whatever ends the program, what was acknowledged is there. A line that was cut short while it was written is the last
one: it was never acknowledged, and is dropped.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.records import Record, parse_one_of, record_values
from layerloom.editor.changes import Change, PlacedEdit, TileChange

FILE = "journal.jsonl"


class Painting(Record):
    """A layer's painting as a whole: tiles without what they held before."""

    layer: str
    tiles: tuple[TileChange, ...]


class Snapshot(Record, tag_field="line", tag="snapshot"):
    """Where the journal begins: the edits and paintings as they stood when it was written anew."""

    edits: tuple[PlacedEdit, ...] = ()
    paintings: tuple[Painting, ...] = ()


class Step(Record, tag_field="line", tag="step"):
    """Something that happened: a change that was made, or the last one taken back, or made again."""

    kind: Literal["do", "undo", "redo"]
    number: Annotated[int, Meta(ge=1)]
    change: Change


Line = Snapshot | Step


@dataclass(frozen=True)
class Opened:
    """What a journal held. dropped: whether its last line was cut short."""

    lines: tuple[Line, ...]
    dropped: bool


class Journal:
    """One project's journal, open for more lines. Not to be shared by threads."""

    def __init__(self, folder: Path) -> None:
        """folder: the project's edits; made if it is not there."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self._file = self._path.open("ab")

    def append(self, line: Line) -> None:
        """Returns once the line is on the disk. LayerloomError if it cannot be written; the journal is as before."""
        position = self._file.tell()
        try:
            self._file.write(_text(line))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(position)
            raise LayerloomError(f"{self._path}: the change is not kept: {error.strerror or error}") from None

    def restart(self, snapshot: Snapshot, steps: tuple[Step, ...]) -> None:
        """Begin anew with a snapshot and the steps that can still be undone: all or nothing."""
        beside = self._path.with_suffix(".new")
        with beside.open("wb") as file:
            for line in (snapshot, *steps):
                file.write(_text(line))
            file.flush()
            os.fsync(file.fileno())
        self._file.close()
        beside.replace(self._path)
        self._file = self._path.open("ab")

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def read_journal(folder: Path) -> Opened:
    """The lines of a journal; none where there is none. A last line that was cut short is taken off the file.

    LayerloomError for a line that is damaged though others follow it.
    """
    path = folder / FILE
    if not path.exists():
        return Opened((), False)
    found: list[Line] = []
    data = path.read_bytes()
    start = 0
    while start < len(data):
        end = data.find(b"\n", start)
        line = None if end < 0 else _read(data[start:end])
        if line is None and 0 <= end < len(data) - 1:
            raise LayerloomError(f"{path}, line {len(found) + 1}: damaged; the lines before it are whole")
        if line is None:
            os.truncate(path, start)
            return Opened(tuple(found), True)
        found.append(line)
        start = end + 1
    return Opened(tuple(found), False)


def _text(line: Line) -> bytes:
    text = msgspec.json.encode(record_values(line))
    return f"{zlib.crc32(text):08x} ".encode("ascii") + text + b"\n"


def _read(data: bytes) -> Line | None:
    """None for what is no whole line."""
    check, _, text = data.partition(b" ")
    if check != f"{zlib.crc32(text):08x}".encode("ascii"):
        return None
    return parse_one_of(text, Line)
