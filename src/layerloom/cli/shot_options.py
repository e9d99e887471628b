"""Options of the command line that change the shot: where objects stand, when layers are shown, where the camera is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import UseAppendAction, arg

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.edits.document import read_camera
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
    ShotEdit,
    Speed,
    Stabilize,
    Unseen,
    Unshadow,
)
from layerloom.edits.values import parse_frame, parse_number

PLACING = "LAYER:RIGHT,DOWN[,SCALE[,DEGREES]]"


@dataclass(frozen=True)
class ShotOptions:
    """Where objects stand, when layers are shown, where the camera is.

    Args:
        move: Put an object elsewhere in the scene (pixels), scaled and turned clockwise about its middle.
        duplicate: A second one of the object, placed likewise.
        unshadow: Take an object's shadow off the background around it, as after --hide.
        leave_shadow: Leave an object's shadow where it was after --move, which takes it along, and --duplicate.
        freeze: Hold a layer as it is in a frame.
        reverse: Run a layer backwards.
        speed: 0.5 for slow motion with frames made in between, 2 for double speed. Sound is left out.
        scale: Make frames so many times as large, such as 2 or 0.5.
        stabilize: Hold a layer, such as background, still in the frame; a strength below 1 takes only shake away.
        camera: A new camera path: keyframes (JSON), the view of a frame held still, a move or a zoom in the course of
            the shot.
        extend: Widen the frame by pixels on each side, or to so many times its size.
        crop: Zoom in until nothing shows beyond the source's frames that nobody saw.
        unseen: What shows where no frame saw the background. Default: guessed from around it.
    """

    move: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar=PLACING)] = ()
    duplicate: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar=PLACING)] = ()
    unshadow: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="LAYER")] = ()
    leave_shadow: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="LAYER")] = ()
    freeze: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="LAYER@FRAME")] = ()
    reverse: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="LAYER")] = ()
    speed: Annotated[float | None, arg(metavar="FACTOR", help_behavior_hint="")] = None
    scale: Annotated[float | None, arg(metavar="FACTOR", help_behavior_hint="")] = None
    stabilize: Annotated[str | None, arg(metavar="LAYER[:STRENGTH]", help_behavior_hint="")] = None
    camera: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="FILE|lock:FRAME|pan:RIGHT,DOWN|zoom:FACTOR")] = ()
    extend: Annotated[str | None, arg(metavar="LEFT,TOP,RIGHT,BOTTOM|FACTOR", help_behavior_hint="")] = None
    crop: Annotated[bool, arg(help_behavior_hint="")] = False
    unseen: Annotated[str | None, arg(metavar="transparent|#rrggbb", help_behavior_hint="")] = None

    def edits(self, size: Size, frames: range) -> Iterator[ShotEdit]:
        """What the options ask for. size: the source's. frames: the source's that are shown."""
        yield from (Move(*_placing(text, "--move")) for text in self.move)
        yield from (Duplicate(*_placing(text, "--duplicate")) for text in self.duplicate)
        yield from (Unshadow(layer) for layer in self.unshadow)
        yield from (LeaveShadow(layer) for layer in self.leave_shadow)
        yield from (_freeze(text) for text in self.freeze)
        yield from (Reverse(layer) for layer in self.reverse)
        yield from [] if self.speed is None else [Speed(self.speed)]
        yield from [] if self.scale is None else [Scale(self.scale)]
        yield from [] if self.stabilize is None else [_stabilize(self.stabilize)]
        yield from (_camera(text, frames) for text in self.camera)
        yield from [] if self.extend is None else [_extend(self.extend, size)]
        yield from [Crop()] if self.crop else []
        yield from [] if self.unseen is None else [Unseen(self.unseen)]


def _placing(text: str, option: str) -> tuple[str, float, float, float, float]:
    form = f"{option} {PLACING}"
    layer, _, numbers = text.partition(":")
    given = _numbers(numbers, form, (2, 3, 4))
    right, down, scale, rotation = (*given, *(1.0, 0.0)[len(given) - 2 :])
    return layer, right, down, scale, rotation


def _freeze(text: str) -> Freeze:
    layer, found, frame = text.rpartition("@")
    if not found:
        raise LayerloomError(f"'{text}': the form is --freeze LAYER@FRAME")
    return Freeze(layer, parse_frame(frame))


def _stabilize(text: str) -> Stabilize:
    layer, given, strength = text.partition(":")
    return Stabilize(layer, *(_numbers(strength, "--stabilize LAYER[:STRENGTH]", (1,)) if given else ()))


def _camera(text: str, frames: range) -> Camera:
    kind, _, value = text.partition(":")
    if kind == "lock":
        return Camera(lock=parse_frame(value))
    if kind == "pan":
        right, down = _numbers(value, "--camera pan:RIGHT,DOWN", (2,))
        return _in_the_course(frames, Keyframe(frames[-1], right, down))
    if kind == "zoom":
        (factor,) = _numbers(value, "--camera zoom:FACTOR", (1,))
        return _in_the_course(frames, Keyframe(frames[-1], zoom=factor))
    if not Path(text).is_file():
        raise LayerloomError(f"{text}: no such camera file, nor one of lock:FRAME, pan:RIGHT,DOWN, zoom:FACTOR")
    return read_camera(Path(text))


def _in_the_course(frames: range, end: Keyframe) -> Camera:
    """From the source's own view to another one; a single frame shows the latter."""
    return Camera((end,) if len(frames) == 1 else (Keyframe(frames[0]), end))


def _extend(text: str, size: Size) -> Extend:
    given = _numbers(text, "--extend LEFT,TOP,RIGHT,BOTTOM or --extend FACTOR", (1, 4))
    if len(given) == 1:
        if not 1 <= given[0] <= 8:
            raise LayerloomError(f"--extend {text}: allowed factors are 1 to 8")
        across, down = (round(side * (given[0] - 1) / 2) for side in size)
        return Extend(across, down, across, down)
    if any(number != int(number) for number in given):
        raise LayerloomError(f"--extend {text}: pixels are whole numbers")
    return Extend(*(int(number) for number in given))


def _numbers(text: str, form: str, counts: Sequence[int]) -> list[float]:
    try:
        numbers = [parse_number(number) for number in text.split(",")]
    except LayerloomError:
        raise LayerloomError(f"'{text}': the form is {form}") from None
    if len(numbers) not in counts:
        raise LayerloomError(f"'{text}': the form is {form}")
    return numbers
