"""Edits go to JSON and back; anything else is refused with one line."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerloom.edits import (
    BackgroundEdit,
    Edit,
    HideEdit,
    OverlayEdit,
    PaintEdit,
    TextureEdit,
    edits_from_json,
    edits_to_json,
    parse_colour,
)
from layerloom.errors import UserError

names = st.text("abcdefghij-_.0123456789", min_size=1)
files = names.map(Path)
any_edit = st.one_of(
    st.builds(TextureEdit, names, files),
    st.builds(OverlayEdit, names, files),
    st.builds(PaintEdit, st.integers(0, 10**6), files),
    st.builds(HideEdit, names),
    st.builds(BackgroundEdit, files),
    st.builds(BackgroundEdit, st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)),
)


@given(st.lists(any_edit))
def test_json_gives_the_same_edits_back(edits: list[Edit]) -> None:
    assert edits_from_json(edits_to_json(edits)) == tuple(edits)


def test_relative_files_count_from_the_folder_of_the_edits_file() -> None:
    text = edits_to_json([OverlayEdit("dog", Path("logo.png")), TextureEdit("dog", Path("/art/dog.png"))])
    first, second = edits_from_json(text, Path("/shots/bear"))
    assert first == OverlayEdit("dog", Path("/shots/bear/logo.png"))
    assert second == TextureEdit("dog", Path("/art/dog.png"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"kind": "sparkle"}, "'kind' must be one of texture, overlay, paint, hide, background"),
        ({"kind": "hide"}, "a 'hide' edit has layer and nothing else"),
        ({"kind": "hide", "layer": "dog", "file": "x"}, "a 'hide' edit has layer and nothing else"),
        ({"kind": "hide", "layer": 3}, "'layer' must be text"),
        ({"kind": "paint", "frame": "3", "file": "x"}, "'frame' must be a whole number"),
        ({"kind": "paint", "frame": True, "file": "x"}, "'frame' must be a whole number"),
        ({"kind": "background"}, "either file or colour"),
        ({"kind": "background", "colour": "red"}, "write it as #rrggbb"),
        ("hide", "'kind' must be one of"),
    ],
)
def test_a_wrong_edit_is_named(edit: object, message: str) -> None:
    text = json.dumps({"format": "layerloom-edits", "version": 1, "edits": [edit]})
    with pytest.raises(UserError, match=message):
        edits_from_json(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "format is not 'layerloom-edits'"),
        ('{"format": "layerloom-edits", "version": 9, "edits": []}', "version 9"),
        ('{"format": "layerloom-edits", "version": 1}', "'edits' must be a list"),
    ],
)
def test_a_wrong_file_is_named(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        edits_from_json(text)


def test_colours() -> None:
    assert parse_colour("#ff0080") == (1.0, 0.0, 128 / 255)
    for wrong in ("#fff", "#gggggg", "blue", "#ff00800"):
        with pytest.raises(UserError, match="#rrggbb"):
            parse_colour(wrong)
