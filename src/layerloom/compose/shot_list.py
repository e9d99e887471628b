"""From a plan to shots: which moment of each layer every output frame shows, and where.

The scene is the plane of the background's canvas. With H the view of the frame's camera (pixels to the scene) at the
moment s that a layer shows, C the output's camera (its pixels to the scene) and A the object's new place in the scene,

    to_source = H(s)⁻¹ A⁻¹ C

so that whatever is shown keeps its place in the scene, however cameras and moments differ.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from jaxtyping import Float64

from layerloom.compose import camera as cameras
from layerloom.compose.camera import CameraPaths, Homography
from layerloom.compose.disocclusion import needed_zoom
from layerloom.compose.shot import Instance, Shot, at_scale, still_shot
from layerloom.compose.shot_plan import ShotPlan
from layerloom.compose.timing import layer_times, output_times, output_timestamps
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, transform_points
from layerloom.data.project import Project
from layerloom.edits.shot import Duplicate, Extend, Move
from layerloom.media.limits import limit

GREATEST_CROP_ZOOM = 4.0
STILL_PIXELS = 1e-3
"""A view that moves no corner of the frame farther than this is the frame's own."""


@dataclass(frozen=True, eq=False)
class ShotList:
    """The output's frames. timestamps: seconds from 0. speed: how many times as fast as the source."""

    size: Size
    shots: tuple[Shot, ...]
    timestamps: tuple[Fraction, ...]
    speed: float


def list_shots(project: Project, plan: ShotPlan, shown: range, paths: CameraPaths) -> ShotList:
    """What the output's frames show. shown: the project's frames that the shot runs through, at least one.

    LayerloomError where a crop would have to zoom in too far, and for larger or more frames than the limits.
    """
    _check_limits(project, plan, shown)
    times = output_times(shown, plan.speed)
    timestamps = tuple(output_timestamps(project, shown, plan.speed))
    if plan == ShotPlan():
        shots = tuple(still_shot(project, frame) for frame in shown)
        return ShotList(project.source.size, shots, timestamps, plan.speed)
    builder = ShotBuilder(project, plan, shown, paths)
    shots = tuple(builder.shot(time) for time in times)
    if plan.crop:
        zoom = needed_zoom(project, shots)
        if zoom > GREATEST_CROP_ZOOM:
            raise LayerloomError(
                f"crop: it takes a zoom of {zoom:.1f} until nothing unseen shows, allowed are {GREATEST_CROP_ZOOM:g};"
                " move the camera less, stabilize with less strength, or extend less"
            )
        shots = tuple(builder.shot(time, zoom) for time in times)
    shots = tuple(at_scale(shot, plan.scale) for shot in shots)
    return ShotList(shots[0].size, shots, timestamps, plan.speed)


def _check_limits(project: Project, plan: ShotPlan, shown: range) -> None:
    extend, most = plan.extend or Extend(0, 0, 0, 0), limit("LAYERLOOM_MAX_PIXELS")
    width = round((project.source.size[0] + extend.left + extend.right) * plan.scale)
    height = round((project.source.size[1] + extend.top + extend.bottom) * plan.scale)
    if width * height > most:
        raise LayerloomError(
            f"frames of {width} x {height}: at most {most} pixels are drawn (LAYERLOOM_MAX_PIXELS raises the limit)",
            "scale",
            "extend",
        )
    count, most = round(len(shown) / plan.speed), limit("LAYERLOOM_MAX_FRAMES")
    if count > most:
        raise LayerloomError(
            f"{count} frames: at most {most} are drawn (LAYERLOOM_MAX_FRAMES raises the limit)", "speed", "frames"
        )


def list_placings(
    project: Project, plan: ShotPlan, layer: int, paths: CameraPaths
) -> list[tuple[bool, Float64[np.ndarray, "t 3 3"]]]:
    """For each other place at which a layer is shown: whether it is a copy's, and the homographies that take places in
    the scene there, by frames."""
    frames = range(project.source.frames)
    placings = [placing for placing in plan.placings(project.layers[layer].name) if placing is not None]
    builder = ShotBuilder(project, plan, frames, paths) if placings else None
    return [
        (isinstance(placing, Duplicate), np.stack([builder.placed(layer, float(frame), placing) for frame in frames]))
        for placing in placings
        if builder is not None
    ]


class ShotBuilder:
    """Layers and cameras of one output. `shown`: the project's frames that it runs through."""

    def __init__(self, project: Project, plan: ShotPlan, shown: range, paths: CameraPaths) -> None:
        self._project, self._plan, self._shown, self._paths = project, plan, shown, paths
        self._extend = plan.extend or Extend(0, 0, 0, 0)
        self._background = len(project.layers) - 1

    @property
    def size(self) -> Size:
        """Of the output's frames."""
        (width, height), extend = self._project.source.size, self._extend
        return width + extend.left + extend.right, height + extend.top + extend.bottom

    def shot(self, time: float, zoom: float = 1.0) -> Shot:
        """The frame at a time of the footage. zoom: about its middle."""
        times = layer_times(len(self._project.layers), self._plan.retimings, self._shown, time)
        camera = self._camera(time, times) @ self._framing(zoom)
        instances: list[Instance] = []
        for layer, moment in enumerate(times):
            for placing in self._plan.placings(self._project.layers[layer].name):
                instances.append(Instance(layer, moment, self._to_source(layer, moment, camera, placing)))
        return Shot(self.size, tuple(instances), *self._picture(instances))

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
        for edit in self._plan.cameras:
            if edit.keyframes:
                keyframe = cameras.keyframe_at(edit.keyframes, self._project.source.first_frame + time)
                matrix = matrix @ cameras.moved_view(keyframe, self._project.source.size)
        return matrix

    def _base(self, time: float, times: Sequence[float]) -> Homography:
        """The camera before it is moved: the source's own, held still in the scene, or held on a layer."""
        locks = [edit.lock for edit in self._plan.cameras if edit.lock is not None]
        if locks:
            return self._view(self._background, self._project.frame_index(locks[-1]))
        stabilize = self._plan.stabilize
        if stabilize is None:
            return self._view(self._background, time)
        layer = self._project.layer_index(stabilize.layer)
        moment = times[layer]
        steady = self._steady_view(layer, moment, stabilize.strength)
        return self._view(self._background, moment) @ np.linalg.inv(self._view(layer, moment)) @ steady

    def _steady_view(self, layer: int, moment: float, strength: float) -> Homography:
        if strength == 1:
            return self._view(layer, self._shown[len(self._shown) // 2])
        if strength == 0:
            return self._view(layer, moment)
        return cameras.view_at(self._paths.smooth(layer, strength), moment, self._project.source.size)

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
        return self._paths.view(layer, moment)

    def _snapped(self, matrix: Homography) -> Homography:
        """The identity itself where a view is the frame's own but for rounding, so that the source's pixels stay."""
        corners = cameras.frame_corners(self.size)
        still = np.abs(transform_points(matrix, corners) - corners).max() < STILL_PIXELS
        return np.eye(3) if still else matrix
