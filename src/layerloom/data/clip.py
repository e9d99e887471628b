"""Clip: frames, masks, flow, motion and timing in one validated value. It is all that training sees.

"Training size" is the resolution the layers are learned at; "source size" is the footage's own, in display
orientation. Masks and frames are at training size. Each flow field has its own resolution.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float16, UInt8

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.quality import Quality
from layerloom.media.description import ReadOptions, SourceDescription

BACKGROUND = "background"


@dataclass(frozen=True)
class SourceReference:
    """Where the footage lies and which part of it was used; enough to read the same frames again.

    `fingerprint` is a content hash (of the file, or of the folder's file names and sizes and its first and last image).
    `timestamps` are the seconds of each used frame after the first used one, exact. `description` is what the footage
    declares (colour, fields, tracks, …); None for projects of before it was kept.
    """

    path: Path
    fingerprint: str
    size: Size
    first_frame: int
    frames: int
    fps: Fraction
    timestamps: tuple[Fraction, ...]
    description: SourceDescription | None = None

    @property
    def options(self) -> ReadOptions | None:
        """How the footage is to be read again."""
        return self.description.options if self.description else None


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


@dataclass(frozen=True)
class FlowFields:
    """Fields of several steps and one size in common arrays, as learning reads them: by the frame they live on.

    Per field forward, then backward flow; 0 for pairs that do not exist.
    """

    steps: tuple[int, ...]
    vectors: Float16[np.ndarray, "fields 2 t h w 2"]
    confidence: UInt8[np.ndarray, "fields 2 t h w"]

    @staticmethod
    def empty(steps: Sequence[int], frames: int, size: Size) -> "FlowFields":
        """A field of zeros for each step below `frames`."""
        steps = tuple(step for step in steps if step < frames)
        shape = len(steps), 2, frames, size[1], size[0]
        # Zeros, since learning reads pairs that do not exist, too; what nobody writes to takes no memory.
        return FlowFields(steps, np.zeros((*shape, 2), np.float16), np.zeros(shape, np.uint8))

    @staticmethod
    def of(fields: Sequence[FlowField], frames: int) -> "FlowFields":
        """Copies of fields of one size."""
        copies = FlowFields.empty([field.step for field in fields], frames, fields[0].size)
        for field, copy in zip(fields, copies.fields, strict=True):
            for array, target in zip(_arrays(field), _arrays(copy), strict=True):
                target[:] = array
        return copies

    @property
    def size(self) -> Size:
        return self.confidence.shape[4], self.confidence.shape[3]

    @property
    def fields(self) -> tuple[FlowField, ...]:
        """Each of them, as views."""
        frames = self.vectors.shape[2]
        return tuple(
            FlowField(
                step,
                vectors[0, : frames - step],
                vectors[1, step:],
                confidence[0, : frames - step],
                confidence[1, step:],
            )
            for step, vectors, confidence in zip(self.steps, self.vectors, self.confidence, strict=True)
        )


def _arrays(field: FlowField) -> tuple[np.ndarray, ...]:
    return field.forward, field.backward, field.forward_confidence, field.backward_confidence


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
class Preparation:
    """How a clip came about, as far as it was told: what learning takes over, and what the project will remember.

    quality: the dial that decided its size. masks: the folder of the given ones. flow: "dis", "raft" or a folder. key:
    a hash of all that decides what is in the clip.
    """

    quality: Quality
    masks: Path | None
    flow: str
    key: str


@dataclass(frozen=True)
class Clip:
    """What training sees. Layers are the masks' objects front to back, then the background.

    `motion[l, t]` maps pixels of frame t to pixels of the layer's reference frame: the start of the learned mapping.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    masks: Masks
    flow: FlowFields
    motion: Float[np.ndarray, "layers t 3 3"]
    source: SourceReference
    preparation: Preparation | None = None

    def __post_init__(self) -> None:
        frames, height, width, _ = self.frames.shape
        if frames < 2:
            raise LayerloomError(f"{self.source.path}: {frames} frame; a clip needs at least 2")
        if self.masks.coverage.shape[1:] != (frames, height, width):
            found, wanted = self.masks.coverage.shape[1:], (frames, height, width)
            raise LayerloomError(f"masks are {found} (frames, height, width), the clip is {wanted}")
        if self.motion.shape[0] != len(self.layer_names):
            raise ValueError(f"motion for {self.motion.shape[0]} layers, but the clip has {len(self.layer_names)}")
        if self.source.frames != frames:
            raise ValueError(f"the source says {self.source.frames} frames, the clip has {frames}")

    @property
    def size(self) -> Size:
        """Training size."""
        return self.frames.shape[2], self.frames.shape[1]

    def without_flow(self) -> "Clip":
        """The same without most of its memory, once flow is no longer needed."""
        return replace(self, flow=FlowFields.empty((), len(self.frames), (1, 1)))

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
            raise LayerloomError(f"mask folder '{name}': a layer's name may hold letters, digits, '-', '_' and '.'")
        if name.casefold() == BACKGROUND:  # some file systems take both for one folder
            raise LayerloomError(f"mask folder '{name}': this name is reserved for the last layer")
    if len(set(names)) != len(names):
        raise LayerloomError(f"layer names repeat: {', '.join(names)}")
