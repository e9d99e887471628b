"""Objects picked by hand, as they are typed:

    NAME@FRAME:box X,Y,W,H
    NAME@FRAME:points +X,Y,-X,Y,…      (+ inside the object, - outside)
    NAME@FRAME:mask FILE
    NAME@FRAME:absent

The values are `data.selection`'s.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from layerloom.core.errors import LayerloomError
from layerloom.core.records import InvalidValue, Point
from layerloom.data.selection import (
    Box,
    Hint,
    ObjectHints,
    Points,
    Selection,
    read_selection,
    selection_from_json,
    selection_to_json,
)
from layerloom.edits.values import parse_frame, parse_number

__all__ = [
    "Box",
    "Hint",
    "ObjectHints",
    "Points",
    "Selection",
    "parse_selection",
    "read_selection",
    "selection_from_json",
    "selection_to_json",
]


def parse_selection(texts: Sequence[str]) -> Selection | None:
    """What was typed: the forms above, names of files (`*.json`), or both; None if there is nothing.

    Hints of one object may be spread over several. Objects come in the order in which they are first named.
    Raises LayerloomError for what cannot be read.
    """
    hints: dict[str, list[Hint]] = {}
    for text in texts:
        if text.lower().endswith(".json"):
            for each in read_selection(Path(text)).objects:
                hints.setdefault(each.name, []).extend(each.hints)
        else:
            name, hint = _parse_hint(text)
            hints.setdefault(name, []).append(hint)
    if not hints:
        return None
    return Selection(tuple(_object(name, tuple(given)) for name, given in hints.items()))


FORM = "NAME@FRAME:box X,Y,W,H, NAME@FRAME:points +X,Y,-X,Y,…, NAME@FRAME:mask FILE or NAME@FRAME:absent"


def _object(name: str, hints: tuple[Hint, ...]) -> ObjectHints:
    try:
        return ObjectHints(name, hints)
    except InvalidValue as error:
        raise LayerloomError(f"selection of '{name}': {error}") from None


def _parse_hint(text: str) -> tuple[str, Hint]:
    form = re.fullmatch(r"(?P<name>[^@]+)@(?P<frame>[^:]*):(?P<kind>\w+)(?P<value>\s.*)?", text.strip(), re.DOTALL)
    value = (form["value"] or "").strip() if form else ""
    if form is None or (form["kind"] == "absent") == bool(value):
        raise LayerloomError(f"'{text}': the form is {FORM}")
    name = form["name"].strip()
    try:
        frame = parse_frame(form["frame"])
        match form["kind"]:
            case "box":
                left, top, width, height = _numbers(value, 4)
                return name, Hint(frame, box=(left, top, width, height))
            case "points":
                return name, Hint(frame, include=_points(value, "+"), exclude=_points(value, "-"))
            case "mask":
                return name, Hint(frame, mask=Path(value))
            case "absent":
                return name, Hint(frame, absent=True)
            case kind:
                raise LayerloomError(f"'{kind}' is not known; the form is {FORM}")
    except LayerloomError as error:
        raise LayerloomError(f"'{text}': {error}") from None


def _points(text: str, sign: str) -> tuple[Point, ...]:
    """The points that bear a sign: `+X,Y` is inside the object, `-X,Y` outside."""
    parts = re.sub(r"\s", "", text).split(",")
    if len(parts) % 2 or not all(part[:1] in ("+", "-") for part in parts[::2]):
        raise LayerloomError("points are written +X,Y inside the object and -X,Y outside, with commas between")
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return tuple((parse_number(x[1:]), parse_number(y)) for x, y in pairs if x[0] == sign)


def _numbers(text: str, count: int) -> list[float]:
    parts = text.split(",")
    if len(parts) != count:
        raise LayerloomError(f"{count} numbers are wanted, with commas between")
    return [parse_number(part) for part in parts]
