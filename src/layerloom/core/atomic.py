"""Files and folders that appear complete or not at all; what killed runs left of them; one writer at a time.

What is being written lies beside its place under a hidden name that says who writes it:
`.NAME.MACHINE-PROCESS-NUMBER.partial`, for files followed by their suffix. What a run leaves there that was killed is
told by this name, and goes away when the next one writes to the same folder.
"""

import contextlib
import errno
import functools
import os
import re
import shutil
import time
import uuid
import zlib
from collections.abc import Generator, Iterator
from pathlib import Path
from platform import node

import psutil

from layerloom.core.errors import LayerloomError

LEFTOVER = re.compile(r"\..*\.([0-9a-f]{4})-(\d+)-[0-9a-f]{6}\.partial(\.\w+)?")
LOCK_SUFFIX = ".layerloom-lock"
FOREIGN_DAYS = 7
"""Until then, what another machine that shares the folder began may still be in work."""


@contextlib.contextmanager
def atomic_file(path: Path) -> Generator[Path]:
    """A temporary sibling to write to (same suffix); it becomes `path` on success and vanishes on any error."""
    path = Path(path)
    clean_once(path.parent)
    temporary = _sibling(path.parent, path.stem, path.suffix)
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def new_folder(path: Path) -> Generator[Path]:
    """A folder that appears at `path` complete or not at all: it is filled beside it, then renamed.

    LayerloomError if something is at `path` already (an empty folder may be) or it cannot be written.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise LayerloomError(f"{path}: exists already; name another folder or remove it first")
    filling = _sibling(path.parent, path.name)
    try:
        filling.mkdir(parents=True)
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be written: {error.strerror}") from None
    clean_once(path.parent)
    try:
        yield filling
        filling.rename(path)
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(filling, ignore_errors=True)


def lock_file(path: Path) -> Path:
    """Where the lock lies, for `only_writer`, of what is to be made at `path`."""
    return path.with_name(f".{path.name[:80]}{LOCK_SUFFIX}")


@contextlib.contextmanager
def only_writer(path: Path) -> Generator[None]:
    """Hold the lock file at `path`, in a folder that is there; it goes with the process, however that ends.

    BlockingIOError at once if another process, or another part of this one, holds it.
    """
    held = _lock(path)
    try:
        yield
    finally:
        # Removed first: who waits for this file finds, once it is free, that it is the lock of nothing any more.
        with contextlib.suppress(OSError):
            path.unlink()
        os.close(held)


def leftovers(folder: Path) -> Iterator[Path]:
    """Files and folders in `folder` whose writer is gone; locks that nobody holds are removed on the way."""
    with contextlib.suppress(OSError):
        for entry in os.scandir(folder):
            match = LEFTOVER.fullmatch(entry.name)
            if match and _is_abandoned(entry, match[1], int(match[2])):
                yield Path(entry.path)
            if entry.name.endswith(LOCK_SUFFIX):
                _remove_free_lock(Path(entry.path))


def remove(path: Path) -> None:
    """A file or a folder with all in it, as far as that is allowed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


@functools.lru_cache(maxsize=64)
def clean_once(folder: Path) -> None:
    """Remove the leftovers in `folder`, the first time that this process asks for it."""
    for path in leftovers(folder):
        remove(path)


def _sibling(folder: Path, name: str, suffix: str = "") -> Path:
    # Cut, so that a name as long as the system allows does not become longer.
    return folder / f".{name[:80]}.{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:6]}.partial{suffix}"


@functools.cache
def _machine() -> str:
    return f"{zlib.crc32(node().encode()) & 0xFFFF:04x}"


def _is_abandoned(entry: os.DirEntry[str], machine: str, process: int) -> bool:
    try:
        written = entry.stat(follow_symlinks=False).st_mtime
        if machine != _machine():
            return time.time() - written > FOREIGN_DAYS * 86400
        # A number may have been given to another process since.
        return psutil.Process(process).create_time() > written + 1
    except psutil.NoSuchProcess:
        return True
    except (OSError, psutil.Error):
        return False


def _remove_free_lock(path: Path) -> None:
    with contextlib.suppress(OSError), only_writer(path):
        pass


def _lock(path: Path) -> int:
    """An open, locked file that is still the one at `path`."""
    while True:
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock_file(opened)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
                os.close(opened)
                raise BlockingIOError(error.errno, "in use", str(path)) from None
            return opened  # a file system without locks
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(opened), path.stat()):
                return opened
        os.close(opened)


if os.name == "nt":

    def _lock_file(opened: int) -> None:
        import msvcrt

        msvcrt.locking(opened, msvcrt.LK_NBLCK, 1)  # pyright: ignore

else:

    def _lock_file(opened: int) -> None:
        import fcntl

        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
