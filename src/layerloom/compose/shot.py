"""Staging: what an output frame shows. Plain data; `render` makes pixels of it.

A frame is a `Shot`: layers stacked front to back, each as it is at some time and seen through a homography. The
ordinary frame shows every layer once, at the frame's own time, where the source has it. Other shots move the camera,
widen the frame, retime, freeze, move or repeat layers.
"""

import math
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float64

from layerloom.core.geometry import Size
from layerloom.data.project import Project

Homography = Float64[np.ndarray, "3 3"]


def _identity() -> Homography:
    return np.eye(3)


@dataclass(frozen=True, eq=False)
class Instance:
    """One appearance of a layer.

    time: in the project's frames, from 0; a fraction lies between two frames.
    to_source: output pixel position to the source-pixel position of that time at which the layer is looked up.
    """

    layer: int
    time: float
    to_source: Homography = field(default_factory=_identity)


@dataclass(frozen=True, eq=False)
class Shot:
    """One output frame of `size`. `instances` are front to back; the same layer may appear several times.

    source_number: the source's frame (counted from 0) whose picture the shot starts from in `detail`, and whose
        painting it shows as it was painted; None if there is none.
    to_source: output pixel position to position in that picture.
    """

    size: Size
    instances: tuple[Instance, ...]
    source_number: int | None = None
    to_source: Homography = field(default_factory=_identity)


def still_shot(project: Project, frame: int) -> Shot:
    """The ordinary frame (counted from the project's first): every layer once, in order, as the source has it."""
    instances = tuple(Instance(layer, float(frame)) for layer in range(len(project.layers)))
    return Shot(project.source.size, instances, project.source.first_frame + frame)


def is_still(project: Project, shot: Shot) -> bool:
    """Whether a shot is an ordinary frame."""
    times = {instance.time for instance in shot.instances}
    matrices = [shot.to_source, *(instance.to_source for instance in shot.instances)]
    return (
        shot.size == project.source.size
        and shot.source_number is not None
        and times == {float(shot.source_number - project.source.first_frame)}
        and [instance.layer for instance in shot.instances] == list(range(len(project.layers)))
        and all(np.array_equal(matrix, np.eye(3)) for matrix in matrices)
    )


def shows_a_picture(shot: Shot, layers: int) -> bool:
    """Whether all layers lie on one another as they do in one of the source's pictures, whatever else there is."""
    together: dict[tuple[float, bytes], set[int]] = {}
    for instance in shot.instances:
        together.setdefault((instance.time, instance.to_source.tobytes()), set()).add(instance.layer)
    return any(len(shown) == layers and time == int(time) for (time, _), shown in together.items())


def neighbours(time: float) -> tuple[int, int, float]:
    """The frames on both sides of a time, and how far it lies from the first to the second; the same one twice if the
    time is a frame's own.
    """
    first = math.floor(time)
    return first, math.ceil(time), time - first


def at_scale(shot: Shot, scale: float) -> Shot:
    """The same view in a frame `scale` times as large, sides rounded."""
    if scale == 1:
        return shot
    width, height = shot.size
    size = max(1, round(width * scale)), max(1, round(height * scale))
    smaller = np.diag([width / size[0], height / size[1], 1.0])
    instances = tuple(replace(instance, to_source=instance.to_source @ smaller) for instance in shot.instances)
    return replace(shot, size=size, instances=instances, to_source=shot.to_source @ smaller)
