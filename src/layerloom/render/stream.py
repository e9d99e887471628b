"""render: the one way to pixels. A project and edits in, frames out, one at a time.

`detail` starts from the source: pixels that no edit touches stay the source's own, and an opaque edit leaves nothing
of what it covers. `synthesis` shows the layers alone. `rendering/definition.py` says exactly what a frame is.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from typing import Literal, TypeVar

import numpy as np

from layerloom.compose.cast_shadows import relight
from layerloom.compose.disocclusion import unseen_marker
from layerloom.compose.shot import Shot, is_still, neighbours, shows_a_picture
from layerloom.compose.shot_list import list_shots
from layerloom.data.mattes import mattes, own_alphas
from layerloom.data.project import Project
from layerloom.edits.document import Edit
from layerloom.edits.shot import ShotEdit
from layerloom.render.dispatch import Device, Renderer, make_renderer
from layerloom.render.residual import DetailMaps
from layerloom.render.scene import Inputs, Scene

__all__ = ["Mode", "mattes", "render", "render_shots"]

Mode = Literal["detail", "synthesis"]
Item = TypeVar("Item")


def render(
    project: Project,
    edits: Sequence[Edit] = (),
    frames: range | None = None,
    mode: Mode = "detail",
    device: Device = "auto",
) -> Iterator[np.ndarray]:
    """The edited frames, h w 3, in the source's integer type (uint8 where the source is gone); h w 4 with transparency.

    frames: the source's, from 0, that are shown; all by default. `list_shots` says how many frames come out, of what
    size and when. Edits and frames are checked, and files read, before the first frame is asked for: LayerloomError.
    `detail` needs the source, `synthesis` does not. device: "auto" draws on the GPU if there is one.
    """
    return render_shots(project, edits, list_shots(project, edits, frames).shots, mode, device)


def render_shots(
    project: Project, edits: Sequence[Edit], shots: Iterable[Shot], mode: Mode = "detail", device: Device = "auto"
) -> Iterator[np.ndarray]:
    """As `render`, for any shots: each frame in its shot's own size.

    Shots are taken one after the other while frames are made.
    """
    relit = relight(project, edits)
    scene = Scene(relit.project, edits)
    renderer = make_renderer(scene, project.source_bit_depth, device)
    footage = _Footage(project, mode)
    details = DetailMaps(project, relit.unshadowed, device) if mode == "detail" else None
    objects = [layer for layer in scene.hidden if project.layers[layer].kind == "object"]
    # Of a shot that is re-framed or re-timed all frames are of one kind: none in the source's own view stands out.
    ordinary = not any(isinstance(edit, ShotEdit) for edit in edits)
    draw = partial(_render_shot, project, renderer, details, objects, project.source_bit_depth, ordinary)
    mark = unseen_marker(project, edits)

    def work(shot: Shot, pictures: dict[int, np.ndarray]) -> np.ndarray:
        return mark(shot, draw(shot, pictures))

    return _in_parallel(work, _read_ahead((shot, footage.read(shot)) for shot in shots))


class _Footage:
    """The source's pictures that shots need, read in the order in which they are asked for."""

    def __init__(self, project: Project, mode: Mode) -> None:
        self._project = project
        refines = project.training_size != project.source.size and project.source_exists
        self._reads = mode == "detail" or refines
        # LayerloomError for a missing source before the first frame.
        self._frames = project.read_source(range(0)) if mode == "detail" else iter(())
        self._next = -1
        self._recent: dict[int, np.ndarray] = {}

    def read(self, shot: Shot) -> dict[int, np.ndarray]:
        """The pictures that a shot starts from, or that refine its mattes, by the project's frames."""
        return {frame: self._picture(frame) for frame in frames_of(shot)} if self._reads else {}

    def _picture(self, frame: int) -> np.ndarray:
        if frame not in self._recent:
            if not 0 <= frame - self._next < NEAR_FRAMES or self._next < 0:
                # Before what was read: the shot may run backwards.
                start = max(0, frame - NEAR_FRAMES + 1) if frame < self._next else frame
                self._frames, self._next = self._project.read_source(self._project.source_range[start:]), start
            while self._next <= frame:
                self._recent[self._next] = next(self._frames)
                self._next += 1
        picture = self._recent[frame] = self._recent.pop(frame)
        while len(self._recent) > KEPT_PICTURES:
            del self._recent[next(iter(self._recent))]
        return picture


NEAR_FRAMES = 8
"""A picture this little ahead is reached by reading on, others by going to it."""
KEPT_PICTURES = 10
READ_AHEAD = 3
"""Shots whose pictures are read before they are drawn."""
MOST_WORKERS = 16
"""Frames drawn at once, whatever the cores: each needs its own memory."""


def frames_of(shot: Shot) -> tuple[int, ...]:
    """The project's frames whose maps a shot needs."""
    return tuple(sorted({frame for instance in shot.instances for frame in neighbours(instance.time)[:2]}))


def _render_shot(
    project: Project,
    renderer: Renderer,
    details: DetailMaps | None,
    hidden: Sequence[int],
    bit_depth: int,
    ordinary: bool,
    shot: Shot,
    pictures: dict[int, np.ndarray],
) -> np.ndarray:

    @cache
    def alphas(frame: int) -> np.ndarray:
        return own_alphas(project, frame, pictures.get(frame))

    still = is_still(project, shot)
    as_solved = ordinary and still
    if details is None:
        return renderer(shot, Inputs(None, alphas, bit_depth, as_solved=as_solved))
    if still and not details.changes_light:
        (frame,) = frames_of(shot)
        picture = pictures[frame]
        if hidden:
            picture = details.cleared(frame, picture, alphas(frame), hidden)
        return renderer(shot, Inputs(picture, alphas, bit_depth, as_solved=as_solved))
    apart = not shows_a_picture(shot, len(project.layers))
    carried = {
        (layer, frame): detail
        for frame, picture in pictures.items()
        for layer, detail in enumerate(details.of_frame(frame, picture, alphas(frame), apart))
    }
    return renderer(shot, Inputs(None, alphas, bit_depth, carried))


def _read_ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The items in their order; the next few are made by a thread of their own meanwhile."""
    with ThreadPoolExecutor(1) as reader:
        ahead = deque(reader.submit(next, items, None) for _ in range(READ_AHEAD))
        while (item := ahead.popleft().result()) is not None:
            ahead.append(reader.submit(next, items, None))
            yield item


def _in_parallel(work: Callable[..., np.ndarray], inputs: Iterable[tuple[object, ...]]) -> Iterator[np.ndarray]:
    """work(...) for the inputs in turn, in their order: a few at a time on all cores, however long the inputs are."""
    workers = min(os.cpu_count() or 1, MOST_WORKERS)
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for arguments in inputs:
            waiting.append(pool.submit(work, *arguments))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
