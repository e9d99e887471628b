"""Arguments that several commands share: their names in usage lines, and how their text is read."""

import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, UseAppendAction, arg

from layerloom import media
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
Selections = Annotated[
    UseAppendAction[tuple[str, ...]],
    arg(
        metavar="NAME@FRAME:box|points|mask|absent …|FILE.json",
        help="Where an object is in a frame, in pixels: 'NAME@FRAME:box X,Y,W,H', 'NAME@FRAME:points +X,Y,-X,Y,…' (+"
        " inside of it, - outside), 'NAME@FRAME:mask FILE', 'NAME@FRAME:absent', or a file of such hints. Repeatable.",
        help_behavior_hint="",
    ),
]
Rate = Annotated[str | None, arg(metavar="RATE", help_behavior_hint="")]
Switch = Annotated[bool, arg(help_behavior_hint="")]


def parse_range(text: str | None) -> tuple[int | None, int | None]:
    """`A:B`, either side may be missing."""
    if text is None:
        return None, None
    first, colon, end = text.partition(":")
    if not colon:
        raise LayerloomError(f"--frames {text}: the form is A:B, half-open, such as 0:48")
    return (parse_frame(first) if first else None), (parse_frame(end) if end else None)


def read_options(fps: str | None, exr_layer: str, linear: Literal["auto", "yes", "no"]) -> media.ReadOptions:
    """What the footage does not say itself. LayerloomError for a rate that is none."""
    rate = None
    if fps is not None:
        match = re.fullmatch(r"(\d{1,7})(?:/(\d{1,7})|(\.\d{1,6}))?", fps)
        value = Fraction(0)
        if match and int(match[2] or 1) > 0:
            value = Fraction(int(match[1]), int(match[2])) if match[2] else Fraction(fps)
        if not Fraction(1, 1000) <= value <= 1000:
            raise LayerloomError(f"--fps {fps}: a rate such as 25, 23.976 or 30000/1001, up to 1000")
        rate = (value.numerator, value.denominator)
    return media.ReadOptions(rate, exr_layer, None if linear == "auto" else linear == "yes")


def source_range(project: Project, text: str | None) -> range:
    """The frames of `--frames`, numbered as the source's; what is left out counts from the project's own."""
    first, end = parse_range(text)
    whole = project.source_range
    return range(whole.start if first is None else first, whole.stop if end is None else end)


def count_frames(frames: int) -> str:
    """`1 frame`, `2 frames`."""
    return f"{frames} frame" if frames == 1 else f"{frames} frames"
