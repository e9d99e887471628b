"""Files that a page brings in: checked, kept inside the project under names of ours, which alone edits may name."""

import hashlib
import re
from pathlib import Path
from typing import ClassVar

import msgspec

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.editor.changes import PlacedEdit
from layerloom.media.layered_documents import read_picture

NAME = re.compile(r"[0-9a-f]{24}\.[a-z0-9]{1,5}")
PICTURES = frozenset({"png", "jpg", "jpeg", "tif", "tiff", "exr", "webp", "psd", "ora"})
VIDEOS = frozenset({"mp4", "mov", "mkv", "webm", "gif"})
FONTS = frozenset({"ttf", "otf"})


class Uploads:
    """The files of one session."""

    MOST_BYTES: ClassVar[int] = 512 * 2**20

    def __init__(self, folder: Path) -> None:
        self.folder = self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def take(self, name: str, data: bytes) -> str:
        """Keep a file if it can be read; the name by which edits may speak of it. LayerloomError if it cannot.

        name: what it was called, of which only the suffix counts.
        """
        suffix = Path(name).suffix.removeprefix(".").lower()
        if suffix not in PICTURES | VIDEOS | FONTS:
            allowed = ", ".join(sorted(PICTURES | VIDEOS | FONTS))
            raise LayerloomError(f"a file of kind '{suffix[:12]}'; allowed are {allowed}")
        path = self._folder / f"{hashlib.sha256(data).hexdigest()[:24]}.{suffix}"
        if not path.exists():
            beside = path.with_name(f".{path.name}")
            try:
                beside.write_bytes(data)
                self._check(beside, suffix)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
        return path.name

    def placed(self, placed: PlacedEdit) -> PlacedEdit:
        """An edit whose files are names of ours, made to paths. LayerloomError for any other file."""
        changed = {
            field: self._path(value)
            for field in placed.edit.__struct_fields__
            if isinstance(value := getattr(placed.edit, field), Path)
        }
        return (
            msgspec.structs.replace(placed, edit=msgspec.structs.replace(placed.edit, **changed)) if changed else placed
        )

    def _path(self, value: Path) -> Path:
        path = self._folder / value.name
        if not NAME.fullmatch(value.name) or not path.is_file() or path.is_symlink():
            raise LayerloomError(f"file '{value.name[:60]}': not one that was brought in")
        return path

    def _check(self, path: Path, suffix: str) -> None:
        if suffix in VIDEOS:
            media.probe(path)
        elif suffix in PICTURES:
            read_picture(path)
