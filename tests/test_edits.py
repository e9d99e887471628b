"""Edits go to JSON and back; anything else is refused with one line."""

import json
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layerloom.core.errors import LayerloomError
from layerloom.edits.canvas import At, Blend, Ends, Overlay, Paint, Place, Text, Texture, parse_colour
from layerloom.edits.document import Background, Edit, Hide, edits_from_json, edits_to_json
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
    Speed,
    Stabilize,
    Unseen,
    Unshadow,
)

names = st.text("abcdefghij-_.0123456789", min_size=1)
files = names.map(Path)
frames, numbers, positive = st.integers(0, 10**6), st.floats(-1e6, 1e6), st.floats(0.01, 100)
places = (names, numbers, numbers, positive, numbers)
keyframes = st.lists(st.builds(Keyframe, frames, numbers, numbers, positive, numbers), unique_by=lambda key: key.frame)
blends, ends = st.sampled_from(get_args(Blend)), st.sampled_from(get_args(Ends))
placements = st.one_of(
    st.builds(At, numbers, numbers, st.none() | frames, st.none() | positive, numbers, rigid=st.booleans()),
    st.builds(At, frame=st.none() | frames, corners=st.tuples(*[st.tuples(numbers, numbers)] * 4)),
)
any_edit = st.one_of(
    st.builds(Move, *places),
    st.builds(Duplicate, *places),
    st.builds(Freeze, names, frames),
    st.builds(Reverse, names),
    st.builds(Unshadow, names),
    st.builds(LeaveShadow, names),
    st.builds(Speed, positive),
    st.builds(Scale, st.floats(0.05, 8)),
    st.builds(Stabilize, names, st.floats(0, 1)),
    st.builds(Camera, keyframes.map(lambda keys: tuple(sorted(keys, key=lambda key: key.frame))), frames),
    st.builds(Extend, *[st.integers(0, 16384)] * 4),
    st.builds(Crop),
    st.builds(Unseen, st.sampled_from(["transparent", "#00ff00"])),
    st.builds(Texture, names, files),
    st.builds(Overlay, names, files, blends, ends),
    st.builds(Paint, st.integers(0, 10**6), files, blends),
    st.builds(Place, names, files, placements, blends, ends),
    st.builds(Text, names, names, placements, st.just("#ff8000"), st.none() | files, blends),
    st.builds(Hide, names),
    st.builds(Background, files),
    st.builds(Background, st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)),
)


# The checks of types while tests run draw random numbers of their own.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module")
@given(st.lists(any_edit))
def test_json_gives_the_same_edits_back(edits: list[Edit]) -> None:
    assert edits_from_json(edits_to_json(edits)) == tuple(edits)


