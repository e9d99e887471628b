"""Scene: a project and its edits, read and checked: what every back end starts from."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np
from jaxtyping import Float32, UInt16

from layerloom import media
from layerloom.compose.blend import AffineBlend
from layerloom.compose.canvas_patches import LayerPatches, Patch, canvas_patches, load_paint, resize
from layerloom.compose.shot import Shot
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.data.project import Project
from layerloom.edits.canvas import CanvasEdit, Paint, parse_colour
from layerloom.edits.document import Background, Edit, Hide

FINEST_TEXELS_PER_PIXEL = 1.75
"""Of a copy of an image: a pixel that covers more looks at a copy that is halved once more, in part or whole, …"""
BILINEAR_TEXELS_PER_PIXEL = 2.6
"""… but the full image alone serves up to here: textures have two texels per pixel where the layer is seen largest.
Above, what it lacks is made up for until FINEST_TEXELS_PER_PIXEL of the first halved copy are reached. Below 2.625, so
that one probe is enough."""
HALVINGS_PER_TEXEL = 1 / (2 * FINEST_TEXELS_PER_PIXEL - BILINEAR_TEXELS_PER_PIXEL)
MOST_PROBES = 8
DETAIL_MARGIN = 16
"""Pixels beyond a picture over which what the layers cannot explain of it fades out."""
FAR = 1e9
"""Texels farther away than any canvas reaches."""

Ends = tuple[bool, bool, bool, bool]
"""Whether an image ends at its left, top, right and bottom side: beyond it is zero. Elsewhere its border goes on."""


class Pyramid:
    """RGB and a fourth value on a part of a canvas, with smaller copies, each half as large as the one before.

    left, top: texels of the part's corner on the canvas. size: of the part.
    """

    def __init__(self, image: Float32[np.ndarray, "h w 4"], left: int, top: int, ends: Ends) -> None:
        self.left, self.top = left, top
        self.size: Size = (image.shape[1], image.shape[0])
        self._image, self._ends = image, ends

    @property
    def reach(self) -> tuple[float, float, float, float]:
        """Texels of the canvas between which it is something: left, top, right, bottom."""
        sides = (float(self.left), float(self.top), float(self.left + self.size[0]), float(self.top + self.size[1]))
        far = (-FAR, -FAR, FAR, FAR)
        left, top, right, bottom = (s if end else f for s, end, f in zip(sides, self._ends, far, strict=True))
        return left, top, right, bottom

    @cached_property
    def levels(self) -> tuple[Float32[np.ndarray, "rows columns 4"], ...]:
        """From the full size to a single texel. Each has a ring of one texel around it that holds what lies beyond."""
        image, count = self._image, max(self.size).bit_length()
        levels = [self._ringed(image)]
        for number in range(1, count):
            width, height = (max(1, round(side / 2**number)) for side in self.size)
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            levels.append(self._ringed(image))
        return tuple(levels)

    def _ringed(self, image: Float32[np.ndarray, "h w 4"]) -> Float32[np.ndarray, "rows columns 4"]:
        ringed = np.pad(image, ((1, 1), (1, 1), (0, 0)), "edge")
        left, top, right, bottom = self._ends
        ringed[:, 0] *= not left
        ringed[0] *= not top
        ringed[:, -1] *= not right
        ringed[-1] *= not bottom
        return ringed


@dataclass(frozen=True, eq=False)
class Change:
    """A patch ready to be looked up. main: change of colour, and opacity. opacities: one for each colour instead."""

    main: Pyramid
    opacities: Pyramid | None


@dataclass(frozen=True, eq=False)
class Stage:
    """Changes of a shot's instances, in their order, then a painting over the source's picture.

    A change that stays the same from shot to shot is the same object.
    """

    changes: tuple[Change | None, ...]
    paint: AffineBlend | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is read for one shot.

    source: the picture it starts from, uint8 or uint16; None to start from the layers alone.
    own_alphas: of the objects in one of the project's frames that the shot shows, at full scale; any size, spread over
        the source's frame.
    details: by (layer, frame), what the layers cannot explain of that frame's picture, and how much of it the layer
        has: RGB and share, DETAIL_MARGIN pixels wider than the picture on each side. Empty for ordinary frames, which
        start from `source`, and without the source's pictures.
    bit_depth: of the pixels to make, 8 or 16.
    as_solved: look textures up as they were solved, bilinearly at the source's own pixels, however many texels these
        cover. For ordinary frames alone: between these pixels, what a texture holds beyond them is noise.
    """

    source: np.ndarray | None
    own_alphas: Callable[[int], UInt16[np.ndarray, "objects h w"]]
    bit_depth: int
    details: Mapping[tuple[int, int], Float32[np.ndarray, "wide_h wide_w 4"]] = field(default_factory=dict)
    as_solved: bool = False


