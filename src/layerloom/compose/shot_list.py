"""From edits to shots: which moment of each layer every output frame shows, and where.

The scene is the plane of the background's canvas. With H the view of the frame's camera (pixels to the scene) at the
moment s that a layer shows, C the output's camera (its pixels to the scene) and A the object's new place in the scene,

    to_source = H(s)⁻¹ A⁻¹ C

so that whatever is shown keeps its place in the scene, however cameras and moments differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property, partial
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from layerloom.compose import camera as cameras
from layerloom.compose.camera import Homography
from layerloom.compose.disocclusion import needed_zoom
from layerloom.compose.shot import Instance, Shot, at_scale, still_shot
from layerloom.compose.timing import layer_times, output_times, output_timestamps, speed_of
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, transform_points
from layerloom.data.project import Project
from layerloom.edits.document import Edit
from layerloom.edits.shot import (
    Camera,
    Crop,
    Duplicate,
    Extend,
    Freeze,
    LeaveShadow,
    Move,
    Reverse,
    Scale,
    ShotEdit,
    Stabilize,
    Unshadow,
)

GREATEST_CROP_ZOOM = 4.0
STILL_PIXELS = 1e-3
"""A view that moves no corner of the frame farther than this is the frame's own."""

SomeEdit = TypeVar("SomeEdit", bound=ShotEdit)


@dataclass(frozen=True, eq=False)
class ShotList:
    """The output's frames. timestamps: seconds from 0. speed: how many times as fast as the source."""

    size: Size
    shots: tuple[Shot, ...]
    timestamps: tuple[Fraction, ...]
    speed: float


def list_shots(project: Project, edits: Sequence[Edit], frames: range | None = None) -> ShotList:
    """What the output's frames show under edits. frames: the source's, from 0, that are shown at ordinary speed.

    LayerloomError for edits that name layers or frames that are not there, or that cannot go together.
    """
    numbers = project.source_range if frames is None else frames
    project.check_frames(numbers)
    _check(project, edits)
    shown = range(project.frame_index(numbers.start), project.frame_index(numbers[-1]) + 1)
    speed = speed_of(edits)
    times, timestamps = output_times(shown, speed), tuple(output_timestamps(project, shown, speed))
    if not any(isinstance(edit, ShotEdit) for edit in edits):
        return ShotList(project.source.size, tuple(still_shot(project, frame) for frame in shown), timestamps, speed)
    stage = _Stage(project, edits, shown)
    shots = tuple(stage.shot(time) for time in times)
    if _chosen(edits, Crop):
        zoom = needed_zoom(project, shots)
        if zoom > GREATEST_CROP_ZOOM:
            raise LayerloomError(
                f"crop: it takes a zoom of {zoom:.1f} until nothing unseen shows, allowed are {GREATEST_CROP_ZOOM:g};"
                " move the camera less, stabilize with less strength, or extend less"
            )
        shots = tuple(stage.shot(time, zoom) for time in times)
    scale = (_chosen(edits, Scale) or [Scale(1.0)])[-1].factor
    shots = tuple(at_scale(shot, scale) for shot in shots)
    return ShotList(shots[0].size, shots, timestamps, speed)


def list_placings(
    project: Project, edits: Sequence[Edit], layer: int
) -> list[tuple[bool, Float64[np.ndarray, "t 3 3"]]]:
    """For each other place at which a layer is shown: whether it is a copy's, and the homographies that take places in
    the scene there, by frames."""
    frames = range(project.source.frames)
    stage = _Stage(project, edits, frames)
    return [
        (isinstance(edit, Duplicate), np.stack([stage.placed(layer, float(frame), edit) for frame in frames]))
        for edit in stage.placings(layer)
        if edit is not None
    ]


