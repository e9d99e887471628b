"""What edits have in common: their names in JSON, and the ranges of their fields."""

import math
import re
from typing import Annotated

from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.records import Record

Layer = Annotated[str, Meta(min_length=1, max_length=255, description="a layer's name")]
Factor = Annotated[float, Meta(ge=0.01, le=100)]
Side = Annotated[int, Meta(ge=0, le=16384)]
"""Pixels on one side of a frame."""


def _kind(name: str) -> str:
    """`LeaveShadow` to `leave_shadow`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class EditRecord(Record, tag_field="kind", tag=_kind):
    """An edit; in JSON its field `kind` says which."""


def parse_number(text: str) -> float:
    """A finite number that was typed. Raises LayerloomError."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise LayerloomError(f"'{text}' is not a number")
    return number


def parse_frame(text: str) -> int:
    """A frame's number that was typed. Raises LayerloomError."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 8):
        raise LayerloomError(f"'{text}': a frame is a whole number, counted from 0")
    return int(text)
