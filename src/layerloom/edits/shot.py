"""Edits of the shot, not of its layers' appearance: where objects stand, when layers are shown, where the camera is.

Plain values; `edits` takes them to JSON and back. Frames are the source's, counted from 0. The scene is the plane of
the background's canvas, on which the camera moves.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from msgspec import Meta

from layerloom.core.records import Coordinate, Frame, InvalidValue, Record
from layerloom.edits.values import EditRecord, Factor, Layer, Side


class Move(EditRecord):
    """The object stands elsewhere in the scene, scaled and turned clockwise about its own middle. So does its shadow.

    right, down: pixels of the project's first frame; from there the camera's motion carries the object along.
    """

    layer: Layer
    right: Coordinate = 0.0
    down: Coordinate = 0.0
    scale: Factor = 1.0
    rotation_degrees: Coordinate = 0.0


class Duplicate(Move):
    """A second one of the object, right behind it, placed as Move says."""


class Unshadow(EditRecord):
    """The background around the object has the light of the times when the object is elsewhere: no shadow of it stays
    where the object is taken away, moved, or shown at another time."""

    layer: Layer


class LeaveShadow(EditRecord):
    """The object's shadow stays where it was when the object is moved, and a second one of the object casts none."""

    layer: Layer


class Freeze(EditRecord):
    """The layer stays as one frame shows it, at that frame's place in the scene."""

    layer: Layer
    frame: Frame


class Reverse(EditRecord):
    """The layer runs backwards, from the last rendered frame to the first."""

    layer: Layer


class Speed(EditRecord):
    """The shot runs so many times as fast: at 0.5 it has twice the frames, at 2 half of them."""

    factor: Factor


class Scale(EditRecord):
    """The output's frames are so many times as large each way."""

    factor: Annotated[float, Meta(ge=0.05, le=8)]


class Stabilize(EditRecord):
    """The layer is held in the frame. Strength 1 locks it as in the middle frame; less takes its shake away alone.

    Below 1 its path is smoothed over strength / (1 − strength) / 2 seconds.
    """

    layer: Layer
    strength: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Keyframe(Record):
    """Where the camera has moved to by a frame.

    x, y: pixels to the right and down. zoom: 2 shows things twice as large. rotation: degrees turned clockwise.
    """

    frame: Frame
    x: Coordinate = 0.0
    y: Coordinate = 0.0
    zoom: Factor = 1.0
    rotation: Coordinate = 0.0


class Camera(EditRecord):
    """A camera path: smooth through keyframes (frames rise), on top of the camera's own or, with `lock`, of that
    frame's view held still."""

    keyframes: Annotated[tuple[Keyframe, ...], Meta(max_length=100_000)] = ()
    lock: Frame | None = None

    def check(self) -> None:
        check_camera(self.keyframes, self.lock)


class Extend(EditRecord):
    """The frame grows by so many pixels on each side."""

    left: Side
    top: Side
    right: Side
    bottom: Side


class Crop(EditRecord):
    """The view is narrowed about its middle until it shows no place beyond the source's frames that nobody saw."""


class Unseen(EditRecord):
    """What shows where no frame saw the background: `transparent`, or a colour `#rrggbb`. Else it is guessed."""

    content: Annotated[
        str,
        Meta(pattern="^(transparent|#[0-9a-fA-F]{6})$(?!\\n)", description="transparent, or a colour such as #ff00ff"),
    ]


LayerShotEdit = Move | Duplicate | Unshadow | LeaveShadow | Freeze | Reverse | Stabilize
ShotEdit = LayerShotEdit | Speed | Scale | Camera | Extend | Crop | Unseen


def check_camera(keyframes: Sequence[Keyframe], lock: int | None) -> None:
    """InvalidValue unless frames rise, and there is something to do."""
    frames = [keyframe.frame for keyframe in keyframes]
    if any(second <= first for first, second in pairwise(frames)):
        raise InvalidValue(f"frames {', '.join(map(str, frames))}; each must come after the last", "keyframes")
    if not frames and lock is None:
        raise InvalidValue("a camera has keyframes, or a frame to lock to")
