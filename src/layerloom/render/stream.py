"""render: the one way to pixels. A project and edits in, frames out, one at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from layerloom.compose.composition import Composition, compose
from layerloom.compose.shot import Shot
from layerloom.core.parallel import in_threads, read_ahead
from layerloom.data.project import Project
from layerloom.edits.document import Edit
from layerloom.render.dispatch import Device
from layerloom.render.footage import READ_AHEAD
from layerloom.render.renderer import Mode, Pictures, Renderer

__all__ = ["Mode", "RenderedFrame", "draw_shots", "render", "render_images"]


@dataclass(frozen=True, eq=False)
class RenderedFrame:
    """A frame of the output.

    image: h w 3, in the source's integer type (uint8 where the source is gone); h w 4 with transparency.
    seconds: when it is shown, from 0.
    """

    image: np.ndarray
    seconds: Fraction


def render(
    project: Project,
    edits: Sequence[Edit] = (),
    frames: range | None = None,
    mode: Mode = "detail",
    device: Device = "auto",
    renderer: Renderer | None = None,
) -> Iterator[RenderedFrame]:
    """The edited frames, one at a time, drawn a few ahead on all cores.

    frames: the source's, from 0, that are shown; all by default. Edits and frames are checked, and files read, before
    the first frame is asked for: LayerloomError. `detail` needs the source, `synthesis` does not. device: "auto" draws
    on the GPU if there is one. renderer: of this project, to draw with what it keeps; then its device is the one.
    """
    composition = compose(project, edits, frames)
    images = draw_shots(renderer or Renderer(project, device), composition, composition.shots.shots, mode)
    times = composition.shots.timestamps
    return (RenderedFrame(image, seconds) for image, seconds in zip(images, times, strict=True))


def render_images(
    project: Project,
    edits: Sequence[Edit] = (),
    frames: range | None = None,
    mode: Mode = "detail",
    device: Device = "auto",
    renderer: Renderer | None = None,
) -> Iterator[np.ndarray]:
    """As `render`, the images alone."""
    return (frame.image for frame in render(project, edits, frames, mode, device, renderer))


def draw_shots(
    renderer: Renderer, composition: Composition, shots: Iterable[Shot], mode: Mode = "detail"
) -> Iterator[np.ndarray]:
    """Any shots of a composition, in their order, each in its own size. Shots are taken while frames are made.

    LayerloomError, before the first frame is asked for, if `mode` lacks the source.
    """
    renderer.check(mode)

    def draw(item: tuple[Shot, Pictures]) -> np.ndarray:
        return renderer.draw_from(composition, *item, mode)

    return in_threads(draw, read_ahead(((shot, renderer.read(shot, mode)) for shot in shots), READ_AHEAD))
