"""A project, or the shots of a set, as commands take them."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from layerloom.cli.arguments import parse_range, source_range
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.data.shot_set import ShotSet, is_shot_set


@dataclass(frozen=True, eq=False)
class Part:
    """A project with those of the asked for frames (numbered as the source's) that are its own.

    number: of the shot; None where there is no set. start: the seconds of the set before its frames.
    """

    project: Project
    number: int | None
    frames: range
    start: Fraction = Fraction(0)


def open_parts(path: Path, frames: str | None) -> list[Part]:
    """What `--frames` asks for of a project or a set, at least one part.

    LayerloomError as `Project.open`, and for frames that a set does not hold.
    """
    if not is_shot_set(path):
        project = Project.open(path)
        return [Part(project, None, source_range(project, frames))]
    film = ShotSet.open(path)
    whole = film.source_range
    first, end = parse_range(frames)
    asked = range(whole.start if first is None else first, whole.stop if end is None else end)
    if not (whole.start <= asked.start < asked.stop <= whole.stop):
        raise LayerloomError(f"frames {frames} asked for; {path} holds {whole.start}:{whole.stop}", "frames")
    parts: list[Part] = []
    for number, (project, start) in enumerate(zip(film.projects, film.starts, strict=True)):
        own = project.source_range
        shown = range(max(own.start, asked.start), min(own.stop, asked.stop))
        if shown:
            seconds = project.source.timestamps[shown.start - own.start] - project.source.timestamps[0]
            parts.append(Part(project, number, shown, start + seconds))
    return parts


def edited_part(path: Path, parts: Sequence[Part], number: int | None, edits: bool) -> Part | None:
    """The part whose layers edits name; None where there are none. LayerloomError where that is not clear."""
    if parts[0].number is None:
        if number is not None:
            raise LayerloomError(f"{path}: one project, not several shots", "shot")
        return parts[0]
    if number is None:
        if edits:
            raise LayerloomError(f"{path}: edits name the layers of one shot; say which", "shot")
        return None
    found = next((part for part in parts if part.number == number), None)
    if found is None:
        there = ", ".join(str(part.number) for part in parts)
        raise LayerloomError(f"shot {number}: asked for are frames of the shots {there}", "shot")
    return found
