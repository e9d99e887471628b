"""Edits go to JSON and back; anything else is refused with one line."""

import json
import math
from collections.abc import Callable
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
        ({"kind": "sparkle"}, r"edits\[0\].kind: must be one of texture, overlay, paint, .*, not 'sparkle'"),
        ({"kind": []}, r"edits\[0\].kind: must be one of .*, not a list of 0"),
        ({"kind": None}, r"edits\[0\].kind: must be one of .*, not null"),
        ({"layer": "dog"}, r"edits\[0\]: lacks 'kind': one of texture, overlay"),
        ({"kind": "hide"}, r"edits\[0\]: lacks 'layer'; there are layer"),
        ({"kind": "hide", "layer": "dog", "file": "x"}, r"edits\[0\]: 'file' is not known here; there are layer"),
        ({"kind": "hide", "layer": 3}, r"edits\[0\].layer: must be a layer's name, not 3"),
        ({"kind": "paint", "frame": "3", "file": "x"}, r"edits\[0\].frame: must be a frame's number .*, not '3'"),
        ({"kind": "paint", "frame": True, "file": "x"}, r"edits\[0\].frame: must be a frame's number .*, not true"),
        ({"kind": "paint", "frame": -1, "file": "x"}, r"edits\[0\].frame: must be a frame's number .*, not -1"),
        ({"kind": "paint", "frame": 1, "file": 7}, r"edits\[0\].file: must be the name of a file, not 7"),
        (
            {"kind": "paint", "frame": 1, "file": "a\0"},
            "file: must be the name of a file, which holds no null",
        ),
        (
            {"kind": "overlay", "layer": "dog", "file": "x", "blend": "burn"},
            r"edits\[0\].blend: must be one of add, multiply, normal, screen, not 'burn'",
        ),
        (
            {"kind": "overlay", "layer": "dog", "file": "x", "ends": "stop"},
            "ends: must be one of hold, loop",
        ),
        ({"kind": "overlay", "layer": "dog", "file": "x", "blend": 1}, "blend: must be one of .*, not 1"),
        ({"kind": "text", "layer": "dog", "text": " ", "place": {"x": 1, "y": 2}}, "text: a text without a letter"),
        ({"kind": "text", "layer": "dog", "text": "a", "place": 3}, "place: must be an object, not 3"),
        ({"kind": "text", "layer": "dog", "text": "a", "place": {"x": 1}}, "place: a place has either x and y"),
        (
            {"kind": "text", "layer": "dog", "text": "a", "place": {"x": "left", "y": 2}},
            r"edits\[0\].place.x: must be a number from -1000000 to 1000000 or null, not 'left'",
        ),
        (
            {"kind": "text", "layer": "dog", "text": "a", "place": {"x": 1, "y": 2, "rigid": 1}},
            r"edits\[0\].place.rigid: must be true or false, not 1",
        ),
        (
            {"kind": "place", "layer": "dog", "file": "x", "place": {"corners": [[0, 0], [1, 0], [1, 1]]}},
            r"edits\[0\].place.corners: must be a list of 4 or null, not a list of 3",
        ),
        (
            {"kind": "place", "layer": "dog", "file": "x", "place": {"corners": [[0, 0], [1, 0], [1, 1], [0]]}},
            r"edits\[0\].place.corners\[3\]: must be a list of 2, not a list of 1",
        ),
        (
            {"kind": "place", "layer": "dog", "file": "x", "place": {"x": 1, "y": 2, "height": 0}},
            "place.height: must be a number above 0 to 16384 or null, not 0",
        ),
        ({"kind": "background"}, "either file or colour"),
        ({"kind": "background", "colour": "red"}, "colour: must be a colour #rrggbb.*, not 'red'"),
        ({"kind": "background", "colour": "#00ff00\n"}, "colour: must be a colour #rrggbb"),
        ("hide", r"edits\[0\]: must be an object, not 'hide'"),
        ({"kind": "crop", "zoom": 2}, "'zoom' is not known here; there is nothing else"),
        ({"kind": "move"}, "lacks 'layer'; there are layer, if wanted right, down, scale, rotation_degrees"),
        ({"kind": "move", "layer": "dog", "right": "3"}, "right: must be a number from -1000000 to 1000000, not '3'"),
        ({"kind": "move", "layer": "dog", "scale": 0}, r"edits\[0\].scale: must be a number from 0.01 to 100, not 0"),
        ({"kind": "speed", "factor": -1}, "factor: must be a number from 0.01 to 100, not -1"),
        ({"kind": "stabilize", "layer": "dog", "strength": 2}, "strength: must be a number from 0 to 1, not 2"),
        ({"kind": "camera"}, "a camera has keyframes, or a frame to lock to"),
        ({"kind": "camera", "keyframes": 3}, "keyframes: must be a list of 0 to 100000, not 3"),
        ({"kind": "camera", "lock": "first"}, "lock: must be a frame's number .* or null, not 'first'"),
        (
            {"kind": "camera", "keyframes": [{"frame": 4}, {"frame": 4}]},
            r"edits\[0\].keyframes: frames 4, 4; each must come after the last",
        ),
        ({"kind": "camera", "keyframes": [{"x": 4}]}, r"edits\[0\].keyframes\[0\]: lacks 'frame'; there are frame"),
        ({"kind": "camera", "keyframes": [7]}, r"edits\[0\].keyframes\[0\]: must be an object, not 7"),
        (
            {"kind": "camera", "keyframes": [{"frame": 0, "zoom": 0}]},
            r"keyframes\[0\].zoom: must be a number",
        ),
        (
            {"kind": "extend", "left": -1, "top": 0, "right": 0, "bottom": 0},
            "left: must be a whole number from 0 to 16384",
        ),
        ({"kind": "extend", "left": 0.5, "top": 0, "right": 0, "bottom": 0}, "left: must be a whole .*, not 0.5"),
        ({"kind": "unseen", "content": "red"}, "content: must be transparent, or a colour"),
    ],
)
def test_a_wrong_edit_is_named(edit: object, message: str) -> None:
    text = json.dumps({"format": "layerloom-edits", "version": 1, "edits": [edit]})
    with pytest.raises(LayerloomError, match=message):
        edits_from_json(text)


