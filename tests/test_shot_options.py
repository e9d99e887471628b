"""Options of the command line become edits of the shot, or are refused with one line."""

import json
from pathlib import Path

import pytest

from layerloom.cli.shot_options import ShotOptions
from layerloom.core.errors import LayerloomError
from layerloom.edits.shot import (
    Camera,
    Crop,
    Duplicate,
    Extend,
    Freeze,
    Keyframe,
    Move,
    Reverse,
    Scale,
    Speed,
    Stabilize,
    Unseen,
    Unshadow,
)


def edits(**options: object) -> list[object]:
    return list(ShotOptions(**options).edits((100, 60), range(10, 20)))  # pyright: ignore[reportArgumentType]


def test_options_say_what_they_mean() -> None:
    assert edits() == []
    assert edits(move=("dog:30,-4.5", "dog:0,0,1.5"), duplicate=("dog:1,2,0.5,90",)) == [
        Move("dog", 30.0, -4.5),
        Move("dog", 0.0, 0.0, 1.5),
        Duplicate("dog", 1.0, 2.0, 0.5, 90.0),
    ]
    assert edits(unshadow=("dog",), freeze=("dog@12",), reverse=("dog",)) == [
        Unshadow("dog"),
        Freeze("dog", 12),
        Reverse("dog"),
    ]
    assert edits(speed=0.5, scale=2.0, stabilize="background", crop=True) == [
        Speed(0.5),
        Scale(2.0),
        Stabilize("background"),
        Crop(),
    ]
    assert edits(stabilize="dog:0.4", unseen="transparent") == [Stabilize("dog", 0.4), Unseen("transparent")]
    assert edits(extend="1,2,3,4") == [Extend(1, 2, 3, 4)]
    assert edits(extend="1.5") == [Extend(25, 15, 25, 15)]


def test_cameras_move_in_the_course_of_the_shot(tmp_path: Path) -> None:
    assert edits(camera=("lock:12", "pan:40,-5", "zoom:2")) == [
        Camera(lock=12),
        Camera((Keyframe(10), Keyframe(19, 40.0, -5.0))),
        Camera((Keyframe(10), Keyframe(19, zoom=2.0))),
    ]
    document = {
        "format": "layerloom-camera",
        "version": 1,
        "lock": 12,
        "keyframes": [{"frame": 10}, {"frame": 19, "x": 40, "zoom": 2, "rotation": 3.5}],
    }
    file = tmp_path / "camera.json"
    file.write_text(json.dumps(document))
    assert edits(camera=(str(file),)) == [Camera((Keyframe(10), Keyframe(19, 40.0, 0.0, 2.0, 3.5)), 12)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"move": ("dog",)}, "the form is --move LAYER:RIGHT,DOWN"),
        ({"move": ("dog:1",)}, "the form is --move LAYER:RIGHT,DOWN"),
        ({"duplicate": ("dog:1,2,3,4,5",)}, "the form is --duplicate LAYER"),
        ({"move": ("dog:1,2,0",)}, "scale: must be a number from 0.01 to 100, not 0"),
        ({"freeze": ("dog",)}, "the form is --freeze LAYER@FRAME"),
        ({"freeze": ("dog@-1",)}, "a frame is a whole number"),
        ({"speed": 0.0}, "factor: must be a number from 0.01 to 100, not 0"),
        ({"stabilize": "background:hard"}, "the form is --stabilize LAYER"),
        ({"stabilize": "background:3"}, "strength: must be a number from 0 to 1, not 3"),
        ({"camera": ("pan:3",)}, "the form is --camera pan:RIGHT,DOWN"),
        ({"camera": ("zoom:x",)}, "the form is --camera zoom:FACTOR"),
        ({"camera": ("lock:first",)}, "a frame is a whole number"),
        ({"camera": ("nowhere.json",)}, "nowhere.json: no such camera file, nor one of lock:FRAME"),
        ({"extend": "0.5"}, "allowed factors are 1 to 8"),
        ({"extend": "1,2"}, "the form is --extend"),
        ({"extend": "1,2,3,4.5"}, "pixels are whole numbers"),
        ({"extend": "-1,2,3,4"}, "left: must be a whole number from 0 to 16384, not -1"),
        ({"extend": "inf,0,0,0"}, "the form is --extend"),
        ({"extend": "nan"}, "the form is --extend"),
        ({"move": ("dog:nan,2",)}, "the form is --move LAYER:RIGHT,DOWN"),
        ({"move": ("dog:1e9,2",)}, "right: must be a number from -1000000 to 1000000"),
        ({"speed": float("nan")}, "factor: must be a number from 0.01 to 100, not nan"),
        ({"freeze": (f"dog@{'9' * 5000}",)}, "a frame is a whole number"),
        ({"unseen": "red"}, "must be transparent, or a colour"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(LayerloomError, match=message):
        edits(**options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "camera.json: not valid JSON"),
        ("[]", "camera: the file's format is not 'layerloom-camera'"),
        ('{"format": "layerloom-camera", "version": 2}', "camera: version 2; this layerloom reads version 1"),
        ('{"format": "layerloom-camera", "version": 1}', "camera: a camera has keyframes, or a frame to lock to"),
        (
            '{"format": "layerloom-camera", "version": 1, "path": []}',
            "camera: 'path' is not known here; there are",
        ),
    ],
)
def test_wrong_camera_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "camera.json"
    file.write_text(text)
    with pytest.raises(LayerloomError, match=message):
        edits(camera=(str(file),))
