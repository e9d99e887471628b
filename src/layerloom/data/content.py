"""What files hold, as one short string: equal for equal content, wherever it lies and whenever it was made."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from layerloom.core.parallel import in_threads

MOST_BYTES = 4 * 2**30
"""Beyond, reading takes longer than is worth it: sizes and times of change stand for the content."""


def content_hash(path: Path, files: Iterable[Path] | None = None) -> str:
    """SHA-256 of a file, or of a folder's files with their names below it (`files` of them, or all but hidden ones).

    Empty where there is nothing.
    """
    if path.is_dir():
        found = sorted(files if files is not None else (file for file in path.rglob("*") if _counts(file, path)))
    else:
        found = [path] if path.is_file() else []
    if not found:
        return ""
    small = sum(file.stat().st_size for file in found) <= MOST_BYTES
    hashes = in_threads(_hash if small else _stamp, found)
    # A single file may be called anything.
    names = [str(file.relative_to(path)) for file in found]
    return hashlib.sha256(repr(list(zip(names, hashes, strict=True))).encode()).hexdigest()


def _counts(file: Path, folder: Path) -> bool:
    return file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def _hash(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _stamp(file: Path) -> str:
    status = file.stat()
    return f"{status.st_size} {status.st_mtime_ns}"
