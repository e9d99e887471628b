"""render: the one way to pixels. A project and edits in, frames out, one at a time.

`detail` starts from the source: pixels that no edit touches stay the source's own, and an opaque edit leaves nothing
of what it covers. `synthesis` shows the layers alone. `rendering/definition.py` says exactly what a frame is.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Literal

import numpy as np

from layerloom.edits import Edit
from layerloom.mattes import mattes, own_alphas
from layerloom.project import Project
from layerloom.rendering.scene import Inputs, Scene
from layerloom.staging import Shot, is_still, neighbours, still_shot

__all__ = ["Mode", "mattes", "render", "render_shots"]

Mode = Literal["detail", "synthesis"]


def render(
    project: Project, edits: Sequence[Edit] = (), frames: range | None = None, mode: Mode = "detail"
) -> Iterator[np.ndarray]:
    """The edited frames, h w 3, in the source's own size and integer type (uint8 where the source is gone).

    frames: which ones, numbered as the source's, from 0; all by default. Edits and frames are checked, and files
    read, before the first frame is asked for: UserError. `detail` needs the source, `synthesis` does not.
    """
    frames = project.source_range if frames is None else frames
    project.check_frames(frames)
    shots = (still_shot(project, project.frame_index(number)) for number in frames)
    return render_shots(project, edits, shots, mode)


def render_shots(
    project: Project, edits: Sequence[Edit], shots: Iterable[Shot], mode: Mode = "detail"
) -> Iterator[np.ndarray]:
    """As `render`, for any shots: each frame in its shot's own size. A shot without a source's picture is synthesised.

    Shots are taken one after the other while frames are made.
    """
    scene = Scene(project, edits)
    footage = _Footage(project, mode)
    return _in_parallel(partial(_render_shot, scene), ((shot, *footage.read(shot)) for shot in shots))


class _Footage:
    """The source's pictures that shots need, read in the order in which they are asked for."""

    def __init__(self, project: Project, mode: Mode) -> None:
        self._project, self._mode = project, mode
        self._refines = project.training_size != project.source.size and (mode == "detail" or project.source_exists)
        self.bit_depth = project.source_bit_depth
        # UserError for a missing source before the first frame.
        self._frames = project.read_source(range(0)) if mode == "detail" else iter(())
        self._next = -1
        self._recent: dict[int, np.ndarray] = {}

    def read(self, shot: Shot) -> tuple[np.ndarray | None, dict[int, np.ndarray], int]:
        """The picture that the shot starts from, pictures that refine its mattes, and the pixels' bit depth."""
        guides = {frame: self._picture(frame) for frame in frames_of(shot)} if self._refines else {}
        starts = self._mode == "detail" and shot.source_number is not None
        source = self._picture(self._project.frame_index(shot.source_number or 0)) if starts else None
        return source, guides, self.bit_depth

    def _picture(self, frame: int) -> np.ndarray:
        if frame not in self._recent:
            if not 0 <= frame - self._next < NEAR_FRAMES or self._next < 0:
                whole = self._project.source_range
                self._frames, self._next = self._project.read_source(whole[frame:]), frame
            while self._next <= frame:
                self._recent[self._next] = next(self._frames)
                self._next += 1
            while len(self._recent) > KEPT_PICTURES:
                del self._recent[next(iter(self._recent))]
        return self._recent[frame]


NEAR_FRAMES = 8
"""A picture this little ahead is reached by reading on, others by going to it."""
KEPT_PICTURES = 3


def frames_of(shot: Shot) -> tuple[int, ...]:
    """The project's frames whose maps a shot needs."""
    return tuple(sorted({frame for instance in shot.instances for frame in neighbours(instance.time)[:2]}))


def _render_shot(
    scene: Scene, shot: Shot, source: np.ndarray | None, guides: dict[int, np.ndarray], bit_depth: int
) -> np.ndarray:
    project = scene.project
    alphas = {frame: own_alphas(project, frame, guides.get(frame)) for frame in frames_of(shot)}
    inputs = Inputs(source, alphas, bit_depth)
    if is_still(project, shot):
        from layerloom.rendering.cpu import render_still

        return render_still(scene, shot, inputs)
    import torch

    from layerloom.rendering.definition import render_shot

    return render_shot(scene, shot, inputs, torch.device("cpu"))


def _in_parallel(work: partial[np.ndarray], inputs: Iterable[tuple[object, ...]]) -> Iterator[np.ndarray]:
    """work(...) for the inputs in turn, in their order: a few at a time on all cores, however long the inputs are."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[np.ndarray]] = deque()
        for arguments in inputs:
            waiting.append(pool.submit(work, *arguments))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
