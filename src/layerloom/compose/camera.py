"""Camera paths: estimated from a layer, smoothed, held still, moved through keyframes.

A view is a homography from pixels of a frame to a plane, that of a layer's canvas; the background's is the scene. A
path is where the frame's four corners lie on that plane in every frame (t 4 2), so that paths are averaged and
interpolated as points are.
"""

from collections.abc import Sequence
from threading import Lock

import numpy as np
from jaxtyping import Float, Float32, Float64

from layerloom import media
from layerloom.core.compositing import transmittance
from layerloom.core.geometry import Size, transform_points
from layerloom.data.project import Project
from layerloom.edits.shot import Keyframe

FIT_POINTS = 24
"""Columns, and rows, of points of the frame to which a homography is fitted."""
FIT_ROUNDS = 8
FIT_SCALE_TEXELS = 0.5
"""Deviation at which a point's say in the fit has halved: parallax, and mistakes of the map, have little."""
LEAST_POINTS = 12.0
REACH_DEVIATIONS = 3

Homography = Float64[np.ndarray, "3 3"]
CornerPath = Float64[np.ndarray, "t 4 2"]


def layer_path(project: Project, layer: int) -> CornerPath:
    """The camera's path over a layer's canvas, in texels: homographies fitted to its uv map where it is seen.

    Frames that hardly show the layer have the affine part of its map.
    """
    columns, rows = (side * (np.arange(FIT_POINTS) + 0.5) / FIT_POINTS for side in project.source.size)
    xy = np.stack(np.meshgrid(columns, rows), -1).astype(np.float32)
    corners = frame_corners(project.source.size)
    views = [_fitted_view(project, layer, frame, xy) for frame in range(project.source.frames)]
    return np.stack([transform_points(matrix, corners) for matrix in views])


class CameraPaths:
    """Paths over a project's layers, worked out when they are asked for and kept: fits of every frame take seconds."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._paths: dict[int, CornerPath] = {}
        self._smooth: dict[tuple[int, float], CornerPath] = {}
        self._lock = Lock()

    def of_layer(self, layer: int) -> CornerPath:
        """`layer_path` of a layer (by number)."""
        with self._lock:
            if layer not in self._paths:
                self._paths[layer] = layer_path(self._project, layer)
            return self._paths[layer]

    def smooth(self, layer: int, strength: float) -> CornerPath:
        """The same without shake: smoothed over strength / (1 − strength) / 2 seconds."""
        path, key = self.of_layer(layer), (layer, strength)
        if key not in self._smooth:
            frames = strength / (1 - strength) / 2 * float(self._project.source.fps)
            self._smooth = {key: smooth_path(path, frames)}
        return self._smooth[key]

    def view(self, layer: int, moment: int | float) -> Homography:
        """Pixels of a frame to a layer's canvas at a time in the project's frames."""
        return view_at(self.of_layer(layer), moment, self._project.source.size)


def frame_corners(size: Size) -> Float64[np.ndarray, "4 2"]:
    """(x, y) of the corners of a frame, clockwise from the top left one."""
    width, height = size
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)


def view_at(path: CornerPath, time: int | float, size: Size) -> Homography:
    """The view of frames of `size` at a time in frames; between two frames the corners go straight."""
    frame = min(int(time), len(path) - 1)
    following = min(frame + 1, len(path) - 1)
    corners = path[frame] + (time - frame) * (path[following] - path[frame])
    return _fit(frame_corners(size), corners, np.ones(4))


def smooth_path(path: CornerPath, deviation_frames: float) -> CornerPath:
    """Without shake: each corner fitted by a line over time under a Gaussian window, so that even pans stay even."""
    time = np.arange(len(path))
    distance = time - time[:, None]
    weight = np.exp(-0.5 * np.square(distance / deviation_frames)) * (
        abs(distance) <= max(1, REACH_DEVIATIONS * deviation_frames)
    )
    first, second = (weight * distance).sum(1, keepdims=True), (weight * distance**2).sum(1, keepdims=True)
    weight = weight * (second - first * distance)
    return np.einsum("ts,scx->tcx", weight / weight.sum(1, keepdims=True), path)


def keyframe_at(keyframes: Sequence[Keyframe], number: int | float) -> Keyframe:
    """Position, zoom and rotation at a source frame's number: smooth, at rest at both ends, never past a keyframe.

    Monotone cubic interpolation (Fritsch and Carlson 1980, slopes as harmonic means); the zoom goes in its logarithm.
    """
    knots = np.array([keyframe.frame for keyframe in keyframes], np.float64)
    values = np.array([[key.x, key.y, np.log(key.zoom), key.rotation] for key in keyframes], np.float64)
    position = min(max(float(number), knots[0]), knots[-1])
    x, y, log_zoom, rotation = _monotone_cubic(knots, values, position)
    zoom = float(np.clip(np.exp(log_zoom), 0.01, 100))  # rounding may lead beyond what a keyframe may have
    return Keyframe(int(position), float(x), float(y), zoom, float(rotation))


def moved_view(keyframe: Keyframe, size: Size) -> Homography:
    """Pixels of a frame after the camera has moved to those before: turned and zoomed about the middle, then moved."""
    middle = np.array(size) / 2
    linear = rotation_matrix(keyframe.rotation) / keyframe.zoom
    return affine_about(middle, linear, np.array([keyframe.x, keyframe.y]))


def affine_about(
    centre: Float[np.ndarray, "2"], linear: Float[np.ndarray, "2 2"], shift: Float[np.ndarray, "2"]
) -> Homography:
    """p to centre + linear (p − centre) + shift."""
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = centre - linear @ centre + shift
    return matrix


def rotation_matrix(degrees: float) -> Float64[np.ndarray, "2 2"]:
    """Clockwise, as y points down."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[cosine, -sine], [sine, cosine]])


