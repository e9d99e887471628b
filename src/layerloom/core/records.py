"""Validated values: the one place where JSON text becomes values, and back.

A Record is a plain frozen value. It is checked when it is made, in Python as from JSON, so that one which exists is
one that holds: types, ranges, lengths, finite numbers, no unknown field. What is refused is named by its path, and
what is allowed there is said, in one wording:

    edits[0].place.x: must be a number from -1e+06 to 1e+06, or null, not 'left'

A Document is a Record that is a whole file; `format` and `version` stand at its head.
"""

import inspect
import json
import math
import stat
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, dataclass_transform, get_type_hints

import msgspec
from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.record_words import explain, join_paths, split_path

MAX_BYTES = 64 * 2**20
"""Of a file that is read as a document."""

LayerName = Annotated[
    str,
    Meta(
        pattern=r"^[\w-][\w.-]*$(?!\n)",
        max_length=255,
        description="a layer's name (letters, digits, '-', '_' and '.', which is not the first)",
    ),
]
Frame = Annotated[int, Meta(ge=0, le=10_000_000, description="a frame's number (a whole one, counted from 0)")]
Coordinate = Annotated[float, Meta(ge=-1e6, le=1e6)]
"""Pixels, texels or degrees: far beyond any picture, and finite."""
Point = tuple[Coordinate, Coordinate]
"""(x, y)"""
Colour = Annotated[str, Meta(pattern="^#?[0-9a-fA-F]{6}$(?!\n)", description="a colour #rrggbb, such as #3366cc")]


class InvalidValue(LayerloomError, ValueError):
    """A value that is not allowed, and the path to it from the value that was being made."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.message = message
        self.path = path


def optional_path(path: str | Path | None) -> Path | None:
    """None stays None."""
    return None if path is None else Path(path)


def path_field(*, converter: Callable[..., Path | None], default: Any = msgspec.NODEFAULT) -> Any:
    """A field of a Record that holds a path and is made from text, too.

    converter: Path or optional_path. It tells type checkers what the field is made from; the field's type does the
    work.
    """
    return msgspec.field(default=default)


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field, path_field))
class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A plain value: frozen, hashable, equal by content, with fields by position or name.

    Raises InvalidValue (a LayerloomError) when it is made of what is not allowed.
    """

    def __post_init__(self) -> None:
        for name, kind in _field_types(type(self)).items():
            given = getattr(self, name)
            checked = _convert(given, kind, name)
            if checked is not given:
                msgspec.structs.force_setattr(self, name, checked)
        self.check()

    def check(self) -> None:
        """What must hold between fields. Raises InvalidValue."""


class Document(Record, kw_only=True, tag_field="format"):
    """A file of its own. A subclass names its format by its tag, and its version here if it is not 1."""

    VERSION: ClassVar[int] = 1
    WHAT: ClassVar[str] = "the file"
    """What complaints call it."""
    version: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.version != self.VERSION:
            raise InvalidValue(f"{self.version}; this layerloom reads version {self.VERSION}", "version")


class Head(msgspec.Struct):
    """What stands at the head of any document, unchecked."""

    format: Any = None
    version: Any = None
    minor_version: Any = None


RecordKind = TypeVar("RecordKind", bound=Record)
DocumentKind = TypeVar("DocumentKind", bound=Document)


def read_document(path: Path, kind: type[DocumentKind]) -> DocumentKind:
    """A document's file; relative paths in it count from its folder.

    Raises LayerloomError, which names the file, if there is none or it is not such a document.
    """
    text = read_text(path)
    try:
        return parse_document(text, kind, path.parent)
    except LayerloomError as error:
        raise LayerloomError(f"{path}: {error}") from None


