"""Ordinary frames on the CPU: planes of OpenCV, in strips, in the part of a frame that edits touch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.blending import Ink
from layerloom.conventions import Size
from layerloom.mattes import composite
from layerloom.patches import Patch, resize, window_of
from layerloom.project import Project, Window
from layerloom.rendering.scene import Inputs, Pyramid, Scene, Stage
from layerloom.staging import Shot

CELL_PIXELS = 16
"""Spacing of the points at which it is looked up which part of a frame an edit touches."""
STRIP_ROWS = 64
FINEST_TEXELS_PER_PIXEL = 1.5
"""A layer that shows more texels per pixel in a frame is looked up in a smaller copy of its canvas."""

Planes = Float32[np.ndarray, "c h w"]
Shares = Float32[np.ndarray, "layers h w"]


def render_still(scene: Scene, shot: Shot, inputs: Inputs) -> np.ndarray:
    """An ordinary frame, h w 3, uint8 or uint16."""
    frame = int(shot.instances[0].time)
    stages = [_Stage(_lookups(scene, stage), stage.paint) for stage in scene.stages(shot)]
    window = _whole(scene.project) if inputs.source is None else _touched_window(scene, frame, stages)
    if window is None:
        assert inputs.source is not None
        return inputs.source
    own = [cv2.resize(plane, scene.project.source.size) for plane in inputs.own_alphas[frame]]
    own.append(np.ones(scene.project.source.size[::-1], np.float32))
    shares = composite(own)
    revealed = composite([np.zeros_like(own[0]) if layer in scene.hidden else own[layer] for layer in range(len(own))])
    if len(own) - 1 in scene.hidden:
        revealed[-1] = 0
    edited = np.empty((*own[0].shape, 3), f"uint{inputs.bit_depth}") if inputs.source is None else inputs.source.copy()
    for strip in _strips(window):
        picture = None
        if inputs.source is not None:
            picture = np.stack([media.to_float(plane) for plane in cv2.split(inputs.source[strip])])
        planes = _apply(scene, frame, stages, strip, shares[:, *strip], revealed[:, *strip], picture)
        edited[strip] = _as_pixels(planes, inputs.bit_depth)
    return edited


@dataclass(frozen=True)
class _Stage:
    """Patches by layer, then a painting straight on the frame in the frame it was made for."""

    patches: "dict[int, _PatchLookup]"
    paint: Ink | None = None


def _lookups(scene: Scene, stage: Stage) -> "dict[int, _PatchLookup]":
    canvases = [layer.canvas for layer in scene.project.layers]
    return {
        layer: _PatchLookup(patch, canvases[layer]) for layer, patch in enumerate(stage.patches) if patch is not None
    }


class _Lookup:
    """Part of a canvas, for lookups by texel position: bilinear, in smaller copies where it is seen smaller."""

    def __init__(self, image: Float32[np.ndarray, "h w c"], left: int, top: int) -> None:
        self.origin = np.array([left, top], np.float32)
        self.size = np.array([image.shape[1], image.shape[0]], np.float32)
        self._levels = {0: cv2.split(image)}

    def sample(self, uv: Float32[np.ndarray, "h w 2"], level: float) -> Planes:
        """Planes at texel positions; the border goes on outside. `level`: how often to halve, blended in between."""
        lower = int(level)
        planes = self._sample_level(uv, lower)
        if level > lower:
            planes += np.float32(level - lower) * (self._sample_level(uv, lower + 1) - planes)
        return planes

    def _sample_level(self, uv: Float32[np.ndarray, "h w 2"], level: int) -> Planes:
        sources = self._level(level)
        scale = np.array(sources[0].shape[::-1], np.float32) / self.size
        x = (uv[..., 0] - self.origin[0]) * scale[0] - np.float32(0.5)
        y = (uv[..., 1] - self.origin[1]) * scale[1] - np.float32(0.5)
        return np.stack(
            [cv2.remap(plane, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for plane in sources]
        )

    def _level(self, level: int) -> Sequence[np.ndarray]:
        if level not in self._levels:
            width, height = (max(1, round(float(side) / 2**level)) for side in self.size)
            self._levels[level] = [resize(plane, (width, height)) for plane in self._levels[0]]
        return self._levels[level]


@lru_cache(maxsize=8)
def _texture(texture: Pyramid) -> _Lookup:
    return _Lookup(texture.level(0), 0, 0)


class _PatchLookup:
    """A patch ready for lookups. `low`, `high`: texels between which it acts, without end where it meets a border."""

    def __init__(self, patch: Patch, canvas: Size) -> None:
        self.lookup = _Lookup(np.dstack([patch.change, patch.opacity]), patch.left, patch.top)
        low, high = self.lookup.origin, self.lookup.origin + self.lookup.size
        self.low = np.where(low <= 0, -np.inf, low)
        self.high = np.where(high >= canvas, np.inf, high)


@dataclass(frozen=True)
class _LayerView:
    """A layer as it is seen in a window of a frame; everything is on `part` of that window, where it has a share."""

    part: Window
    uv: Float32[np.ndarray, "h w 2"]
    light: Planes
    content: Planes


def _strips(window: Window) -> Iterator[Window]:
    """A window in strips so low that the planes of one stay in the processor's cache."""
    rows, columns = window
    for top in range(rows.start, rows.stop, STRIP_ROWS):
        yield slice(top, min(top + STRIP_ROWS, rows.stop)), columns


def _touched_window(scene: Scene, frame: int, stages: Sequence[_Stage]) -> Window | None:
    """The part of a frame that edits may change."""
    project = scene.project
    if len(project.layers) - 1 in scene.replaced:
        return _whole(project)
    parts = [window_of(project.own_alpha(layer, frame)) for layer in scene.hidden]
    for stage in stages:
        parts += [_patch_window(project, layer, frame, patch) for layer, patch in stage.patches.items()]
        parts += [window_of(stage.paint.max(-1)) if stage.paint is not None else None]
    return _union([part for part in parts if part is not None])


