"""Prepared clips in a cache folder, memory-mapped on the way back: preparing the same again takes a moment.

    FOLDER/clips/KEY/header.json    format, what the clip is of, notes, and each array's shape, type and checksums
                     frames.npy, coverage.npy, trust.npy, vectors.npy, confidence.npy, motion.npy

KEY is a hash of all that decides what is prepared (`prepare` says what that is). An entry appears complete or not at
all. What is damaged, half written or of another version is made anew. Where entries together exceed the limit, those
used longest ago go first.
"""

import contextlib
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from layerloom.core.atomic import leftovers, new_folder, remove
from layerloom.core.errors import LayerloomError
from layerloom.core.parallel import thread_count
from layerloom.data.clip import Clip, FlowFields, Masks, SourceReference, check_layer_names

VERSION = 1
DEFAULT_GIB, MOST_GIB = 20.0, 1e6
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
    """header.json. footage: where it lay, for people. notes: what was said to the user while it was prepared."""

    format: Literal["layerloom-clip"]
    version: int
    footage: str
    layers: tuple[str, ...]
    flow_steps: tuple[int, ...]
    notes: tuple[str, ...]
    arrays: dict[str, StoredArray]


ARRAYS: Mapping[str, tuple[str, int]] = {
    "frames": ("uint8", 4),
    "coverage": ("uint8", 4),
    "trust": ("uint8", 4),
    "vectors": ("float16", 6),
    "confidence": ("uint8", 5),
    "motion": ("float64", 4),
}
"""Type and number of axes of what an entry holds."""


@dataclass(frozen=True)
class Entry:
    """One kept clip. used: seconds since the epoch, when it was last read or written."""

    folder: Path
    bytes: int
    used: float

    @property
    def footage(self) -> str:
        """Where the footage lay that it was prepared from; empty if that cannot be told."""
        header = _read_header(self.folder)
        return header.footage if header else ""


@dataclass(frozen=True)
class ClipStore:
    """Kept clips in `folder`, which need not be there yet, of at most `limit_bytes` in all."""

    folder: Path
    limit_bytes: int

    def find(self, key: str, source: SourceReference) -> tuple[Clip, tuple[str, ...]] | None:
        """The clip of a source that was kept under a key, and its notes; None if there is none.

        Raises DamagedEntry, with the entry gone, where there was one that cannot be used.
        """
        folder = self._place(key)
        if not folder.is_dir():
            return None
        header = _read_header(folder)
        try:
            if header is None:
                raise DamagedEntry("its header")
            clip = _map_clip(folder, header, source)
            _check_contents(folder, header)
        except DamagedEntry:
            remove(folder)
            raise
        with contextlib.suppress(OSError):
            os.utime(folder)
        return clip, header.notes

    def keep(self, key: str, clip: Clip, notes: Sequence[str] = ()) -> Clip:
        """Write a clip under a key and hand it back memory-mapped.

        LayerloomError where there is no room; OSError where it cannot be written.
        """
        arrays = _arrays(clip)
        needed = sum(array.nbytes for array in arrays.values())
        self._make_room(needed)
        folder = self._place(key)
        remove(folder)
        header = _header(clip, notes)
        with new_folder(folder) as filling, ThreadPoolExecutor(len(arrays)) as pool:
            stored = pool.map(_write_array, [filling / f"{name}.npy" for name in arrays], arrays.values())
            header = msgspec.structs.replace(header, arrays=dict(zip(arrays, stored, strict=True)))
            (filling / "header.json").write_bytes(msgspec.json.format(msgspec.json.encode(header), indent=1))
        return replace(_map_clip(folder, header, clip.source), preparation=clip.preparation)

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
            raise LayerloomError(f"{self.folder}: the prepared clip ({needed / 2**30:.3g} GiB) is larger than {limit}")
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
            raise LayerloomError(f"{self.folder}: no room for the prepared clip ({needed / 2**30:.3g} GiB)")

    def _fits(self, needed: int) -> bool:
        return needed <= MOST_OF_FREE_ROOM * shutil.disk_usage(self.folder).free


class DamagedEntry(Exception):
    """An entry that cannot be used; the message says what of it."""