def _fitted_view(project: Project, layer: int, frame: int, xy: Float[np.ndarray, "n n 2"]) -> Homography:
    affine = np.vstack([project.layers[layer].uv_affine[frame], [0, 0, 1]])
    visible = _share_at(project, layer, frame, xy).ravel()
    if visible.sum() < LEAST_POINTS:
        return affine
    uv = project.uv_at(layer, frame, xy).reshape(-1, 2).astype(np.float64)
    return _robust_fit(xy.reshape(-1, 2).astype(np.float64), uv, visible, affine)


def _share_at(project: Project, layer: int, frame: int, xy: Float[np.ndarray, "n n 2"]) -> Float[np.ndarray, "n n"]:
    """A layer's share of the pixels that hold points of the frame."""
    in_front = transmittance((_own_at(project, number, frame, xy) for number in range(layer)), xy.shape[:2])
    return in_front * _own_at(project, layer, frame, xy)


def _own_at(project: Project, layer: int, frame: int, xy: Float[np.ndarray, "n n 2"]) -> Float32[np.ndarray, "n n"]:
    """Coverage of the pixels that hold points of the frame, before occlusion."""
    stored = project.layers[layer]
    if stored.kind == "background":
        return np.ones(xy.shape[:2], np.float32)
    alpha = media.to_float(stored.alpha(frame))
    scale = np.array(alpha.shape[::-1]) / project.source.size
    column, row = np.moveaxis((xy * scale).astype(int), -1, 0)
    return alpha[row, column]


def _robust_fit(
    xy: Float64[np.ndarray, "n 2"],
    uv: Float64[np.ndarray, "n 2"],
    weight: Float[np.ndarray, "n"],
    start: Homography,
) -> Homography:
    """Homography by least squares, reweighted (Cauchy) so that a point far off has little say."""
    matrix = start
    for _ in range(FIT_ROUNDS):
        error = np.square(transform_points(matrix, xy) - uv).sum(-1)
        # Far starts must not throw all points out: the scale comes down with the median deviation.
        scale = max(FIT_SCALE_TEXELS**2, float(np.median(error[weight > 0])))
        matrix = _fit(xy, uv, weight / (1 + error / scale))
    return matrix


def _fit(xy: Float64[np.ndarray, "n 2"], uv: Float64[np.ndarray, "n 2"], weight: Float[np.ndarray, "n"]) -> Homography:
    """The homography from xy to uv, four points or more (direct linear transformation, lower right element 1)."""
    x, y, one, zero = xy[:, 0], xy[:, 1], np.ones(len(xy)), np.zeros(len(xy))
    rows = [
        np.stack([x, y, one, zero, zero, zero, -uv[:, 0] * x, -uv[:, 0] * y], 1),
        np.stack([zero, zero, zero, x, y, one, -uv[:, 1] * x, -uv[:, 1] * y], 1),
    ]
    root = np.sqrt(np.tile(weight, 2))
    scale = np.abs(np.concatenate(rows)).max(0)
    solution = np.linalg.lstsq(root[:, None] * np.concatenate(rows) / scale, root * uv.T.ravel(), rcond=None)[0]
    return np.append(solution / scale, 1.0).reshape(3, 3)


def _monotone_cubic(
    knots: Float64[np.ndarray, "n"], values: Float64[np.ndarray, "n c"], position: float
) -> Float64[np.ndarray, "c"]:
    if len(knots) == 1:
        return values[0]
    step = np.diff(knots)[:, None]
    slopes = np.diff(values, axis=0) / step
    tangents = np.zeros_like(values)
    before, after = slopes[:-1], slopes[1:]
    agree = before * after > 0
    tangents[1:-1] = np.where(agree, 2 * before * after / np.where(agree, before + after, 1), 0)
    piece = min(int(np.searchsorted(knots, position, "right")) - 1, len(step) - 1)
    length = step[piece, 0]
    t = (position - knots[piece]) / length
    return (
        (1 + 2 * t) * (1 - t) ** 2 * values[piece]
        + t * (1 - t) ** 2 * length * tangents[piece]
        + t * t * (3 - 2 * t) * values[piece + 1]
        - t * t * (1 - t) * length * tangents[piece + 1]
    )