DEEP = "[" * 200_000 + "]" * 200_000
HEAD = '{"format": "layerloom-edits", "version": 1, "edits": '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "format is not 'layerloom-edits'"),
        ('{"format": ["layerloom-edits"], "version": 1, "edits": []}', "format is not 'layerloom-edits'"),
        ('{"format": "layerloom-edits", "version": 9, "edits": []}', "version 9; this layerloom reads version 1"),
        ('{"format": "layerloom-edits", "version": true, "edits": []}', "version True; this layerloom reads version 1"),
        ('{"format": "layerloom-edits", "edits": []}', "no version; this layerloom reads version 1"),
        ('{"format": "layerloom-edits", "version": 1}', "lacks 'edits'"),
        (HEAD + '[], "more": 1}', "'more' is not known here"),
        (HEAD + '{"0": {}}}', "edits: must be a list"),
        (HEAD + '[{"kind": "speed", "factor": NaN}]}', "not valid JSON"),
        (HEAD + '[{"kind": "speed", "factor": Infinity}]}', "not valid JSON"),
        (HEAD + '[{"kind": "speed", "factor": 1e999}]}', r"edits\[0\].factor: must be .*, not one of so many digits"),
        (HEAD + f'[{{"kind": "speed", "factor": {"9" * 400}}}]}}', r"edits\[0\].factor: must be"),
        (HEAD + f'[{{"kind": "freeze", "layer": "a", "frame": {"9" * 400}}}]}}', r"edits\[0\].frame: must be"),
        (HEAD + f'[{{"kind": "freeze", "layer": "a", "frame": {"9" * 9000}}}]}}', r"edits\[0\].frame: must be"),
        (DEEP, "not valid JSON: lists or objects lie too deep"),
        (HEAD + DEEP + "}", "not valid JSON: lists or objects lie too deep"),
        (HEAD + f'[{{"kind": "hide", "layer": {DEEP}}}]}}', "not valid JSON: lists or objects lie too deep"),
        (f'{{"more": {DEEP}, "format": "layerloom-edits"}}', "not valid JSON: lists or objects lie too deep"),
        (HEAD + '[{"kind": "hide", "layer": "\\ud800"}]}', "not valid JSON"),
    ],
    ids=range(20),
)
def test_a_wrong_file_is_named(text: str, message: str) -> None:
    with pytest.raises(LayerloomError, match=message) as caught:
        edits_from_json(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: At(math.nan, 1), "x: must be a number from -1000000 to 1000000 or null, not nan"),
        (lambda: At(1, math.inf), "y: must be"),
        (lambda: At(corners=((0, 0), (1, 0), (1, 1), (0, math.nan))), r"corners\[3\]\[1\]: must be a number"),
        (lambda: Speed(math.nan), "factor: must be a number from 0.01 to 100, not nan"),
        (lambda: Extend(math.inf, 0, 0, 0), "left: must be a whole number"),  # pyright: ignore[reportArgumentType]
        (lambda: Overlay("dog", "x", "burn"), "blend: must be one of"),  # pyright: ignore[reportArgumentType]
        (lambda: Overlay("dog", 3), "file: must be the name of a file, not 3"),  # pyright: ignore[reportArgumentType]
        (lambda: Place("dog", "x", 3), "place: must be an object, not 3"),  # pyright: ignore[reportArgumentType]
        (lambda: Freeze("", 3), "layer: must be a layer's name, not ''"),
        (lambda: Camera((Keyframe(3), 4)), r"keyframes\[1\]: must be an object, not 4"),  # pyright: ignore
        (lambda: Background("#3366c"), "colour: must be a colour #rrggbb"),
        (lambda: Background("sky.png", "#3366cc"), "either file or colour"),
        (lambda: Unseen("transparent\n"), "content: must be transparent"),
    ],
)
def test_what_is_made_in_python_is_checked_likewise(make: Callable[[], Edit], message: str) -> None:
    with pytest.raises(LayerloomError, match=message):
        make()