def open_store(place: str | Path | None = None, limit_gib: float | None = None) -> ClipStore | None:
    """The store in a folder; None where `place` is "off".

    What is not given comes from the environment: LAYERLOOM_CACHE is a folder, or "off", by default `layerloom` in the
    user's cache folder (XDG_CACHE_HOME, or ~/.cache); LAYERLOOM_CACHE_GIB is how much it may hold, 20 by default.
    LayerloomError for a number that is none.
    """
    place = place or os.environ.get("LAYERLOOM_CACHE", "")
    if str(place).lower() == "off":
        return None
    base = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(place) if place else (Path(base) if base else Path("~/.cache")) / "layerloom"
    with contextlib.suppress(RuntimeError):  # a user without a home
        folder = folder.expanduser()
    given = os.environ.get("LAYERLOOM_CACHE_GIB", "") if limit_gib is None else limit_gib
    return ClipStore(folder, _in_bytes(DEFAULT_GIB if given == "" else given))


def _in_bytes(gib: str | float) -> int:
    try:
        number = float(gib)
    except ValueError:
        number = -1.0
    if not 0 <= number <= MOST_GIB:
        raise LayerloomError(f"a cache of '{gib}' GiB: allowed are 0 to {MOST_GIB:.0f}", "cache_gib")
    return int(number * 2**30)


def _arrays(clip: Clip) -> dict[str, np.ndarray]:
    return {
        "frames": clip.frames,
        "coverage": clip.masks.coverage,
        "trust": clip.masks.trust,
        "vectors": clip.flow.vectors,
        "confidence": clip.flow.confidence,
        "motion": clip.motion.astype(np.float64),
    }


def _header(clip: Clip, notes: Sequence[str]) -> Header:
    steps = tuple(int(step) for step in clip.flow.steps)
    return Header("layerloom-clip", VERSION, str(clip.source.path), clip.masks.names, steps, tuple(notes), {})


def _read_header(folder: Path) -> Header | None:
    """None where it is missing, damaged, or of another version."""
    try:
        header = msgspec.json.decode((folder / "header.json").read_bytes(), type=Header)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return None
    return header if header.version == VERSION and set(header.arrays) == set(ARRAYS) else None


def _map_clip(folder: Path, header: Header, source: SourceReference) -> Clip:
    """The entry as a Clip. DamagedEntry where anything in it is not as the header or a Clip says."""
    arrays = {name: _map_array(folder / f"{name}.npy", name, header.arrays[name]) for name in ARRAYS}
    masks = Masks(header.layers, arrays["coverage"], arrays["trust"])
    flow = FlowFields(header.flow_steps, arrays["vectors"], arrays["confidence"])
    try:
        check_layer_names(header.layers)
        clip = Clip(arrays["frames"], masks, flow, arrays["motion"], source)
    except (ValueError, LayerloomError) as error:
        raise DamagedEntry(str(error)) from error
    agree = (
        masks.trust.shape == masks.coverage.shape
        and len(masks.names) == len(masks.coverage)
        and flow.vectors.shape == (*flow.confidence.shape, 2)
        and flow.confidence.shape[:3] == (len(flow.steps), 2, len(clip.frames))
        and clip.frames.shape[3] == 3
        and clip.motion.shape[1:] == (len(clip.frames), 3, 3)
    )
    if not agree:
        raise DamagedEntry("its arrays do not fit together")
    return clip


def _map_array(path: Path, name: str, stored: StoredArray) -> np.ndarray:
    dtype, axes = ARRAYS[name]
    try:
        # Copy on write: PyTorch and Numba take it as they take any array, and nothing reaches the file. What has no
        # bytes, such as the masks of no objects, cannot be mapped.
        array = np.load(path, mmap_mode=None if 0 in stored.shape else "c", allow_pickle=False)
        size = path.stat().st_size
    except (OSError, ValueError, EOFError) as error:
        raise DamagedEntry(f"{path.name}: {error}") from error
    if (array.dtype, array.shape, size) != (np.dtype(dtype), stored.shape, stored.bytes) or array.ndim != axes:
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
