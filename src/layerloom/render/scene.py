"""Scene: a composition as every back end draws it, with images as pyramids."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float32, UInt16

from layerloom.compose.blend import AffineBlend
from layerloom.compose.canvas_plan import CanvasPass
from layerloom.compose.composition import Composition
from layerloom.compose.patch import Patch
from layerloom.compose.shot import Instance, Shot
from layerloom.core.geometry import Size
from layerloom.data.project import Project
from layerloom.render.pyramid import Pyramid

DETAIL_MARGIN = 16
"""Pixels beyond a picture over which what the layers cannot explain of it fades out."""


@dataclass(frozen=True, eq=False)
class Change:
    """A patch ready to be looked up. main: change of colour, and opacity. opacities: one for each colour instead."""

    main: Pyramid
    opacities: Pyramid | None


@dataclass(frozen=True, eq=False)
class EditPass:
    """Changes of a shot's instances, in their order, then a painting over the source's picture.

    A change that stays the same from shot to shot is the same object.
    """

    changes: tuple[Change | None, ...]
    paint: AffineBlend | None = None

    @property
    def is_something(self) -> bool:
        return self.paint is not None or any(change is not None for change in self.changes)


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


class Pyramids:
    """The pyramids of a project's textures, and of patches for as long as these are there. Threads may share it."""

    def __init__(self, project: Project, others: "Pyramids | None" = None) -> None:
        """others: those of the same project with some layers changed: the textures of all other layers are theirs."""
        self._project, self._others = project, others
        self._changes: WeakKeyDictionary[Patch, Change] = WeakKeyDictionary()

    @cached_property
    def textures(self) -> tuple[Pyramid, ...]:
        """Of all layers; the fourth value is how surely a texel was seen."""
        return tuple(self._texture(number) for number in range(len(self._project.layers)))

    def _texture(self, number: int) -> Pyramid:
        layer, others = self._project.layers[number], self._others
        if others is not None and others._project.layers[number].texture is layer.texture:
            return others.textures[number]
        return Pyramid(layer.texture, 0, 0, layer.canvas)

    def change(self, layer: int, patch: Patch) -> Change:
        """A patch of a layer, ready to be looked up."""
        # Two threads may make the same one: both are good, and one of them stays.
        found = self._changes.get(patch)
        if found is None:
            found = self._changes.setdefault(patch, _change(patch, self._project.layers[layer].canvas))
        return found


class Scene:
    """A composition as back ends draw it. `project`: in its light. `hidden`, `replaced`: as `Composition` has them."""

    def __init__(self, composition: Composition, pyramids: Pyramids | None = None) -> None:
        """pyramids: of the adjusted project, where they are kept for several compositions."""
        self.project = composition.light.project
        self.hidden, self.replaced, self.backdrop = composition.hidden, composition.replaced, composition.backdrop
        self._canvas = composition.canvas
        self._pyramids = pyramids or Pyramids(composition.base)

    @property
    def textures(self) -> tuple[Pyramid, ...]:
        """Of all layers; the fourth value is how surely a texel was seen."""
        return self._pyramids.textures

    def passes(self, shot: Shot) -> tuple[EditPass, ...]:
        """What to do to a shot, one after the other. A painting that was made for its source frame is laid over as it
        is, which reproduces its colour.
        """
        return tuple(self._pass(shot, canvas_pass) for canvas_pass in self._canvas.passes(shot.source_number))

    def _pass(self, shot: Shot, canvas_pass: CanvasPass) -> EditPass:
        return EditPass(tuple(self._change(item, canvas_pass) for item in shot.instances), canvas_pass.paint)

    def _change(self, instance: Instance, canvas_pass: CanvasPass) -> Change | None:
        patches = canvas_pass.patches[instance.layer]
        patch = None if patches is None else patches.at(instance.time)
        return None if patch is None else self._pyramids.change(instance.layer, patch)


def _change(patch: Patch, canvas: Size) -> Change:
    main = Pyramid(np.dstack([patch.change, patch.opacity[..., :1]]), patch.left, patch.top, canvas)
    if patch.opacity.shape[2] == 1:
        return Change(main, None)
    return Change(main, Pyramid(np.dstack([patch.opacity, patch.opacity[..., :1]]), patch.left, patch.top, canvas))
