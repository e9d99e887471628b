"""Arrays in a cache folder, memory-mapped on the way back, every byte checked; the oldest go when there are too many.

    FOLDER/clips/KEY/header.json    format, what it is of, plain facts, and each array's shape, type and checksums
                     NAME.npy       …

An entry appears complete or not at all. What is damaged, half written or of another version is told and removed. Where
entries together exceed the limit, those used longest ago go first.
"""

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from layerloom.core.atomic import leftovers, new_folder, remove
from layerloom.core.errors import LayerloomError
from layerloom.core.parallel import thread_count

VERSION = 1
CHUNK_BYTES = 2**24
"""A checksum for each such part of a file: they are counted on all cores, and can be checked where they are read."""
MOST_OF_FREE_ROOM = 0.5
"""An entry that would take more of what is free on the disk is not kept."""


class StoredArray(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one .npy file has to be. checksums: CRC-32 of each CHUNK_BYTES of the file."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int
    checksums: tuple[int, ...]


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """header.json. about: where what it was made from lay, for people. facts: what else belongs to the arrays."""

    format: Literal["layerloom-arrays"]
    version: int
    about: str
    facts: dict[str, Any]
    arrays: dict[str, StoredArray]


@dataclass(frozen=True)
class Arrays:
    """What an entry holds: arrays by name, and plain facts."""

    arrays: Mapping[str, np.ndarray]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """One of them. used: seconds since the epoch, when it was last read or written."""

    folder: Path
    bytes: int
    used: float

    @property
    def about(self) -> str:
        """Where what it was made from lay; empty if that cannot be told."""
        header = _read_header(self.folder)
        return header.about if header else ""


@dataclass(frozen=True)
class ArrayStore:
    """Entries in `folder`, which need not be there yet, of at most `limit_bytes` in all."""

    folder: Path
    limit_bytes: int

    def find(self, key: str) -> Arrays | None:
        """What was kept under a key; None if there is nothing.

        Raises DamagedEntry, with the entry gone, where there was one that cannot be used.
        """
        folder = self._place(key)
        if not folder.is_dir():
            return None
        try:
            header = _read_header(folder)
            if header is None:
                raise DamagedEntry("its header")
            arrays = {name: _map_array(folder / f"{name}.npy", stored) for name, stored in header.arrays.items()}
            _check_contents(folder, header)
        except DamagedEntry:
            self.drop(key)
            raise
        with contextlib.suppress(OSError):
            os.utime(folder)
        return Arrays(arrays, header.facts)

    def keep(self, key: str, values: Arrays, about: str = "") -> Arrays:
        """Write arrays under a key, and hand them back memory-mapped.

        LayerloomError where there is no room; OSError where they cannot be written.
        """
        arrays = values.arrays
        self._make_room(sum(array.nbytes for array in arrays.values()))
        folder = self._place(key)
        remove(folder)
        with new_folder(folder) as filling, ThreadPoolExecutor(len(arrays)) as pool:
            stored = pool.map(_write_array, [filling / f"{name}.npy" for name in arrays], arrays.values())
            described = dict(zip(arrays, stored, strict=True))
            header = Header("layerloom-arrays", VERSION, about, dict(values.facts), described)
            (filling / "header.json").write_bytes(msgspec.json.format(msgspec.json.encode(header), indent=1))
        mapped = {name: _map_array(folder / f"{name}.npy", stored) for name, stored in described.items()}
        return Arrays(mapped, values.facts)

    def drop(self, key: str) -> None:
        """Remove what was kept under a key, if anything was."""
        remove(self._place(key))

    def entries(self) -> list[Entry]:
        """All of them, used longest ago first."""
        found = [_measure(folder) for folder in self._folders()]
        return sorted((entry for entry in found if entry), key=lambda entry: entry.used)

    def empty(self) -> int:
        """Remove all entries and what killed runs left; returns how many bytes that were."""
        freed = sum(entry.bytes for entry in self.entries())
        for folder in (*self._folders(), *self.leftovers()):
            remove(folder)
        return freed

    def leftovers(self) -> list[Path]:
        """What killed runs left here."""
        return list(leftovers(self.folder / "clips"))

    def _place(self, key: str) -> Path:
        return self.folder / "clips" / key

    def _folders(self) -> list[Path]:
        clips = self.folder / "clips"
        return [path for path in clips.iterdir() if not path.name.startswith(".")] if clips.is_dir() else []

    def _make_room(self, needed: int) -> None:
        """Remove what was used longest ago until `needed` bytes fit. LayerloomError where they cannot."""
        if needed > self.limit_bytes:
            limit = f"{self.limit_bytes / 2**30:.3g} GiB, the cache's limit"
            raise LayerloomError(f"{self.folder}: {needed / 2**30:.3g} GiB are more than {limit}")
        entries = self.entries()
        held = sum(entry.bytes for entry in entries)
        (self.folder / "clips").mkdir(parents=True, exist_ok=True)
        for path in self.leftovers():
            remove(path)
        while entries and (held + needed > self.limit_bytes or not self._fits(needed)):
            oldest = entries.pop(0)
            held -= oldest.bytes
            remove(oldest.folder)
        if not self._fits(needed):
            raise LayerloomError(f"{self.folder}: no room for {needed / 2**30:.3g} GiB")

    def _fits(self, needed: int) -> bool:
        return needed <= MOST_OF_FREE_ROOM * shutil.disk_usage(self.folder).free


class DamagedEntry(Exception):
    """An entry that cannot be used; the message says what of it."""


def _read_header(folder: Path) -> Header | None:
    """None where it is missing, damaged, or of another version."""
    try:
        header = msgspec.json.decode((folder / "header.json").read_bytes(), type=Header)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    named = all(name.isidentifier() for name in header.arrays)  # names become files
    return header if header.version == VERSION and named else None


def _map_array(path: Path, stored: StoredArray) -> np.ndarray:
    try:
        # Copy on write: PyTorch and Numba take it as they take any array, and nothing reaches the file. What has no
        # bytes, such as the masks of no objects, cannot be mapped.
        array = np.load(path, mmap_mode=None if 0 in stored.shape else "c", allow_pickle=False)
        size = path.stat().st_size
    except (OSError, ValueError, EOFError) as error:
        raise DamagedEntry(f"{path.name}: {error}") from error
    if (str(array.dtype), array.shape, size) != (stored.dtype, stored.shape, stored.bytes):
        raise DamagedEntry(f"{path.name}: another type, shape or size")
    return array


def _check_contents(folder: Path, header: Header) -> None:
    """DamagedEntry unless every file is what was written, by its checksums."""
    parts = [(name, start) for name, array in header.arrays.items() for start in range(0, array.bytes, CHUNK_BYTES)]

    def is_whole(part: tuple[str, int]) -> bool:
        name, start = part
        known = header.arrays[name].checksums
        index = start // CHUNK_BYTES
        with (folder / f"{name}.npy").open("rb") as file:
            file.seek(start)
            return index < len(known) and zlib.crc32(file.read(CHUNK_BYTES)) == known[index]

    try:
        with ThreadPoolExecutor(thread_count()) as pool:
            whole = all(pool.map(is_whole, parts))
    except OSError as error:
        raise DamagedEntry(str(error)) from error
    if not whole:
        raise DamagedEntry("other bytes than were written")


def _write_array(path: Path, array: np.ndarray) -> StoredArray:
    """Write it as .npy."""
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    with path.open("rb") as file:
        checksums = tuple(zlib.crc32(part) for part in iter(lambda: file.read(CHUNK_BYTES), b""))
    return StoredArray(array.shape, str(array.dtype), path.stat().st_size, checksums)


def _measure(folder: Path) -> Entry | None:
    try:
        status = folder.stat()
        return Entry(folder, sum(file.stat().st_size for file in _files(folder)), status.st_mtime)
    except OSError:
        return None  # another process removed it


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else iter((folder,))