def test_edits_are_plain_values() -> None:
    work = [Texture("bear", "edited.png"), Text("bear", "HELLO", At(frame=12, x=300, y=120)), Speed(0.5)]
    assert work[0] == Texture("bear", Path("edited.png")) and len({*work, *work}) == 3
    assert Move("bear", 1) == Move("bear", 1.0) != Duplicate("bear", 1)
    assert Background("#3366cc") == Background(colour="#3366cc") and Background("sky.png").file == Path("sky.png")
    with pytest.raises(AttributeError):
        work[2].factor = 3  # pyright: ignore


def test_a_file_of_version_0_1_is_read() -> None:
    """As `edits_to_json` of layerloom 0.1 wrote it."""
    text = """{
 "format": "layerloom-edits", "version": 1, "edits": [
  {"kind": "background", "file": "#sky.png"},
  {"kind": "text", "layer": "dog", "text": "é", "place": {"x": null, "y": null, "frame": 3, "height": null,
   "rotation_degrees": 0.0, "corners": [[0, 1.5], [2, 1], [2, 3], [0, 3]], "rigid": false}, "colour": "#ffffff",
   "font": null, "blend": "normal"},
  {"kind": "camera", "keyframes": [{"frame": 0, "x": 1, "y": 0.0, "zoom": 1.0, "rotation": 0.0}], "lock": null}]}"""
    place = At(frame=3, corners=((0, 1.5), (2, 1), (2, 3), (0, 3)))
    assert edits_from_json(text) == (
        Background(Path("#sky.png")),
        Text("dog", "é", place),
        Camera((Keyframe(0, 1),)),
    )


def test_colours() -> None:
    assert parse_colour("#ff0080") == (1.0, 0.0, 128 / 255)
    for wrong in ("#fff", "#gggggg", "blue", "#ff00800"):
        with pytest.raises(LayerloomError, match="#rrggbb"):
            parse_colour(wrong)