def test_relative_files_count_from_the_folder_of_the_edits_file() -> None:
    text = edits_to_json([Overlay("dog", Path("logo.png")), Texture("dog", Path("/art/dog.png"))])
    first, second = edits_from_json(text, Path("/shots/bear"))
    assert first == Overlay("dog", Path("/shots/bear/logo.png"))
    assert second == Texture("dog", Path("/art/dog.png"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        ({"kind": "sparkle"}, "'kind' must be one of texture, overlay, paint, place, text, hide, background"),
        ({"kind": "hide"}, "a 'hide' edit has layer and nothing else"),
        ({"kind": "hide", "layer": "dog", "file": "x"}, "a 'hide' edit has layer and nothing else"),
        ({"kind": "hide", "layer": 3}, "'layer' must be text"),
        ({"kind": "paint", "frame": "3", "file": "x"}, "'frame' must be a whole number"),
        ({"kind": "paint", "frame": True, "file": "x"}, "'frame' must be a whole number"),
        (
            {"kind": "overlay", "layer": "dog", "file": "x", "blend": "burn"},
            "edit 1: 'blend' must be one of normal, multiply, screen, add",
        ),
        ({"kind": "overlay", "layer": "dog", "file": "x", "ends": "stop"}, "'ends' must be one of loop, hold"),
        ({"kind": "overlay", "layer": "dog", "file": "x", "blend": 1}, "'blend' must be one of"),
        ({"kind": "text", "layer": "dog", "text": " ", "place": {"x": 1, "y": 2}}, "a text without a letter"),
        ({"kind": "text", "layer": "dog", "text": "a", "place": 3}, "'place' must be an object"),
        (
            {"kind": "text", "layer": "dog", "text": "a", "place": {"x": 1}},
            "place: a place has either x and y",
        ),
        (
            {"kind": "text", "layer": "dog", "text": "a", "place": {"x": 1, "y": 2, "rigid": 1}},
            "'rigid' must be true or false",
        ),
        (
            {"kind": "place", "layer": "dog", "file": "x", "place": {"corners": [[0, 0], [1, 0], [1, 1]]}},
            "a place with corners has four",
        ),
        (
            {"kind": "place", "layer": "dog", "file": "x", "place": {"corners": [[0, 0], [1, 0], [1, 1], [0]]}},
            r"a corner is a list \[x, y\] of two numbers",
        ),
        ({"kind": "place", "layer": "dog", "file": "x", "place": {"x": 1, "y": 2, "height": 0}}, "height 0: allowed"),
        ({"kind": "background"}, "either file or colour"),
        ({"kind": "background", "colour": "red"}, "write it as #rrggbb"),
        ("hide", "'kind' must be one of"),
        ({"kind": "crop", "zoom": 2}, "a 'crop' edit has its kind and nothing else"),
        ({"kind": "move"}, "a 'move' edit has layer, if wanted down, right, rotation_degrees, scale, and nothing else"),
        ({"kind": "move", "layer": "dog", "right": "3"}, "'right' must be a number"),
        ({"kind": "move", "layer": "dog", "scale": 0}, "edit 1: scale 0: allowed are 0.01 to 100"),
        ({"kind": "move", "layer": "dog", "right": float("nan")}, "right nan: allowed are"),
        ({"kind": "speed", "factor": -1}, "factor -1: allowed are 0.01 to 100"),
        ({"kind": "stabilize", "layer": "dog", "strength": 2}, "strength 2: allowed are 0 to 1"),
        ({"kind": "camera"}, "neither keyframes nor a frame to lock to"),
        ({"kind": "camera", "keyframes": 3}, "'keyframes' must be a list"),
        ({"kind": "camera", "lock": "first"}, "'lock' must be a whole number or null"),
        ({"kind": "camera", "keyframes": [{"frame": 4}, {"frame": 4}]}, "frames 4, 4; each must come after the last"),
        ({"kind": "camera", "keyframes": [{"x": 4}]}, "edit 1, keyframe 1: a keyframe has frame, if wanted rotation"),
        ({"kind": "camera", "keyframes": [7]}, "edit 1, keyframe 1: must be an object"),
        ({"kind": "camera", "keyframes": [{"frame": 0, "zoom": 0}]}, "keyframe 1: zoom 0: allowed are"),
        ({"kind": "extend", "left": -1, "top": 0, "right": 0, "bottom": 0}, "left -1: allowed are 0 to 16384"),
        ({"kind": "unseen", "content": "red"}, "allowed are transparent and a colour"),
    ],
)
def test_a_wrong_edit_is_named(edit: object, message: str) -> None:
    text = json.dumps({"format": "layerloom-edits", "version": 1, "edits": [edit]})
    with pytest.raises(LayerloomError, match=message):
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
    with pytest.raises(LayerloomError, match=message):
        edits_from_json(text)


def test_colours() -> None:
    assert parse_colour("#ff0080") == (1.0, 0.0, 128 / 255)
    for wrong in ("#fff", "#gggggg", "blue", "#ff00800"):
        with pytest.raises(LayerloomError, match="#rrggbb"):
            parse_colour(wrong)
