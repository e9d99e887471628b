"""What complaints about values say: the path to the value, what is allowed there, and what was given."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import inspect

MOST_SIGNS = 40
"""Of a value that is quoted."""


def explain(complaint: str, kind: Any, value: Any) -> tuple[str, str]:
    """(message, path) for a complaint of msgspec's about `value`, which should be of `kind`.

    value: as JSON has it; None if it is not known.
    """
    reason, path = split_path(complaint)
    wanted, given = _follow(inspect.type_info(kind), value, path)
    field = re.match(r"Object (contains unknown|missing required) field `(.*)`$", reason, re.DOTALL)
    if field is None:
        broken = reason if isinstance(_bare(wanted), inspect.CustomType) and reason.startswith("must ") else None
        return broken or f"must be {describe(wanted)}, not {_quote(given, reason)}", path
    name = _cut(field[2])
    structs = list(_structs(wanted, given))
    if field[1] == "missing required" and name in {struct.tag_field for struct in structs}:
        return f"lacks '{name}': one of {', '.join(str(struct.tag) for struct in _structs(wanted, None))}", path
    allowed = _describe_fields(structs[0]) if structs else ""
    return (f"'{name}' is not known here" if field[1] == "contains unknown" else f"lacks '{name}'") + allowed, path


def split_path(complaint: str) -> tuple[str, str]:
    """``Expected … - at `$.edits[0].x` `` to what is wrong and `edits[0].x`."""
    reason, found, path = complaint.rpartition(" - at `")
    return (reason, path.removesuffix("`").lstrip("$.")) if found else (complaint, "")


def join_paths(outer: str, inner: str) -> str:
    """A path, and one that goes on from there."""
    return f"{outer}.{inner}" if outer and inner and not inner.startswith("[") else outer + inner


def describe(kind: inspect.Type) -> str:
    """What a type allows, in words."""
    match kind:
        case inspect.Metadata():
            return str((kind.extra_json_schema or {}).get("description", "")) or describe(kind.type)
        case inspect.IntType():
            return f"a whole number{_describe_range(kind)}"
        case inspect.FloatType():
            return f"a number{_describe_range(kind)}"
        case inspect.LiteralType():
            return f"one of {', '.join(map(str, kind.values))}"
        case inspect.TupleType():
            return f"a list of {len(kind.item_types)}"
        case inspect.VarTupleType() | inspect.ListType():
            return "a list" + ("" if kind.max_length is None else f" of {kind.min_length or 0} to {kind.max_length}")
        case inspect.StrType():
            return "text" + ("" if kind.max_length is None else f" of 1 to {kind.max_length} letters")
        case inspect.UnionType():
            parts = [describe(part) for part in kind.types]
            return " or ".join(dict.fromkeys(sorted(parts, key=lambda part: part == "null")))
        case _:
            words: dict[type, str] = {
                inspect.BoolType: "true or false",
                inspect.NoneType: "null",
                inspect.CustomType: "the name of a file",
                inspect.AnyType: "a value",
            }
            return words.get(type(kind), "an object")


def _describe_range(kind: inspect.IntType | inspect.FloatType) -> str:
    low = kind.ge if kind.gt is None else kind.gt
    high = kind.le if kind.lt is None else kind.lt
    first = "" if low is None else f" from {_plain(low)}" if kind.gt is None else f" above {_plain(low)}"
    last = "" if high is None else f" to {_plain(high)}" if kind.lt is None else f" below {_plain(high)}"
    return first + last


def _describe_fields(struct: inspect.StructType) -> str:
    required = [field.encode_name for field in struct.fields if field.required]
    optional = [field.encode_name for field in struct.fields if not field.required]
    parts = [*required, *([f"if wanted {', '.join(optional)}"] if optional else [])]
    return f"; there are {', '.join(parts)}" if parts else "; there is nothing else"


def _follow(kind: inspect.Type, value: Any, path: str) -> tuple[inspect.Type, Any]:
    """The type and the value at a path. A value that cannot be followed is None, such a type anything."""
    for field, index in re.findall(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]", path):
        if field:
            kind = _field_type(kind, value, field)
            value = value.get(field) if isinstance(value, dict) else getattr(value, field, None)
        else:
            place = int(index) if index.isdigit() else 0
            kind = _item_type(kind, place)
            value = value[place] if isinstance(value, Sequence) and place < len(value) else None
    return kind, value


def _field_type(kind: inspect.Type, value: Any, name: str) -> inspect.Type:
    structs = list(_structs(kind, value))
    for struct in structs:
        if name == struct.tag_field:
            return inspect.LiteralType(tuple(str(each.tag) for each in _structs(kind, None)))
    fields = [field for struct in structs for field in struct.fields if field.encode_name == name]
    return fields[0].type if fields else inspect.AnyType()


def _item_type(kind: inspect.Type, place: int) -> inspect.Type:
    for part in _parts(kind):
        match part:
            case inspect.TupleType() if place < len(part.item_types):
                return part.item_types[place]
            case inspect.VarTupleType() | inspect.ListType():
                return part.item_type
            case _:
                pass
    return inspect.AnyType()


def _structs(kind: inspect.Type, value: Any) -> Iterator[inspect.StructType]:
    """The records that a value may be meant as: the one of its tag, else all of the type."""
    structs = [part for part in _parts(kind) if isinstance(part, inspect.StructType)]
    named = [part for part in structs if isinstance(value, dict) and value.get(part.tag_field, value) == part.tag]
    yield from named or structs


def _parts(kind: inspect.Type) -> Iterator[inspect.Type]:
    bare = _bare(kind)
    for part in bare.types if isinstance(bare, inspect.UnionType) else (bare,):
        yield _bare(part)


def _bare(kind: inspect.Type) -> inspect.Type:
    return _bare(kind.type) if isinstance(kind, inspect.Metadata) else kind


def _quote(value: Any, reason: str) -> str:
    """The value in a word or two."""
    if "out of range" in reason:
        return "one of so many digits"
    if value is None:
        got = re.search(r"got `(\w+)`", reason)
        words = {"null": "null", "array": "a list", "list": "a list", "int": "a number", "float": "a number"}
        return words.get(got[1], "that") if got else "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return _cut(str(value).lower() if isinstance(value, bool) else repr(value))


def _cut(text: str) -> str:
    text = "".join(sign if sign.isprintable() else "?" for sign in text)
    return text if len(text) <= MOST_SIGNS else f"{text[: MOST_SIGNS - 1]}…"


def _plain(number: int | float) -> str:
    return str(int(number)) if number == int(number) else f"{number:g}"
