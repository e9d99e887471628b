"""Renderer: draws any composition of one project, and keeps what it needs where it draws.

`detail` starts from the source: pixels that no edit touches stay the source's own, and an opaque edit leaves nothing
of what it covers. `synthesis` shows the layers alone. `reference` says exactly what a frame is.
"""

from collections.abc import Mapping
from functools import partial
from typing import Literal

import cv2
import numpy as np
from jaxtyping import UInt16

from layerloom.compose.composition import Composition
from layerloom.compose.shot import Shot, at_scale, is_still, neighbours, shows_a_picture
from layerloom.core.errors import LayerloomError
from layerloom.data.mattes import own_alphas
from layerloom.data.project import Project
from layerloom.render.adjusted import AdjustedFootage
from layerloom.render.bounded_cache import BoundedCache
from layerloom.render.dispatch import Device, make_backend
from layerloom.render.footage import Footage
from layerloom.render.scene import Inputs, Pyramids, Scene

Mode = Literal["detail", "synthesis"]
Pictures = Mapping[int, np.ndarray]
"""The source's pictures by the project's frames."""

MOST_BYTES_OF_MATTES = 2**28
KEPT_ADJUSTMENTS = 2


class Renderer:
    """Draws frames of one project. Threads may share it.

    Textures, maps, mattes and residuals stay in the GPU's memory or in the core's, the ones used last, up to fixed
    limits; pictures of the source are decoded once, and a few of them kept. So what follows on a first frame costs
    little: another edit, composed by `Composition.with_edits`, only what it changes.
    """

    def __init__(self, project: Project, device: Device = "auto") -> None:
        """device: "auto" draws on the GPU if there is one. LayerloomError for "cuda" where that cannot be."""
        self.project = project
        self._bit_depth = project.source_bit_depth
        self._refines = project.training_size != project.source.size and project.source_exists
        self._backend, self._pyramids = make_backend(project, device), Pyramids(project)
        self._footage = Footage(project.read_source, project.source_range)
        self._mattes = BoundedCache[np.ndarray](MOST_BYTES_OF_MATTES, lambda planes: planes.nbytes)
        self._adjusted: list[AdjustedFootage] = []

    def draw(self, composition: Composition, shot: int | Shot, mode: Mode = "detail", scale: float = 1.0) -> np.ndarray:
        """A frame of a composition of this project, h w 3, in the source's integer type (uint8 where the source is
        gone); h w 4 with transparency.

        shot: which of the output's frames, counted from 0, or any other shot. scale: of the frame's sides; 0.25 is a
        preview of a sixteenth of the pixels. LayerloomError if `detail` lacks the source, or a file is damaged.
        """
        if isinstance(shot, int):
            shot = composition.shots.shots[shot]
        if scale == 1 or (scale < 1 and is_still(self.project, shot)):
            # An ordinary frame changes few of its pixels: drawn smaller, all of them would be another picture.
            picture = self.draw_from(composition, shot, self.read(shot, mode), mode, alone=True)
            size = at_scale(shot, scale).size
            return picture if scale == 1 else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        smaller = at_scale(shot, scale)
        return self.draw_from(composition, smaller, self.read(smaller, mode), mode, alone=True)

    def read(self, shot: Shot, mode: Mode) -> Pictures:
        """The pictures that a shot starts from, or that refine its mattes. LayerloomError as `draw`."""
        if mode == "synthesis" and not self._refines:
            return {}
        return {frame: self._footage.picture(frame) for frame in frames_of(shot)}

    def draw_from(
        self, composition: Composition, shot: Shot, pictures: Pictures, mode: Mode, *, alone: bool = False
    ) -> np.ndarray:
        """As `draw`, from pictures that were read before: for those who read ahead and draw several frames at once.

        alone: all cores work on this frame.
        """
        if composition.project is not self.project:
            raise ValueError("a composition of another project")
        footage = self._footage_of(composition)
        scene = Scene(composition, footage.pyramids)
        drawn = self._backend.draw(scene, shot, self._inputs(composition, footage, shot, (pictures, mode)), alone)
        return drawn if composition.marker is None else composition.marker.mark(shot, drawn)

    def picture(self, frame: int) -> np.ndarray:
        """The source's own picture of one of the project's frames, h w 3, uint8 or uint16; not to be written to.

        LayerloomError if the source is gone or has changed.
        """
        return self._footage.picture(frame)

    def own_alphas(self, frame: int) -> UInt16[np.ndarray, "objects h w"]:
        """The objects' own coverages in one of the project's frames, as frames are drawn with them."""
        return self._own_alphas({frame: self._footage.picture(frame)} if self._refines else {}, frame)

    def check(self, mode: Mode) -> None:
        """LayerloomError if a mode lacks the source."""
        if mode not in ("detail", "synthesis"):
            raise LayerloomError(f"mode '{mode}': allowed are detail, synthesis")
        if mode == "detail":
            self.project.source_path  # noqa: B018  (looked for when it is asked for)

    def _footage_of(self, composition: Composition) -> AdjustedFootage:
        """Layers, pictures and residuals as a composition adjusts them: the few used last are kept."""
        kept = self._adjusted
        found = next((one for one in kept if one.base is composition.base), None)
        found = found or AdjustedFootage(composition, self._backend, self._pyramids)
        # The project as it is stays; another thread may do the same at the same time, and one of both is kept.
        self._adjusted = [found, *(one for one in kept if one is not found)][:KEPT_ADJUSTMENTS]
        return found

    def _inputs(
        self, composition: Composition, footage: AdjustedFootage, shot: Shot, read: tuple[Pictures, Mode]
    ) -> Inputs:
        pictures, mode = read
        alphas = partial(self._own_alphas, pictures)
        still, unshadowed = is_still(self.project, shot), composition.light.unshadowed
        # Of a shot that is re-framed or re-timed all frames are of one kind: none in the source's view stands out.
        as_solved = composition.is_ordinary and still
        if mode == "synthesis":
            return Inputs(None, alphas, self._bit_depth, as_solved=as_solved)
        if still and not unshadowed:
            (frame,) = frames_of(shot)
            picture = footage.picture(frame, pictures[frame], alphas(frame))
            hidden = [layer for layer in composition.hidden if self.project.layers[layer].kind == "object"]
            if hidden:
                light = composition.light
                relit = light.project if light.hidden else None
                picture = footage.residuals.cleared(frame, picture, alphas(frame), frozenset(hidden), relit)
            return Inputs(picture, alphas, self._bit_depth, as_solved=as_solved)
        apart = not shows_a_picture(shot, len(self.project.layers))
        carried = {
            (layer, frame): residual
            for frame, source in pictures.items()
            for picture in [footage.picture(frame, source, alphas(frame))]
            for layer, residual in enumerate(
                footage.residuals.of_frame(frame, picture, alphas(frame), apart, unshadowed)
            )
        }
        return Inputs(None, alphas, self._bit_depth, carried)

    def _own_alphas(self, pictures: Pictures, frame: int) -> UInt16[np.ndarray, "objects h w"]:
        return self._mattes.get(frame, lambda: own_alphas(self.project, frame, pictures.get(frame)))


def frames_of(shot: Shot) -> tuple[int, ...]:
    """The project's frames whose maps a shot needs."""
    return tuple(sorted({frame for instance in shot.instances for frame in neighbours(instance.time)[:2]}))
