"""Edits of the shot rather than of its layers' looks: where objects stand, when layers are shown, where the camera is.

Plain values; `edits` takes them to JSON and back. Frames are the source's, counted from 0. The scene is the plane of
the background's canvas, on which the camera moves.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from layerloom.core.errors import LayerloomError


@dataclass(frozen=True)
class Move:
    """The object stands elsewhere in the scene, scaled and turned clockwise about its own middle. So does its shadow.

    right, down: pixels of the project's first frame; from there the camera's motion carries the object along.
    """

    layer: str
    right: float = 0.0
    down: float = 0.0
    scale: float = 1.0
    rotation_degrees: float = 0.0

    def __post_init__(self) -> None:
        for name in ("right", "down", "rotation_degrees"):
            _check(name, getattr(self, name), -1e6, 1e6)
        _check("scale", self.scale, 0.01, 100)


@dataclass(frozen=True)
class Duplicate(Move):
    """A second one of the object, right behind it, placed as Move says."""


@dataclass(frozen=True)
class Unshadow:
    """The background around the object has the light of the times when the object is elsewhere: no shadow of it stays
    where the object is taken away, moved, or shown at another time."""

    layer: str


@dataclass(frozen=True)
class LeaveShadow:
    """The object's shadow stays where it was when the object is moved, and a second one of the object casts none."""

    layer: str


@dataclass(frozen=True)
class Freeze:
    """The layer stays as one frame shows it, at that frame's place in the scene."""

    layer: str
    frame: int


@dataclass(frozen=True)
class Reverse:
    """The layer runs backwards, from the last rendered frame to the first."""

    layer: str


@dataclass(frozen=True)
class Speed:
    """The shot runs so many times as fast: at 0.5 it has twice the frames, at 2 half of them."""

    factor: float

    def __post_init__(self) -> None:
        _check("factor", self.factor, 0.01, 100)


@dataclass(frozen=True)
class Scale:
    """The output's frames are so many times as large each way."""

    factor: float

    def __post_init__(self) -> None:
        _check("factor", self.factor, 0.05, 8)


@dataclass(frozen=True)
class Stabilize:
    """The layer is held in the frame. Strength 1 locks it as in the middle frame; less takes its shake away alone.

    Below 1 its path is smoothed over strength / (1 − strength) / 2 seconds.
    """

    layer: str
    strength: float = 1.0

    def __post_init__(self) -> None:
        _check("strength", self.strength, 0, 1)


@dataclass(frozen=True)
class Keyframe:
    """Where the camera has moved to by a frame.

    x, y: pixels to the right and down. zoom: 2 shows things twice as large. rotation: degrees turned clockwise.
    """

    frame: int
    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0
    rotation: float = 0.0

    def __post_init__(self) -> None:
        for name in ("x", "y", "rotation"):
            _check(name, getattr(self, name), -1e6, 1e6)
        _check("zoom", self.zoom, 0.01, 100)


@dataclass(frozen=True)
class Camera:
    """A camera path: smooth through keyframes (frames rise), on top of the camera's own or, with `lock`, of that
    frame's view held still."""

    keyframes: tuple[Keyframe, ...] = ()
    lock: int | None = None

    def __post_init__(self) -> None:
        frames = [keyframe.frame for keyframe in self.keyframes]
        if any(second <= first for first, second in pairwise(frames)):
            raise LayerloomError(
                f"camera: keyframes at frames {', '.join(map(str, frames))}; each must come after the last"
            )
        if not frames and self.lock is None:
            raise LayerloomError("camera: neither keyframes nor a frame to lock to")


@dataclass(frozen=True)
class Extend:
    """The frame grows by so many pixels on each side."""

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        for name in ("left", "top", "right", "bottom"):
            _check(name, getattr(self, name), 0, 16384)


@dataclass(frozen=True)
class Crop:
    """The view is narrowed about its middle until it shows no place beyond the source's frames that nobody saw."""


@dataclass(frozen=True)
class Unseen:
    """What shows where no frame saw the background: `transparent`, or a colour `#rrggbb`. Else it is guessed."""

    content: str

    def __post_init__(self) -> None:
        if self.content != "transparent" and not re.fullmatch(r"#[0-9a-fA-F]{6}", self.content):
            raise LayerloomError(f"unseen '{self.content}': allowed are transparent and a colour such as #ff00ff")


LayerShotEdit = Move | Unshadow | LeaveShadow | Freeze | Reverse | Stabilize
ShotEdit = LayerShotEdit | Speed | Scale | Camera | Extend | Crop | Unseen


def _check(name: str, value: int | float, least: int | float, greatest: int | float) -> None:
    if not (math.isfinite(value) and least <= value <= greatest):
        raise LayerloomError(f"{name} {value:g}: allowed are {least:g} to {greatest:g}")
