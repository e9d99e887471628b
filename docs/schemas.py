"""JSON schemas of the files that others may write or read, made from the classes that read them.

python docs/schemas.py    writes docs/schema/*.json
"""

import json
from pathlib import Path

from layerloom.core.records import Document, json_schema
from layerloom.data.project_header import ProjectHeader
from layerloom.data.selection import Selection
from layerloom.data.shot_set import ShotsFile
from layerloom.edits.document import CameraFile, EditsFile
from layerloom.export.manifest import Manifest

FOLDER = Path(__file__).resolve().parent / "schema"
KINDS: dict[str, type[Document]] = {
    "edits": EditsFile,
    "camera": CameraFile,
    "selection": Selection,
    "project": ProjectHeader,
    "manifest": Manifest,
    "shots": ShotsFile,
}


def schema_texts() -> dict[Path, str]:
    """Each file's text."""
    return {
        FOLDER / f"{name}.json": json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"
        for name, kind in KINDS.items()
    }


def main() -> None:
    """Write them."""
    FOLDER.mkdir(exist_ok=True)
    for file, text in schema_texts().items():
        file.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
