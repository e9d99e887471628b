"""Scene: a project and its edits, read and checked: what every back end starts from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.blending import Ink
from layerloom.canvas_edits import CanvasEdit, PaintEdit, parse_colour
from layerloom.conventions import Size
from layerloom.edits import BackgroundEdit, Edit, HideEdit
from layerloom.errors import UserError
from layerloom.patches import LayerPatches, Patch, canvas_patches, load_paint, resize
from layerloom.project import Project
from layerloom.staging import Shot

DETAIL_MARGIN = 16
"""Pixels beyond a picture over which what the layers cannot explain of it fades out."""


@dataclass(frozen=True, eq=False)
class Stage:
    """Patches of a shot's instances, in their order, then a painting over the source's picture."""

    patches: tuple[Patch | None, ...]
    paint: Ink | None = None


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is read for one shot.

    source: the picture it starts from, uint8 or uint16; None to start from the layers alone.
    own_alphas: of the objects in the project's frames that the shot shows; any size, spread over the source's frame.
    details: by (layer, frame), what the layers cannot explain of that frame's picture, and how much of it the layer
        has: RGB and share, DETAIL_MARGIN pixels wider than the picture on each side. Empty for ordinary frames, which
        start from `source`, and without the source's pictures.
    bit_depth: of the pixels to make, 8 or 16.
    """

    source: np.ndarray | None
    own_alphas: Mapping[int, Float32[np.ndarray, "objects h w"]]
    bit_depth: int
    details: Mapping[tuple[int, int], Float32[np.ndarray, "wide_h wide_w 4"]] = field(default_factory=dict)


class Pyramid:
    """An image and its smaller copies, each half as large as the one before."""

    def __init__(self, image: Float32[np.ndarray, "h w c"]) -> None:
        self._levels = [image]

    def level(self, number: int) -> Float32[np.ndarray, "h w c"]:
        """The image halved `number` times, sides rounded; never smaller than a texel."""
        height, width = self._levels[0].shape[:2]
        while len(self._levels) <= number:
            halvings = 2 ** len(self._levels)
            size = max(1, round(width / halvings)), max(1, round(height / halvings))
            self._levels.append(cv2.resize(self._levels[-1], size, interpolation=cv2.INTER_AREA))
        return self._levels[number]


class Scene:
    """A project and its edits. `hidden`: layers taken away. `replaced`: layers of whose content nothing is left."""

    def __init__(self, project: Project, edits: Sequence[Edit]) -> None:
        self.project = project
        self.hidden = sorted({project.layer_index(edit.layer) for edit in edits if isinstance(edit, HideEdit)})
        backgrounds = [edit for edit in edits if isinstance(edit, BackgroundEdit)]
        self._backdrop = _read_backdrop(backgrounds[-1]) if backgrounds else None
        last = len(project.layers) - 1
        self.replaced = sorted({*self.hidden, last}) if backgrounds else self.hidden
        self.has_backdrop = bool(backgrounds) and last not in self.hidden
        self._edits = [edit for edit in edits if isinstance(edit, CanvasEdit)]
        self._patches = self._make_patches(self._edits)
        self.backdrop = lru_cache(maxsize=2)(self._fit_backdrop)

    @cached_property
    def textures(self) -> tuple[Pyramid, ...]:
        """Of all layers, RGB."""
        return tuple(Pyramid(np.ascontiguousarray(layer.texture[..., :3])) for layer in self.project.layers)

    def stages(self, shot: Shot) -> tuple[Stage, ...]:
        """What to do to a shot, one stage after the other. Paint made for its source frame is applied as it is, which
        reproduces its colour.
        """
        stages: list[Stage] = []
        waiting: list[CanvasEdit] = []
        for edit in self._edits:
            if isinstance(edit, PaintEdit) and edit.frame == shot.source_number:
                stages.append(_stage(shot, self._make_patches(waiting), load_paint(self.project, edit)))
                waiting = []
            else:
                waiting.append(edit)
        return (*stages, _stage(shot, self._make_patches(waiting) if stages else self._patches))

    def _make_patches(self, edits: Sequence[CanvasEdit]) -> list[LayerPatches | None]:
        """Patches by layer; none where nothing is left of the layer."""
        patches = canvas_patches(self.project, edits, self.hidden)
        return [None if layer in self.replaced else patch for layer, patch in enumerate(patches)]

    def _fit_backdrop(self, size: Size) -> Float32[np.ndarray, "h w 3"]:
        """The new background at frame size: a picture is scaled to cover the frame and cut in the middle."""
        assert self._backdrop is not None
        width, height = size
        rows, columns = self._backdrop.shape[:2]
        scale = max(width / columns, height / rows)
        covering = resize(self._backdrop, (max(width, round(columns * scale)), max(height, round(rows * scale))))
        left, top = (covering.shape[1] - width) // 2, (covering.shape[0] - height) // 2
        return np.ascontiguousarray(covering[top : top + height, left : left + width])


def _stage(shot: Shot, patches: Sequence[LayerPatches | None], paint: np.ndarray | None = None) -> Stage:
    pairs = [(patches[instance.layer], instance.time) for instance in shot.instances]
    return Stage(tuple(None if layer is None else layer.at(time) for layer, time in pairs), paint)


def _read_backdrop(edit: BackgroundEdit) -> Float32[np.ndarray, "h w 3"]:
    if isinstance(edit.content, str):
        return np.array(parse_colour(edit.content), np.float32).reshape(1, 1, 3)
    picture = media.to_float(media.read_image(edit.content))
    if picture.shape[2] < 3:
        raise UserError(f"{edit.content}: {picture.shape[2]} channels; a background is a picture with RGB")
    return np.ascontiguousarray(picture[..., :3])
