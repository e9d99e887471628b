"""Edits: what the user asks for, as plain values that go to JSON and back. `canvas` and `render` carry them out.

Files hold straight alpha. Edits stack in the order given; hiding layers and replacing the background come first.
"""

import json
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from layerloom.core.errors import LayerloomError
from layerloom.edits.canvas import At, CanvasEdit, Overlay, Paint, Place, Text, Texture, parse_colour
from layerloom.edits.shot import (
    Camera,
    Crop,
    Duplicate,
    Extend,
    Freeze,
    Keyframe,
    LeaveShadow,
    Move,
    Reverse,
    Scale,
    ShotEdit,
    Speed,
    Stabilize,
    Unseen,
    Unshadow,
)

FORMAT = "layerloom-edits"
CAMERA_FORMAT = "layerloom-camera"
VERSION = 1


@dataclass(frozen=True)
class Hide:
    """The layer is taken away; what lies behind it shows. Without the background there is black."""

    layer: str


@dataclass(frozen=True)
class Background:
    """A still picture, scaled to cover the frame, or a colour `#rrggbb` in place of the background layer."""

    content: Path | str

    def __post_init__(self) -> None:
        if isinstance(self.content, str):
            parse_colour(self.content)


LookEdit = CanvasEdit | Hide | Background
Edit = LookEdit | ShotEdit

_KINDS: dict[str, type[Edit]] = {
    "texture": Texture,
    "overlay": Overlay,
    "paint": Paint,
    "place": Place,
    "text": Text,
    "hide": Hide,
    "background": Background,
    "move": Move,
    "duplicate": Duplicate,
    "unshadow": Unshadow,
    "leave_shadow": LeaveShadow,
    "freeze": Freeze,
    "reverse": Reverse,
    "speed": Speed,
    "scale": Scale,
    "stabilize": Stabilize,
    "camera": Camera,
    "extend": Extend,
    "crop": Crop,
    "unseen": Unseen,
}


def edits_to_json(edits: Sequence[Edit]) -> str:
    """Text of an edits file. `edits_from_json` gives the same edits back."""
    names = {kind: name for name, kind in _KINDS.items()}
    entries = [{"kind": names[type(edit)], **_values(edit)} for edit in edits]
    return json.dumps({"format": FORMAT, "version": VERSION, "edits": entries}, indent=1, ensure_ascii=False) + "\n"