def _apply(
    scene: Scene,
    frame: int,
    stages: Sequence[_Stage],
    window: Window,
    seen: Shares,
    revealed: Shares,
    source: Planes | None,
) -> Planes:
    """All edits in a window of a frame.

    `seen`: the layers' shares there; `revealed`: the same without the hidden layers. `source`: its colours; None to
    start from those of the layers alone.
    """
    views = _layer_views(scene, frame, window, np.maximum(seen, revealed))
    composite = _composite(views, seen)
    picture = composite if source is None else source
    residual = picture - composite
    if scene.replaced:
        picture = picture + _replacement(scene, window, views, seen, revealed, residual)
        residual = residual * (1 - seen[scene.replaced].sum(0))
    for stage in stages:
        before = picture
        picture = picture + _patch_change(scene, frame, views, stage, revealed, residual)
        if stage.paint is not None:
            paint = np.moveaxis(stage.paint[window], -1, 0)
            picture = picture + (paint[:3] - paint[3:] * picture)
        residual = residual + (picture - before)
    return picture


def _replacement(
    scene: Scene, window: Window, views: dict[int, _LayerView], seen: Shares, revealed: Shares, residual: Planes
) -> Planes:
    """What hiding layers and a new background B add: Σ (α' − α) R T + α' B − h e, with the replaced layers' share h."""
    change = -seen[scene.replaced].sum(0) * residual
    for layer, view in views.items():
        kept = np.zeros_like(seen[0]) if layer in scene.replaced else revealed[layer]
        change[:, *view.part] += (kept - seen[layer])[view.part] * view.content
    if scene.has_backdrop:
        backdrop = scene.backdrop(scene.project.source.size)[window]
        change += revealed[-1] * np.stack(cv2.split(backdrop))
    return change


def _patch_change(
    scene: Scene, frame: int, views: dict[int, _LayerView], stage: _Stage, seen: Shares, residual: Planes
) -> Planes:
    """What patches add: Σ α (R · change − a e)."""
    total = np.zeros_like(residual)
    for layer, patch in stage.patches.items():
        if layer in views:
            view = views[layer]
            values = patch.lookup.sample(view.uv, _detail_level(scene.project, layer, frame))
            local = view.light * values[:3] - values[3:] * residual[:, *view.part]
            total[:, *view.part] += seen[layer][view.part] * local
    return total


def _layer_views(scene: Scene, frame: int, window: Window, shares: Shares) -> dict[int, _LayerView]:
    """The layers that have a share in a window, by number."""
    project = scene.project
    views: dict[int, _LayerView] = {}
    for layer, share in enumerate(shares):
        part = window_of(share)
        if part is not None:
            rows, columns = (
                slice(outer.start + inner.start, outer.start + inner.stop)
                for outer, inner in zip(window, part, strict=True)
            )
            uv = project.uv(layer, frame, (rows, columns))
            light = np.stack(project.lighting_planes(layer, frame, uv))
            content = _texture(scene.textures[layer]).sample(uv, _detail_level(project, layer, frame)) * light
            views[layer] = _LayerView(part, uv, light, content)
    return views


def _detail_level(project: Project, layer: int, frame: int) -> float:
    """How often to halve a canvas so that a layer seen small does not shimmer; 0 for most frames."""
    texels_per_pixel = np.sqrt(np.abs(np.linalg.det(project.layers[layer].uv_affine[frame, :, :2])))
    return float(np.log2(max(1.0, texels_per_pixel / FINEST_TEXELS_PER_PIXEL)))


def _composite(views: dict[int, _LayerView], shares: Shares) -> Planes:
    """Σ α R T."""
    total = np.zeros((3, *shares.shape[1:]), np.float32)
    for layer, view in views.items():
        total[:, *view.part] += shares[layer][view.part] * view.content
    return total


def _patch_window(project: Project, layer: int, frame: int, patch: _PatchLookup) -> Window | None:
    """The part of a frame where a layer's uv may lie within a patch, from the corners of square cells."""
    width, height = project.source.size
    columns = np.append(np.arange(0, width, CELL_PIXELS), width).astype(np.float32)
    rows = np.append(np.arange(0, height, CELL_PIXELS), height).astype(np.float32)
    corners = project.uv_at(layer, frame, np.stack(np.meshgrid(columns, rows), -1))
    around = np.stack([corners[:-1, :-1], corners[1:, :-1], corners[:-1, 1:], corners[1:, 1:]])
    slack = 1 + 0.25 * (around.max(0) - around.min(0))
    inside = ((around.max(0) + slack >= patch.low) & (around.min(0) - slack <= patch.high)).all(-1)
    cells = window_of(inside)
    if cells is None:
        return None
    (top, bottom), (left, right) = ((CELL_PIXELS * side.start, CELL_PIXELS * side.stop) for side in cells)
    return slice(top, min(bottom, height)), slice(left, min(right, width))


def _union(windows: Sequence[Window]) -> Window | None:
    """The smallest window that holds all of them."""
    if not windows:
        return None
    rows, columns = zip(*windows, strict=True)
    return (
        slice(min(side.start for side in rows), max(side.stop for side in rows)),
        slice(min(side.start for side in columns), max(side.stop for side in columns)),
    )


def _whole(project: Project) -> Window:
    width, height = project.source.size
    return slice(0, height), slice(0, width)


def _as_pixels(planes: Planes, bit_depth: int) -> np.ndarray:
    """Planes in [0, 1] as h w 3 integers."""
    return cv2.merge([media.quantise(plane, bit_depth) for plane in planes])
