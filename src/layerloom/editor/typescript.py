"""The page's types, made from the classes of the messages, so that both sides speak of the same.

python -m layerloom.editor.typescript > client/src/protocol.ts
python -m layerloom.editor.typescript footage > client/src/footage/protocol.ts
"""

import sys
from types import ModuleType
from typing import Any

import msgspec

from layerloom.editor import protocol
from layerloom.editor.footage import messages

HEAD = "/** Messages between page and program. Made by `python -m layerloom.editor.typescript`; not to be edited. */\n"


def typescript(module: ModuleType = protocol) -> str:
    """The text of protocol.ts. module: has the unions Request and Answer."""
    _, components = msgspec.json.schema_components(
        [module.Request, module.Answer], schema_hook=lambda custom: {"type": "string"}, ref_template="{name}"
    )
    parts = [HEAD, *(_interface(name, schema) for name, schema in sorted(components.items()))]
    for name in ("Request", "Answer"):
        members = sorted(kind.__name__ for kind in getattr(module, name).__args__)
        parts.append(f"export type {name} = {' | '.join(members)};\n")
    return "\n".join(parts)


def _interface(name: str, schema: dict[str, Any]) -> str:
    required = set(schema.get("required", []))
    lines = [f"export interface {name} {{"]
    for field, entry in schema.get("properties", {}).items():
        lines.append(f"  {field}{'' if field in required else '?'}: {_type(entry)};")
    about = schema.get("description")
    comment = f"/** {' '.join(about.split())} */\n" if about else ""
    return comment + "\n".join([*lines, "}"]) + "\n"


def _type(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        return schema["$ref"]
    for words in ("anyOf", "oneOf"):
        if words in schema:
            return " | ".join(dict.fromkeys(_type(entry) for entry in schema[words]))
    if "const" in schema:
        return msgspec.json.encode(schema["const"]).decode()
    if "enum" in schema:
        return " | ".join(msgspec.json.encode(value).decode() for value in schema["enum"])
    return _simple(schema)


def _simple(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"[{', '.join(_type(entry) for entry in schema['prefixItems'])}]"
    if kind == "array":
        item = _type(schema.get("items", {}))
        return f"({item})[]" if " " in item else f"{item}[]"
    names = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean", "null": "null"}
    return names.get(str(kind), "unknown")


if __name__ == "__main__":
    print(typescript(messages if sys.argv[1:] == ["footage"] else protocol), end="")
