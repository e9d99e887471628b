"""The JSON schemas in the docs are those of the classes, and say what the program says."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from truth_project import make_truth_project

from layerloom import edits as e
from layerloom.export.export import export
from layerloom.synthetic.clip import make_clip

DOCS = Path(__file__).parents[1] / "docs"


def schema(name: str) -> Any:
    return json.loads((DOCS / "schema" / f"{name}.json").read_text(encoding="utf-8"))


def check(name: str, text: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    Draft202012Validator(schema(name)).validate(json.loads(text))


def test_they_are_made_from_the_classes() -> None:
    spec = importlib.util.spec_from_file_location("schemas", DOCS / "schemas.py")
    assert spec is not None and spec.loader is not None
    schemas = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(schemas)
    for file, text in schemas.schema_texts().items():
        assert file.read_text(encoding="utf-8") == text, f"{file}: out of date; python docs/schemas.py writes it"


def test_what_is_written_fits_them(tmp_path: Path) -> None:
    place = e.At(frame=1, x=3, y=1)
    work: list[e.Edit] = [e.Texture("bear", "a.png"), e.Text("bear", "HELLO", place), e.Speed(0.5), e.Crop()]
    work += [e.Background("#3366cc"), e.Camera((e.Keyframe(3),)), e.Unseen("transparent")]
    check("edits", e.edits_to_json(work))
    project = make_truth_project(tmp_path, make_clip((64, 48), 2, seed=1))
    check("project", (project.path / "project.json").read_text())
    export(project, tmp_path / "out", ["st16", "textures"])
    check("manifest", (tmp_path / "out" / "manifest.json").read_text())


@pytest.mark.parametrize(
    "edit", [{"kind": "sparkle"}, {"kind": "speed"}, {"kind": "speed", "factor": 0}, {"kind": "crop", "zoom": 2}]
)
def test_what_is_refused_does_not(edit: object) -> None:
    text = json.dumps({"format": "layerloom-edits", "version": 1, "edits": [edit]})
    with pytest.raises(ValidationError):
        check("edits", text)
