"""Objects picked by hand: what is typed and what a file holds become the same checked values."""

from pathlib import Path

import pytest

from layerloom.core.errors import LayerloomError
from layerloom.edits.selection import (
    Hint,
    ObjectHints,
    Selection,
    parse_selection,
    read_selection,
    selection_from_json,
    selection_to_json,
)

TEXT = """{"format": "layerloom-selection", "version": 1, "objects": [{"name": "person", "hints": [
  {"frame": 12, "box": [1, 2, 30, 40]},
  {"frame": 40, "include": [[5, 6]], "exclude": [[7, 8.5]], "radius": 6},
  {"frame": 50, "mask": "00050.png"}, {"frame": 60, "absent": true}]}]}"""
PERSON = ObjectHints(
    "person",
    (
        Hint(12, box=(1, 2, 30, 40)),
        Hint(40, include=((5, 6),), exclude=((7, 8.5),)),
        Hint(50, mask="00050.png"),
        Hint(60, absent=True),
    ),
)


def test_a_file_is_read_and_written(tmp_path: Path) -> None:
    assert selection_from_json(TEXT) == Selection((PERSON,))
    assert selection_from_json(selection_to_json(Selection((PERSON,)))) == Selection((PERSON,))
    (tmp_path / "picked.json").write_text(TEXT)
    assert read_selection(tmp_path / "picked.json").objects[0].hints[2].mask == tmp_path / "00050.png"


def test_what_is_typed_means_the_same(tmp_path: Path) -> None:
    typed = [
        "person@12:box 1,2,30,40",
        "person@40:points +5,6,-7,8.5",
        "dog@3:points +1,2",
        "person@50:mask 00050.png",
        "person@60:absent",
    ]
    dog = ObjectHints("dog", (Hint(3, include=((1, 2),)),))
    assert parse_selection(typed) == Selection((PERSON, dog))
    assert parse_selection([]) is None
    (tmp_path / "picked.json").write_text(TEXT)
    both = parse_selection([str(tmp_path / "picked.json"), "person@70:box 1,1,2,2"])
    assert both is not None and [hint.frame for hint in both.objects[0].hints] == [12, 40, 50, 60, 70]
    assert both.objects[0].in_frame(70) == (Hint(70, box=(1, 1, 2, 2)),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("p@a:box 1,2,3,4", "'a': a frame is a whole number"),
        (f"p@{'9' * 5000}:absent", "a frame is a whole number"),
        ("p@3:box 1,2,3", "4 numbers are wanted"),
        ("p@3:box 1,2,0,4", r"box\[2\]: must be a number above 0"),
        ("p@3:box nan,2,1,4", "'nan' is not a number"),
        ("p@3:points 1,2", r"points are written \+X,Y"),
        ("p@3:points +1,inf", "'inf' is not a number"),
        ("p@3:points -1,2", "none says where the object is"),
        ("p@3:absent", "none says where the object is"),
        ("p@3:absent 4", "the form is NAME@FRAME:box"),
        ("p@3:mask", "the form is NAME@FRAME:box"),
        ("p@3:circle 1", "'circle' is not known"),
        ("a b@3:mask a.png", "name: must be a layer's name .letters, digits"),
        ("background@3:mask a.png", "'background' is kept"),
        ("nowhere.json", "nowhere.json: no such file"),
        ("person", "'person': the form is NAME@FRAME:box"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, message: str) -> None:
    with pytest.raises(LayerloomError, match=message) as caught:
        parse_selection([text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("hints", "message"),
    [
        ('[{"frame": 1}]', r"objects\[0\].hints\[0\]: a hint has a box"),
        ('[{"frame": 1, "absent": true, "box": [1, 2, 3, 4]}]', r"objects\[0\].hints\[0\]: a hint has a box"),
        ('[{"frame": 1, "box": [1, 2, 3, "x"]}]', r"objects\[0\].hints\[0\].box\[3\]: must be a number above 0"),
        ('[{"frame": 1, "box": [1, 2, 3, 1e999]}]', r"objects\[0\].hints\[0\].box\[3\]: must be"),
        ('[{"frame": 1, "include": [[1]]}]', r"objects\[0\].hints\[0\].include\[0\]: must be a list of 2"),
        ('[{"frame": 1, "box": [1, 2, 3, 4], "colour": 3}]', r"objects\[0\].hints\[0\]: 'colour' is not known here"),
        ('[{"frame": 1, "box": [1, 2, 3, 4]}, {"frame": 1, "absent": true}]', r"objects\[0\].hints: in frame 1"),
        ("[]", r"objects\[0\].hints: must be a list of 1 to 100000"),
    ],
)
def test_wrong_hints_are_named_by_their_path(hints: str, message: str) -> None:
    text = f'{{"format": "layerloom-selection", "version": 1, "objects": [{{"name": "p", "hints": {hints}}}]}}'
    with pytest.raises(LayerloomError, match=message):
        selection_from_json(text)


def test_names_are_unique() -> None:
    with pytest.raises(LayerloomError, match="objects: there are 2 of the name 'person'"):
        Selection((PERSON, PERSON))
