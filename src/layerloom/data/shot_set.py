"""A set: the shots of one film between its cuts, each a project of its own, in one folder.

film.loom/shots.json    which shots there are, and when each begins
          shot-000/     a project, as any other
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.records import Document, Record, document_text, read_document
from layerloom.data.project import Project
from layerloom.data.project_header import SHOTS_FILE, Ratio, parse_ratio


class ShotEntry(Record):
    """A shot: its folder, and the seconds from the set's first frame to its own."""

    name: Annotated[str, Meta(pattern=r"^shot-[0-9]{3,6}$(?!\n)")]
    start: Ratio

    def check(self) -> None:
        parse_ratio(self.start, "start")


class ShotsFile(Document, kw_only=True, tag="layerloom-shots"):
    """shots.json."""

    WHAT: ClassVar[str] = "the set"
    shots: Annotated[tuple[ShotEntry, ...], Meta(min_length=1, max_length=100_000)]


@dataclass(frozen=True)
class PlannedShot:
    """Frames of the source (counted from 0) that are to be a shot. start: their first one's second in the film."""

    frames: range
    start: Fraction


@dataclass(frozen=True, eq=False)
class ShotSet:
    """A stored set, its shots in the film's order without gaps, all of one size. starts: as in ShotEntry."""

    path: Path
    projects: tuple[Project, ...]
    starts: tuple[Fraction, ...]

    @staticmethod
    def open(path: Path) -> "ShotSet":
        """LayerloomError as `Project.open`, and where the shots are not of one film."""
        entries = read_document(path / SHOTS_FILE, ShotsFile).shots
        starts = tuple(parse_ratio(entry.start, "start") for entry in entries)
        found = ShotSet(path, tuple(Project.open(path / entry.name) for entry in entries), starts)
        first = found.projects[0].source
        for project, before in zip(found.projects[1:], found.projects, strict=False):
            same = (project.source.fingerprint, project.source.size) == (first.fingerprint, first.size)
            if not same or project.source_range.start != before.source_range.stop:
                raise LayerloomError(f"{project.path}: does not go on from {before.path}; the set is damaged")
        return found

    @property
    def source_range(self) -> range:
        """The source's frames, counted from 0."""
        return range(self.projects[0].source_range.start, self.projects[-1].source_range.stop)


def is_shot_set(path: Path) -> bool:
    """Whether a folder holds several shots instead of one project."""
    return (path / SHOTS_FILE).is_file() and not (path / SHOTS_FILE).is_symlink()


def shot_name(index: int) -> str:
    """Of the folder of a shot, counted from 0."""
    return f"shot-{index:03d}"


def write_shots(folder: Path, shots: Sequence[PlannedShot]) -> None:
    """The head of a set; its projects are there already."""
    entries = tuple(
        ShotEntry(shot_name(index), f"{shot.start.numerator}/{shot.start.denominator}")
        for index, shot in enumerate(shots)
    )
    (folder / SHOTS_FILE).write_text(document_text(ShotsFile(shots=entries)), encoding="utf-8")
