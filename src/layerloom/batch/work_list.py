"""Which clips a batch is of: a list's lines, or what lies in a folder."""

import mimetypes
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.records import LayerName, Record, optional_path, parse_record, path_field, read_text
from layerloom.media.formats import IMAGE_SUFFIXES

FORM = "a line is FOOTAGE [MASKS [NAME]], or a JSON object of footage, masks, name"


class Job(Record):
    """One clip: its footage, masks if there are any, and the name that its project gets (by default the footage's)."""

    footage: Annotated[Path, Meta(description="a video file or a folder of images")] = path_field(converter=Path)
    masks: Path | None = path_field(converter=optional_path, default=None)
    name: LayerName | None = None

    @property
    def title(self) -> str:
        """The name, made of the footage's where none is given: letters, digits, '-', '_' and '.'."""
        if self.name is not None:
            return self.name
        own = self.footage.name if self.footage.is_dir() else self.footage.stem
        return re.sub(r"[^\w.-]", "_", own).lstrip(".") or "clip"


def read_work(place: Path, masks: Path | None = None) -> list[Job]:
    """The clips of a list's lines, or of a folder: its video files, and its folders that hold images.

    masks: a folder with masks under a clip's name, for clips whose own are not named. In a list, relative paths count
    from its folder, and a `#` begins a comment. LayerloomError, with the line, for what is no clip, for a name that
    comes twice, and for a list of nothing.
    """
    if place.is_dir():
        jobs = [Job(entry) for entry in sorted(place.iterdir()) if _is_footage(entry)]
    else:
        lines = enumerate(read_text(place).splitlines(), 1)
        jobs = [_parse_line(line, place, number) for number, line in lines if line.split("#")[0].strip()]
    if not jobs:
        raise LayerloomError(f"{place}: no clips in it; a folder holds videos or folders of images, in a list {FORM}")
    twice = [name for name, count in Counter(job.title for job in jobs).items() if count > 1]
    if twice:
        raise LayerloomError(f"{place}: several clips are called '{twice[0]}'; give them names in a list")
    return [_with_masks(job, masks) for job in jobs]


def _parse_line(line: str, place: Path, number: int) -> Job:
    try:
        if line.lstrip().startswith("{"):
            return parse_record(line, Job, place.parent)
        parts = shlex.split(line, comments=True)
        if len(parts) > 3:
            raise LayerloomError(f"{len(parts)} words; {FORM}")
        paths = [place.parent / part for part in parts[:2]]
        return Job(paths[0], paths[1] if len(paths) > 1 else None, parts[2] if len(parts) > 2 else None)
    except (LayerloomError, ValueError) as error:
        raise LayerloomError(f"{place}, line {number}: {error}") from None


def _is_footage(entry: Path) -> bool:
    if entry.name.startswith("."):
        return False
    if entry.is_dir():
        return any(file.suffix.lower() in IMAGE_SUFFIXES for file in entry.iterdir())
    return (mimetypes.guess_type(entry.name)[0] or "").startswith("video/")


def _with_masks(job: Job, masks: Path | None) -> Job:
    """As tasks on any machine can find it: by absolute paths, named."""
    own = job.masks or (masks / job.title if masks is not None and (masks / job.title).is_dir() else None)
    return Job(job.footage.absolute(), None if own is None else own.absolute(), job.title)