def read_text(path: Path) -> str:
    """A text file of at most MAX_BYTES in UTF-8. Raises LayerloomError, which names the file."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise LayerloomError(f"{path}: not a file")
        if status.st_size > MAX_BYTES:
            raise LayerloomError(f"{path}: {status.st_size} bytes; allowed are up to {MAX_BYTES}")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise LayerloomError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        reason = "not text in UTF-8" if isinstance(error, UnicodeDecodeError) else f"cannot be read: {error}"
        raise LayerloomError(f"{path}: {reason}") from None


def peek_head(text: str) -> Head:
    """The head of a document, so that another format or version is called that, whatever else is in it.

    Raises LayerloomError for what is no JSON.
    """
    head = _decode(text, Head | list[Any] | int | float | str | bool | None, None)
    return head if isinstance(head, Head) else Head()


def parse_document(text: str, kind: type[DocumentKind], folder: Path | None = None) -> DocumentKind:
    """A document from its text. `folder`: what relative paths in it count from; None leaves them as they are.

    Raises LayerloomError for anything else, another format or a version that is not known.
    """
    wanted = kind.__struct_config__.tag
    head = peek_head(text)
    if head.format != wanted:
        raise LayerloomError(f"{kind.WHAT}: the file's format is not '{wanted}'")
    if type(head.version) is not int or head.version != kind.VERSION:
        version = "no version" if head.version is None else f"version {str(head.version)[:20]}"
        raise LayerloomError(f"{kind.WHAT}: {version}; this layerloom reads version {kind.VERSION}")
    try:
        return _decode(text, kind, folder)
    except InvalidValue as error:
        raise LayerloomError(f"{kind.WHAT}: {error}" if not error.path else str(error)) from None


def parse_record(text: str | bytes, kind: type[RecordKind], folder: Path | None = None) -> RecordKind:
    """A record from its JSON text, such as a message. Raises LayerloomError."""
    return _decode(text, kind, folder)


def parse_one_of(text: str | bytes, kinds: Any, folder: Path | None = None) -> Any:
    """A record of one of several classes, which their tags tell apart. kinds: their union. Raises LayerloomError."""
    return _decode(text, kinds, folder)


def record_values(record: Record) -> dict[str, Any]:
    """A record as JSON has it: dicts, lists, text, numbers. A document's format and version come first."""
    values = msgspec.to_builtins(record, enc_hook=_encode)
    if isinstance(record, Document):
        values = {"format": values.pop("format"), "version": values.pop("version"), **values}
    return values


def document_text(document: Document) -> str:
    """The text of a document's file. `parse_document` gives the same document back."""
    return json.dumps(record_values(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_schema(kind: type[Record]) -> dict[str, Any]:
    """The JSON schema (2020-12) of a record's class. Rules of `check` are not in it."""
    (reference,), components = msgspec.json.schema_components(
        [kind], schema_hook=lambda custom: {"type": "string"}, ref_template="#/$defs/{name}"
    )
    for component in components.values():
        component["description"] = inspect.cleandoc(component.get("description", ""))
    if issubclass(kind, Document):
        head = components[kind.__name__]
        head["properties"]["version"] = {"const": kind.VERSION}
        head["required"] = ["format", "version", *(name for name in head["required"] if name != "format")]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **reference, "$defs": components}


def _decode(text: str | bytes, kind: Any, folder: Path | None) -> Any:
    def decode_path(custom: type, value: Any) -> Any:
        return _to_path(custom, value, folder)

    try:
        return msgspec.json.decode(text, type=kind, dec_hook=decode_path)
    except msgspec.ValidationError as error:
        raise InvalidValue(*_explained(error, kind, _loosely(text))) from None
    except RecursionError:
        raise LayerloomError("not valid JSON: lists or objects lie too deep in one another") from None
    except (msgspec.DecodeError, UnicodeError) as error:
        reason = str(error).removeprefix("JSON is malformed: ")
        raise LayerloomError(f"not valid JSON: {reason}") from None


def _explained(error: msgspec.ValidationError, kind: Any, value: Any) -> tuple[str, str]:
    """Message and path."""
    cause = error.__cause__
    if isinstance(cause, InvalidValue):
        return cause.message, join_paths(split_path(str(error))[1], cause.path)
    return explain(str(error), kind, value)


def _loosely(text: str | bytes) -> Any:
    """Whatever JSON there is, to be quoted in a complaint; None if there is none."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _convert(value: Any, kind: Any, name: str) -> Any:
    """A field's value as its type wants it. Raises InvalidValue."""
    try:
        checked = msgspec.convert(value, kind, dec_hook=lambda custom, item: _to_path(custom, item, None))
    except msgspec.ValidationError as error:
        message, path = _explained(error, kind, value)
        raise InvalidValue(message, join_paths(name, path)) from None
    if isinstance(checked, float) and not math.isfinite(checked):
        raise InvalidValue(f"must be a finite number, not {checked}", name)
    return checked


def _to_path(custom: type, value: Any, folder: Path | None) -> Path:
    if not issubclass(custom, Path) or not isinstance(value, str | Path):
        raise TypeError
    if "\0" in str(value):
        raise ValueError("must be the name of a file, which holds no null character")
    return Path(value) if folder is None else folder / value


def _encode(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not part of a record")


@cache
def _field_types(kind: type[Record]) -> Mapping[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: hints[name] for name in kind.__struct_fields__}
