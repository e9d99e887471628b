"""Arguments that several commands share: their names in usage lines, and how their text is read."""

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.edits.values import parse_frame

Footage = Annotated[Positional[Path], arg(metavar="FOOTAGE")]
ProjectFolder = Annotated[Positional[Path], arg(metavar="PROJECT")]
NewProject = Annotated[Path, arg(metavar="PROJECT")]
Folder = Annotated[Path, arg(metavar="DIR")]
Number = Annotated[int, arg(metavar="N")]
Device = Literal["auto", "cpu", "cuda"]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
OptionalNumber = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Frames = Annotated[
    str | None,
    arg(metavar="A:B", help="Frames A to B - 1 of the source, counted from 0. Default: all.", help_behavior_hint=""),
]
Switch = Annotated[bool, arg(help_behavior_hint="")]


def parse_range(text: str | None) -> tuple[int | None, int | None]:
    """`A:B`, either side may be missing."""
    if text is None:
        return None, None
    first, colon, end = text.partition(":")
    if not colon:
        raise LayerloomError(f"--frames {text}: the form is A:B, half-open, such as 0:48")
    return (parse_frame(first) if first else None), (parse_frame(end) if end else None)


def source_range(project: Project, text: str | None) -> range:
    """The frames of `--frames`, numbered as the source's; what is left out counts from the project's own."""
    first, end = parse_range(text)
    whole = project.source_range
    return range(whole.start if first is None else first, whole.stop if end is None else end)


def count_frames(frames: int) -> str:
    """`1 frame`, `2 frames`."""
    return f"{frames} frame" if frames == 1 else f"{frames} frames"