class _Stage:
    """Layers and cameras of one output. `shown`: the project's frames that it runs through."""

    def __init__(self, project: Project, edits: Sequence[Edit], shown: range) -> None:
        self._project, self._edits, self._shown = project, edits, shown
        self._extend = (_chosen(edits, Extend) or [Extend(0, 0, 0, 0)])[-1]
        self._moves = [edit for edit in _chosen(edits, Move) if not isinstance(edit, Duplicate)]
        self._duplicates = _chosen(edits, Duplicate)
        self._moving = _chosen(edits, Camera)
        self._background = len(project.layers) - 1
        self._path = cache(partial(cameras.layer_path, project))
        self._smooth_path = cache(self._make_smooth_path)

    @property
    def size(self) -> Size:
        """Of the output's frames."""
        (width, height), extend = self._project.source.size, self._extend
        return width + extend.left + extend.right, height + extend.top + extend.bottom

    def shot(self, time: float, zoom: float = 1.0) -> Shot:
        """The frame at a time of the footage. zoom: about its middle."""
        times = layer_times(self._project, self._edits, self._shown, time)
        camera = self._camera(time, times) @ self._framing(zoom)
        instances: list[Instance] = []
        for layer, moment in enumerate(times):
            for placing in self.placings(layer):
                instances.append(Instance(layer, moment, self._to_source(layer, moment, camera, placing)))
        return Shot(self.size, tuple(instances), *self._picture(instances))

    def placings(self, layer: int) -> tuple[Move | None, ...]:
        """Where a layer is shown: at its own place (None) or moved from it, then its copies."""
        name = self._project.layers[layer].name
        moves = [move for move in self._moves if move.layer == name]
        return _together(moves) if moves else None, *(copy for copy in self._duplicates if copy.layer == name)

    def _picture(self, instances: Sequence[Instance]) -> tuple[int | None, Homography]:
        """The source's frame that all instances show in one view, if they do, and that view."""
        first = instances[0]
        alike = all(item.time == first.time and np.array_equal(item.to_source, first.to_source) for item in instances)
        if not alike or first.time != int(first.time):
            return None, np.eye(3)
        return self._project.source.first_frame + int(first.time), first.to_source

    def _to_source(self, layer: int, moment: float, camera: Homography, placing: Move | None) -> Homography:
        own = self._view(self._background, moment)
        if placing is not None:
            own = self.placed(layer, moment, placing) @ own
        return self._snapped(np.linalg.inv(own) @ camera)

    def _framing(self, zoom: float) -> Homography:
        """Pixels of the output to pixels of the camera's frame."""
        zoomed = cameras.affine_about(np.array(self.size) / 2, np.eye(2) / zoom, np.zeros(2))
        extended = np.eye(3)
        extended[:2, 2] = -self._extend.left, -self._extend.top
        return extended @ zoomed

    def _camera(self, time: float, times: Sequence[float]) -> Homography:
        """Pixels of the camera's frame to the scene."""
        matrix = self._base(time, times)
        for edit in self._moving:
            if edit.keyframes:
                keyframe = cameras.keyframe_at(edit.keyframes, self._project.source.first_frame + time)
                matrix = matrix @ cameras.moved_view(keyframe, self._project.source.size)
        return matrix

    def _base(self, time: float, times: Sequence[float]) -> Homography:
        """The camera before it is moved: the source's own, held still in the scene, or held on a layer."""
        locks = [edit.lock for edit in self._moving if edit.lock is not None]
        if locks:
            return self._view(self._background, self._project.frame_index(locks[-1]))
        stabilize = _chosen(self._edits, Stabilize)
        if not stabilize:
            return self._view(self._background, time)
        layer = self._project.layer_index(stabilize[-1].layer)
        moment = times[layer]
        steady = self._steady_view(layer, moment, stabilize[-1].strength)
        return self._view(self._background, moment) @ np.linalg.inv(self._view(layer, moment)) @ steady

    def _steady_view(self, layer: int, moment: float, strength: float) -> Homography:
        if strength == 1:
            return self._view(layer, self._shown[len(self._shown) // 2])
        if strength == 0:
            return self._view(layer, moment)
        return cameras.view_at(self._smooth_path(layer, strength), moment, self._project.source.size)

    def _make_smooth_path(self, layer: int, strength: float) -> cameras.CornerPath:
        frames = strength / (1 - strength) / 2 * float(self._project.source.fps)
        return cameras.smooth_path(self._path(layer), frames)

    def placed(self, layer: int, moment: float, edit: Move) -> Homography:
        """Places in the scene to those where the edit puts them, about the layer's middle."""
        linear = edit.scale * cameras.rotation_matrix(edit.rotation_degrees)
        seen = np.linalg.inv(self._view(layer, moment))
        middle = transform_points(self._view(self._background, moment) @ seen, self._canvas_middle(layer))[0]
        pixels = self._first_pixels
        shift = pixels @ np.array([edit.right, edit.down])
        return cameras.affine_about(middle, pixels @ linear @ np.linalg.inv(pixels), shift)

    @cached_property
    def _first_pixels(self) -> Float64[np.ndarray, "2 2"]:
        """What one pixel to the right, and one down, are in the scene, in the middle of the first frame."""
        view = self._view(self._background, 0.0)
        middle = np.array([self._project.source.size]) / 2
        ends = transform_points(view, middle + np.eye(2))
        return (ends - transform_points(view, middle)).T

    def _canvas_middle(self, layer: int) -> Float64[np.ndarray, "1 2"]:
        """The middle of what was seen of a layer, in texels of its canvas."""
        sureness = self._project.layers[layer].texture[..., 3].astype(np.float64)
        rows, columns = np.indices(sureness.shape) + 0.5
        return np.array([[(columns * sureness).sum(), (rows * sureness).sum()]]) / max(sureness.sum(), 1e-6)

    def _view(self, layer: int, moment: int | float) -> Homography:
        return cameras.view_at(self._path(layer), moment, self._project.source.size)

    def _snapped(self, matrix: Homography) -> Homography:
        """The identity itself where a view is the frame's own but for rounding, so that the source's pixels stay."""
        corners = cameras.frame_corners(self.size)
        still = np.abs(transform_points(matrix, corners) - corners).max() < STILL_PIXELS
        return np.eye(3) if still else matrix


def _chosen(edits: Sequence[Edit], kind: type[SomeEdit]) -> list[SomeEdit]:
    return [edit for edit in edits if isinstance(edit, kind)]


def _together(moves: Sequence[Move]) -> Move:
    """One after the other, each about the layer's middle."""
    return Move(
        moves[0].layer,
        sum((move.right for move in moves), 0.0),
        sum((move.down for move in moves), 0.0),
        float(np.prod([move.scale for move in moves])),
        sum((move.rotation_degrees for move in moves), 0.0),
    )


def _check(project: Project, edits: Sequence[Edit]) -> None:
    for edit in edits:
        if isinstance(edit, Move | Unshadow | LeaveShadow | Freeze | Reverse | Stabilize):
            layer = project.layer_index(edit.layer)
            if isinstance(edit, Move | Unshadow | LeaveShadow) and project.layers[layer].kind == "background":
                raise LayerloomError(
                    f"{edit.layer}: the background is the scene itself; only objects can be moved or unshadowed"
                )
        if isinstance(edit, Freeze):
            project.frame_index(edit.frame)
        if isinstance(edit, Camera) and edit.lock is not None:
            project.frame_index(edit.lock)
    if _chosen(edits, Stabilize) and any(edit.lock is not None for edit in _chosen(edits, Camera)):
        raise LayerloomError("camera: locked to a frame and stabilized at once; choose one")
