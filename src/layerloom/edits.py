"""Edits: what the user asks for, as plain values that go to JSON and back. `canvas` and `render` carry them out.

Files hold straight alpha. Edits stack in the order given; hiding layers and replacing the background come first.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from layerloom.errors import UserError

FORMAT = "layerloom-edits"
VERSION = 1


@dataclass(frozen=True)
class TextureEdit:
    """An edited copy of the layer's exported texture; any size of its shape. It acts where it differs."""

    layer: str
    file: Path


@dataclass(frozen=True)
class OverlayEdit:
    """An RGBA image laid over the layer's canvas; any size of the canvas' shape."""

    layer: str
    file: Path


@dataclass(frozen=True)
class PaintEdit:
    """An RGBA image of frame size, painted on what is seen in that frame (the source's frames, from 0)."""

    frame: int
    file: Path


@dataclass(frozen=True)
class HideEdit:
    """The layer is taken away; what lies behind it shows. Without the background there is black."""

    layer: str


@dataclass(frozen=True)
class BackgroundEdit:
    """A still picture, scaled to cover the frame, or a colour `#rrggbb` in place of the background layer."""

    content: Path | str

    def __post_init__(self) -> None:
        if isinstance(self.content, str):
            parse_colour(self.content)


Edit = TextureEdit | OverlayEdit | PaintEdit | HideEdit | BackgroundEdit

_KINDS: dict[str, type[Edit]] = {
    "texture": TextureEdit,
    "overlay": OverlayEdit,
    "paint": PaintEdit,
    "hide": HideEdit,
    "background": BackgroundEdit,
}


def parse_colour(text: str) -> tuple[float, float, float]:
    """`#rrggbb` to red, green, blue in [0, 1]."""
    digits = text.removeprefix("#")
    try:
        red, green, blue = bytes.fromhex(digits) if len(digits) == 6 else b""
    except ValueError:
        raise UserError(f"colour '{text}': write it as #rrggbb, such as #3366cc") from None
    return red / 255, green / 255, blue / 255


def edits_to_json(edits: Sequence[Edit]) -> str:
    """Text of an edits file. `edits_from_json` gives the same edits back."""
    names = {kind: name for name, kind in _KINDS.items()}
    entries = [{"kind": names[type(edit)], **_values(edit)} for edit in edits]
    return json.dumps({"format": FORMAT, "version": VERSION, "edits": entries}, indent=1, ensure_ascii=False) + "\n"


def edits_from_json(text: str, folder: Path | None = None) -> tuple[Edit, ...]:
    """Edits of an edits file; relative paths count from `folder`. UserError for anything that is not such a file."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise UserError(f"edits: not valid JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UserError(f"edits: the file's format is not '{FORMAT}'")
    if document.get("version") != VERSION:
        raise UserError(f"edits: version {document.get('version')}; this layerloom reads version {VERSION}")
    entries = document.get("edits")
    if not isinstance(entries, list):
        raise UserError("edits: 'edits' must be a list")
    return tuple(_edit_from_json(number, entry, folder or Path()) for number, entry in enumerate(entries, 1))


def _values(edit: Edit) -> dict[str, Any]:
    """An edit's fields. A path is marked by its key, so that a picture is never taken for a colour."""
    if isinstance(edit, BackgroundEdit):
        return {"colour": edit.content} if isinstance(edit.content, str) else {"file": str(edit.content)}
    values = {field.name: getattr(edit, field.name) for field in fields(edit)}
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}


def _edit_from_json(number: int, entry: Any, folder: Path) -> Edit:
    if not isinstance(entry, dict) or entry.get("kind") not in _KINDS:
        raise UserError(f"edit {number}: 'kind' must be one of {', '.join(_KINDS)}")
    values = {str(name): value for name, value in entry.items() if name != "kind"}
    for name, value in values.items():
        wanted = int if name == "frame" else str
        if type(value) is not wanted:
            raise UserError(f"edit {number}: '{name}' must be {'a whole number' if wanted is int else 'text'}")
    if "file" in values:
        values["file"] = folder / values["file"]
    kind = _KINDS[entry["kind"]]
    if kind is BackgroundEdit:
        return BackgroundEdit(_only_value(number, values))
    expected = {field.name for field in fields(kind)}
    if values.keys() != expected:
        raise UserError(f"edit {number}: a '{entry['kind']}' edit has {', '.join(sorted(expected))} and nothing else")
    return kind(**values)


def _only_value(number: int, values: dict[str, Any]) -> Path | str:
    if len(values) != 1 or not values.keys() <= {"file", "colour"}:
        raise UserError(f"edit {number}: a 'background' edit has either file or colour")
    return next(iter(values.values()))
