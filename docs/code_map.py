"""The README's map of the code, made from the packages' and modules' own docstrings.

python docs/code_map.py          writes it into README.md
python docs/code_map.py --check  exits with 1 where README.md says something else
"""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "layerloom"
README = ROOT / "README.md"
BEGIN, END = "<!-- map: made by docs/code_map.py -->\n", "<!-- end of map -->\n"

GROUPS = {
    "Both halves stand on": ("core", "media", "data", "edits", "synthetic"),
    "The learning half: footage to a project": ("ops", "prepare", "model", "train", "bake", "decompose.py"),
    "The editing half: a project and edits to film": ("compose", "render", "export", "evaluate"),
    "Where they meet": ("neural_render.py",),
    "Applications": ("cli", "editor", "batch"),
}


def first_line(path: Path) -> str:
    """The first line of a module's docstring, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text, f"{path}: a module without a docstring"
    return text.splitlines()[0].rstrip(".")


def rows(name: str) -> list[str]:
    """A package's row and those of the packages in it; or a module's."""
    path = SOURCE / name
    if path.suffix == ".py":
        return [f"| `{name}` | {first_line(path)} | |"]
    files = ", ".join(f"`{file.stem}`" for file in sorted(path.glob("*.py")) if file.name != "__init__.py")
    found = [f"| `{name}/` | {first_line(path / '__init__.py')} | {files} |"]
    for inner in sorted(folder for folder in path.iterdir() if (folder / "__init__.py").is_file()):
        found += rows(f"{name}/{inner.name}")
    return found


def code_map() -> str:
    """The map as Markdown. Every package has its place in it."""
    placed = {name for names in GROUPS.values() for name in names}
    there = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").is_file() or path.suffix == ".py"}
    forgotten = there - placed - {"__init__.py"}
    assert not forgotten, f"not on the map: {', '.join(sorted(forgotten))}; name them in docs/code_map.py"
    lines: list[str] = []
    for title, names in GROUPS.items():
        lines += ["", f"**{title}**", "", "| where | what | files |", "|---|---|---|"]
        for name in names:
            lines += rows(name) if name in there else []
    return "\n".join(lines[1:]) + "\n"


def main() -> int:
    """Write the map into the README, or check it."""
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = f"{before}{BEGIN}{code_map()}{END}{after}"
    if "--check" in sys.argv:
        if made != text:
            print("README.md: the map of the code is not what the docstrings say; run: python docs/code_map.py")
        return int(made != text)
    README.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