def edits_from_json(text: str, folder: Path | None = None) -> tuple[Edit, ...]:
    """Edits of an edits file; relative paths count from `folder`.

    LayerloomError for anything that is not such a file.
    """
    try:
        document = json.loads(text)
    except ValueError as error:
        raise LayerloomError(f"edits: not valid JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise LayerloomError(f"edits: the file's format is not '{FORMAT}'")
    if document.get("version") != VERSION:
        raise LayerloomError(f"edits: version {document.get('version')}; this layerloom reads version {VERSION}")
    entries = document.get("edits")
    if not isinstance(entries, list):
        raise LayerloomError("edits: 'edits' must be a list")
    return tuple(_edit_from_json(number, entry, folder or Path()) for number, entry in enumerate(entries, 1))


def camera_from_json(text: str) -> Camera:
    """The camera of a camera file: `keyframes` and `lock` as a camera edit has them."""
    try:
        document = json.loads(text)
    except ValueError as error:
        raise LayerloomError(f"camera: not valid JSON: {error}") from None
    if not isinstance(document, dict) or document.get("format") != CAMERA_FORMAT:
        raise LayerloomError(f"camera: the file's format is not '{CAMERA_FORMAT}'")
    if document.get("version") != VERSION:
        raise LayerloomError(f"camera: version {document.get('version')}; this layerloom reads version {VERSION}")
    values = {str(name): value for name, value in document.items() if name not in ("format", "version")}
    return _read_fields(Camera, "camera", "a camera file", values, Path())


def _values(value: Any) -> Any:
    """A value's fields as JSON has them. A background's path is marked by its key: it is never taken for a colour."""
    if isinstance(value, Background):
        return {"colour": value.content} if isinstance(value.content, str) else {"file": str(value.content)}
    if is_dataclass(value):
        return {field.name: _values(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_values(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _edit_from_json(number: int, entry: Any, folder: Path) -> Edit:
    if not isinstance(entry, dict) or entry.get("kind") not in _KINDS:
        raise LayerloomError(f"edit {number}: 'kind' must be one of {', '.join(_KINDS)}")
    kind = _KINDS[entry["kind"]]
    values = {str(name): value for name, value in entry.items() if name != "kind"}
    where = f"edit {number}"
    if kind is Background:
        return Background(_only_value(where, values, folder))
    return _read_fields(kind, where, f"a '{entry['kind']}' edit", values, folder)


def _read_fields(kind: type[Any], where: str, what: str, values: dict[str, Any], folder: Path) -> Any:
    """A dataclass from its fields as JSON has them.

    LayerloomError for a name, a type or a value that is not allowed.
    """
    names = {field.name for field in fields(kind)}
    required = {field.name for field in fields(kind) if field.default is MISSING}
    if not required <= values.keys() <= names:
        raise LayerloomError(f"{where}: {what} has {_listed(required, names - required)} and nothing else")
    types = get_type_hints(kind)
    read = {name: _read_value(types[name], where, name, value, folder) for name, value in values.items()}
    try:
        return kind(**read)
    except LayerloomError as error:
        raise LayerloomError(f"{where}: {error}") from None


def _listed(required: set[str], optional: set[str]) -> str:
    wanted = [f"if wanted {', '.join(sorted(optional))},"] if optional else []
    return ", ".join([*sorted(required), *wanted]) or "its kind"


def _read_value(wanted: Any, where: str, name: str, value: Any, folder: Path) -> Any:
    if wanted == tuple[Keyframe, ...] and isinstance(value, list):
        return tuple(_read_keyframe(f"{where}, keyframe {number}", entry) for number, entry in enumerate(value, 1))
    if get_origin(wanted) is Literal:
        return read_choice(get_args(wanted), f"{where}: '{name}'", value)
    if wanted is At and isinstance(value, dict):
        return _read_fields(At, f"{where}, place", "a place", _named(value), folder)
    if name == "corners" and isinstance(value, list):
        return tuple(_read_point(where, point) for point in value)
    allowed = {
        type(None): "null",
        int: "a whole number",
        float: "a number",
        str: "text",
        Path: "text",
        bool: "true or false",
        At: "an object",
    }
    types = get_args(wanted) or (wanted,)
    if type(value) in types:
        return value
    if float in types and type(value) is int:
        return float(value)
    if Path in types and type(value) is str:
        return folder / value
    raise LayerloomError(f"{where}: '{name}' must be {' or '.join(allowed.get(kind, 'a list') for kind in types)}")


def read_choice(allowed: Sequence[str], what: str, value: object) -> Any:
    """The value if it is one of the allowed words; else LayerloomError."""
    if value not in allowed:
        raise LayerloomError(f"{what} must be one of {', '.join(allowed)}")
    return value


def _read_point(where: str, point: Any) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2 or not all(type(side) in (int, float) for side in point):
        raise LayerloomError(f"{where}: a corner is a list [x, y] of two numbers")
    return float(point[0]), float(point[1])


def _named(entry: dict[Any, Any]) -> dict[str, Any]:
    return {str(name): value for name, value in entry.items()}


def _read_keyframe(where: str, entry: Any) -> Keyframe:
    if not isinstance(entry, dict):
        raise LayerloomError(f'{where}: must be an object such as {{"frame": 0, "x": 40}}')
    return _read_fields(Keyframe, where, "a keyframe", _named(entry), Path())


def _only_value(where: str, values: dict[str, Any], folder: Path) -> Path | str:
    if len(values) != 1 or not values.keys() <= {"file", "colour"}:
        raise LayerloomError(f"{where}: a 'background' edit has either file or colour")
    name, value = next(iter(values.items()))
    return _read_value(Path if name == "file" else str, where, name, value, folder)