class Scene:
    """A project and its edits. `hidden`: layers taken away. `replaced`: layers of whose content nothing is left."""

    def __init__(self, project: Project, edits: Sequence[Edit]) -> None:
        self.project = project
        self.hidden = sorted({project.layer_index(edit.layer) for edit in edits if isinstance(edit, Hide)})
        backgrounds = [edit for edit in edits if isinstance(edit, Background)]
        self._backdrop = _read_backdrop(backgrounds[-1]) if backgrounds else None
        last = len(project.layers) - 1
        self.replaced = sorted({*self.hidden, last}) if backgrounds else self.hidden
        self.has_backdrop = bool(backgrounds) and last not in self.hidden
        self._edits = [edit for edit in edits if isinstance(edit, CanvasEdit)]
        self._changes = self._make_changes(self._edits)
        self.backdrop = lru_cache(maxsize=2)(self._fit_backdrop)

    @cached_property
    def textures(self) -> tuple[Pyramid, ...]:
        """Of all layers; the fourth value is how surely a texel was seen."""
        return tuple(Pyramid(layer.texture, 0, 0, (False, False, False, False)) for layer in self.project.layers)

    def stages(self, shot: Shot) -> tuple[Stage, ...]:
        """What to do to a shot, one stage after the other. Paint made for its source frame is applied as it is, which
        reproduces its colour.
        """
        stages: list[Stage] = []
        waiting: list[CanvasEdit] = []
        for edit in self._edits:
            if isinstance(edit, Paint) and edit.frame == shot.source_number:
                stages.append(_stage(shot, self._make_changes(waiting), load_paint(self.project, edit)))
                waiting = []
            else:
                waiting.append(edit)
        return (*stages, _stage(shot, self._make_changes(waiting) if stages else self._changes))

    def _make_changes(self, edits: Sequence[CanvasEdit]) -> "list[_LayerChanges | None]":
        """By layer; none where nothing is left of it."""
        patches = canvas_patches(self.project, edits, self.hidden)
        return [
            None
            if edited is None or layer in self.replaced
            else _LayerChanges(edited, self.project.layers[layer].canvas)
            for layer, edited in enumerate(patches)
        ]

    def _fit_backdrop(self, size: Size) -> Float32[np.ndarray, "h w 3"]:
        """The new background at frame size: a picture is scaled to cover the frame and cut in the middle."""
        assert self._backdrop is not None
        width, height = size
        rows, columns = self._backdrop.shape[:2]
        scale = max(width / columns, height / rows)
        covering = resize(self._backdrop, (max(width, round(columns * scale)), max(height, round(rows * scale))))
        left, top = (covering.shape[1] - width) // 2, (covering.shape[0] - height) // 2
        return np.ascontiguousarray(covering[top : top + height, left : left + width])


class _LayerChanges:
    """What is done to a layer's canvas, ready to be looked up at any time."""

    def __init__(self, patches: LayerPatches, canvas: Size) -> None:
        self._patches, self._canvas = patches, canvas
        self._recent: tuple[Patch | None, Change | None] = (None, None)

    def at(self, time: float) -> Change | None:
        patch, (recent_patch, recent_change) = self._patches.at(time), self._recent
        if patch is recent_patch:
            return recent_change
        change = None if patch is None else _change(patch, self._canvas)
        self._recent = patch, change
        return change


def _change(patch: Patch, canvas: Size) -> Change:
    """A patch ends at its sides, but where these are the canvas' own."""
    height, width = patch.change.shape[:2]
    ends = patch.left > 0, patch.top > 0, patch.left + width < canvas[0], patch.top + height < canvas[1]
    main = Pyramid(np.dstack([patch.change, patch.opacity[..., :1]]), patch.left, patch.top, ends)
    if patch.opacity.shape[2] == 1:
        return Change(main, None)
    return Change(main, Pyramid(np.dstack([patch.opacity, patch.opacity[..., :1]]), patch.left, patch.top, ends))


def _stage(shot: Shot, changes: Sequence[_LayerChanges | None], paint: AffineBlend | None = None) -> Stage:
    pairs = [(changes[instance.layer], instance.time) for instance in shot.instances]
    return Stage(tuple(None if layer is None else layer.at(time) for layer, time in pairs), paint)


def _read_backdrop(edit: Background) -> Float32[np.ndarray, "h w 3"]:
    if edit.colour is not None:
        return np.array(parse_colour(edit.colour), np.float32).reshape(1, 1, 3)
    assert edit.file is not None
    picture = media.to_float(media.read_image(edit.file))
    if picture.shape[2] < 3:
        raise LayerloomError(f"{edit.file}: {picture.shape[2]} channels; a background is a picture with RGB")
    return np.ascontiguousarray(picture[..., :3])
