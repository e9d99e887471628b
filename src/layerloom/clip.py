"""Clip: frames, masks, flow, motion and timing in one validated value. It is all that training sees.

"Training size" is the resolution the layers are learned at; "source size" is the footage's own, in display
orientation. Masks and frames are at training size. Each flow field has its own resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, UInt8

from layerloom.conventions import Size
from layerloom.errors import UserError

BACKGROUND = "background"


@dataclass(frozen=True)
class SourceReference:
    """Where the footage lies and which part of it was used; enough to read the same frames again.

    `fingerprint` is a content hash (of the file, or of the folder's file names and sizes and its first and last image).
    `timestamps` are the seconds of each used frame after the first used one, exact.
    """

    path: Path
    fingerprint: str
    size: Size
    first_frame: int
    frames: int
    fps: Fraction
    timestamps: tuple[Fraction, ...]


@dataclass(frozen=True)
class FlowField:
    """Optical flow between frames t and t + step, both ways, with a confidence from their agreement.

    `forward[i]` lives on frame i and points to frame i + step; `backward[i]` lives on frame i + step and points to
    frame i. Pixels of the field's own resolution. Confidence: 0 = occluded or wrong, 255 = both ways agree.
    """

    step: int
    forward: Float16[np.ndarray, "pairs h w 2"]
    backward: Float16[np.ndarray, "pairs h w 2"]
    forward_confidence: UInt8[np.ndarray, "pairs h w"]
    backward_confidence: UInt8[np.ndarray, "pairs h w"]

    @property
    def size(self) -> Size:
        return self.forward.shape[2], self.forward.shape[1]


def empty_fields(steps: Sequence[int], frames: int, size: Size) -> tuple[FlowField, ...]:
    """A field of zeros for each step below `frames`. They lie in common arrays, as `stack_fields` gives them."""
    steps = [step for step in steps if step < frames]
    shape = len(steps), 2, frames, size[1], size[0]
    # Zeros, since learning reads pairs that do not exist, too; what nobody writes to takes no memory.
    return _fields_in(np.zeros((*shape, 2), np.float16), np.zeros(shape, np.uint8), steps)


def stack_fields(
    fields: Sequence[FlowField], frames: int
) -> tuple[Float16[np.ndarray, "fields 2 t h w 2"], UInt8[np.ndarray, "fields 2 t h w"]]:
    """Flow and confidence of all fields, forward and backward, by the frame they live on; 0 for pairs not there.

    Without a copy where the fields were made together.
    """
    steps = [field.step for field in fields]
    flow, confidence = fields[0].forward.base, fields[0].forward_confidence.base
    if not isinstance(flow, np.ndarray) or not isinstance(confidence, np.ndarray):
        return _stacked_anew(fields, frames)
    if flow.shape[:3] != (len(fields), 2, frames) or confidence.shape != flow.shape[:-1]:
        return _stacked_anew(fields, frames)
    pairs = zip(fields, _fields_in(flow, confidence, steps), strict=True)
    if not all(_starts(field) == _starts(found) for field, found in pairs):
        return _stacked_anew(fields, frames)
    return flow, confidence


def _fields_in(flow: np.ndarray, confidence: np.ndarray, steps: Sequence[int]) -> tuple[FlowField, ...]:
    frames = flow.shape[2]
    return tuple(
        FlowField(
            step,
            flow[index, 0, : frames - step],
            flow[index, 1, step:],
            confidence[index, 0, : frames - step],
            confidence[index, 1, step:],
        )
        for index, step in enumerate(steps)
    )


def _stacked_anew(fields: Sequence[FlowField], frames: int) -> tuple[np.ndarray, np.ndarray]:
    copies = empty_fields([field.step for field in fields], frames, fields[0].size)
    for field, copy in zip(fields, copies, strict=True):
        for array, target in zip(_arrays(field), _arrays(copy), strict=True):
            target[:] = array
    return stack_fields(copies, frames)


def _arrays(field: FlowField) -> tuple[np.ndarray, ...]:
    return field.forward, field.backward, field.forward_confidence, field.backward_confidence


def _starts(field: FlowField) -> list[int]:
    """Where in memory its arrays begin."""
    return [array.ctypes.data for array in _arrays(field)]


@dataclass(frozen=True)
class Masks:
    """One mask per object and frame, front to back, and how far each pixel of it can be trusted.

    `coverage` 0…255 is the share of the pixel the object covers, as seen (an object behind another is 0 where hidden).
    `trust` 0…255 is how surely the coverage is right: 255 for a user's mask away from its outline, less along the
    outline, in filled frames, and where masks of neighbouring frames disagree.
    """

    names: tuple[str, ...]
    coverage: UInt8[np.ndarray, "objects t h w"]
    trust: UInt8[np.ndarray, "objects t h w"]


@dataclass(frozen=True)
class Clip:
    """What training sees. Layers are the masks' objects front to back, then the background.

    `motion[l, t]` maps pixels of frame t to pixels of the layer's reference frame: the start of the learned mapping.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    masks: Masks
    flow: tuple[FlowField, ...]
    motion: Float[np.ndarray, "layers t 3 3"]
    source: SourceReference

    def __post_init__(self) -> None:
        frames, height, width, _ = self.frames.shape
        if frames < 2:
            raise UserError(f"{self.source.path}: {frames} frame; a clip needs at least 2")
        if self.masks.coverage.shape[1:] != (frames, height, width):
            found, wanted = self.masks.coverage.shape[1:], (frames, height, width)
            raise UserError(f"masks are {found} (frames, height, width), the clip is {wanted}")
        if self.motion.shape[0] != len(self.layer_names):
            raise ValueError(f"motion for {self.motion.shape[0]} layers, but the clip has {len(self.layer_names)}")
        if self.source.frames != frames:
            raise ValueError(f"the source says {self.source.frames} frames, the clip has {frames}")

    @property
    def size(self) -> Size:
        """Training size."""
        return self.frames.shape[2], self.frames.shape[1]

    @property
    def layer_names(self) -> tuple[str, ...]:
        return (*self.masks.names, BACKGROUND)


def layer_coverage(masks: Masks) -> tuple[UInt8[np.ndarray, "t h w"], ...]:
    """Masks of all layers, the background being what no object covers."""
    background = np.full(masks.coverage.shape[1:], 255, np.uint8)
    for mask in masks.coverage:
        for left, covered in zip(background, mask, strict=True):
            left -= np.minimum(left, covered)
    return (*masks.coverage, background)


def check_layer_names(names: Sequence[str]) -> None:
    """Names become folders: letters, digits, `-`, `_`, `.`; `background` is reserved."""
    for name in names:
        if not name or not all(c.isalnum() or c in "-_." for c in name) or name.startswith("."):
            raise UserError(f"mask folder '{name}': a layer's name may hold letters, digits, '-', '_' and '.'")
        if name.casefold() == BACKGROUND:  # some file systems take both for one folder
            raise UserError(f"mask folder '{name}': this name is reserved for the last layer")
    if len(set(names)) != len(names):
        raise UserError(f"layer names repeat: {', '.join(names)}")
