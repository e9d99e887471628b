"""Files of a stored project, which may come from anywhere: inside of it, of the right size, and as they were written.

A file is read whole or not at all: what is not what was stored is refused before anything decodes it.
"""

import hashlib
import stat
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from threading import Lock

import cv2
import numpy as np
from jaxtyping import UInt8, UInt16

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import in_threads

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_COLOUR = {1: 0, 3: 2, 4: 6}
"""Colour type by number of channels."""
MOST_MISSING = 1000
"""Are counted."""
SPARE_BYTES = 1 << 16
"""Of a PNG beside its pixels, which compression does not make larger than this and a hundredth."""


class StoredFiles:
    """The files in a project's folder, by their paths from there (`layers/bear/texture.png`).

    checksums: SHA-256 of files as they were written; where one is known, a file is compared with it when it is first
    read.
    """

    def __init__(self, root: Path, checksums: Mapping[str, str]) -> None:
        self.root = root
        self._checksums = checksums
        self._verified: set[str] = set()
        self._lock = Lock()

    def check(self, names: Iterable[str]) -> None:
        """LayerloomError unless all are there: files, in folders, with no link on the way."""
        folders: set[str] = set()
        missing: list[str] = []
        for name in names:
            folders.add(name.rpartition("/")[0])
            try:
                is_file = stat.S_ISREG((self.root / name).lstat().st_mode)
            except OSError:
                missing.append(name)
                if len(missing) == MOST_MISSING:
                    break
                continue
            if not is_file:
                raise self.damaged(name, "not a file of its own; links are not followed")
        for path in {path for folder in folders for path in (PurePosixPath(folder), *PurePosixPath(folder).parents)}:
            if path.parts and (self.root / path).is_symlink():
                raise self.damaged(str(path), "a link; links are not followed")
        if missing:
            raise self.damaged(missing[0], f"{len(missing)} of its files missing, this one first")

    def path(self, name: str) -> Path:
        """A file as it was written, to be mapped into memory. LayerloomError if it is another."""
        self.check([name])
        with self._lock:
            if name not in self._verified and name in self._checksums:
                if _checksum(self.root / name) != self._checksums[name]:
                    raise self.damaged(name, "not as it was written (its checksum differs)")
                self._verified.add(name)
        return self.root / name

    def read_png(self, name: str, size: Size, channels: int) -> UInt8[np.ndarray, "..."] | UInt16[np.ndarray, "..."]:
        """A PNG of that size, h w or (RGB order) h w c. LayerloomError for any other, before it is decoded."""
        self.check([name])
        file = self.root / name
        if file.stat().st_size > size[0] * size[1] * channels * 2 * 1.01 + size[1] + SPARE_BYTES:
            raise self.damaged(name, f"too large for a picture of {size[0]}x{size[1]}")
        data = file.read_bytes()
        if name in self._checksums and hashlib.sha256(data).hexdigest() != self._checksums[name]:
            raise self.damaged(name, "not as it was written (its checksum differs)")
        depth = _png_depth(data, size, channels)
        if depth is None:
            raise self.damaged(name, f"not a PNG of {size[0]}x{size[1]} with {channels} channels of 8 or 16 bit")
        pixels = _decode(data)
        shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
        if pixels is None or pixels.shape != shape or pixels.dtype != (np.uint8 if depth == 8 else np.uint16):
            raise self.damaged(name, "cannot be decoded")
        return pixels if channels == 1 else np.ascontiguousarray(pixels[..., [2, 1, 0, 3][:channels]])

    def damaged(self, name: str, reason: str) -> LayerloomError:
        """The complaint about a file."""
        return LayerloomError(f"{self.root / name}: damaged project: {reason}")


def checksums(root: Path) -> dict[str, str]:
    """SHA-256 of each file in a folder, by its path from there."""
    files = sorted(file for file in root.rglob("*") if file.is_file())
    return dict(zip((file.relative_to(root).as_posix() for file in files), in_threads(_checksum, files), strict=True))


def _checksum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _png_depth(data: bytes, size: Size, channels: int) -> int | None:
    """Bits of a channel by a PNG's header; None if that says something else than it should."""
    if len(data) < 33 or data[:8] != PNG_SIGNATURE or data[12:16] != b"IHDR":
        return None
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    fits = (width, height) == size and colour == PNG_COLOUR[channels] and depth in (8, 16)
    return depth if fits else None


def _decode(data: bytes) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
