"""What nobody saw: where a shot shows the background, and no frame of the source did."""

from collections.abc import Collection, Iterable
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64

from layerloom import media
from layerloom.compose.shot import Instance, Shot
from layerloom.core.compositing import transmittance
from layerloom.core.geometry import Size, transform_points
from layerloom.data.project import Project
from layerloom.edits.canvas import parse_colour

FAINT, SURE = 0.25, 0.75
"""A texel's alpha says how surely it was seen: not at all below the first, fully above the second."""
CROP_STEP_PIXELS = 4
REPORT_STEP_PIXELS = 6

Points = Float64[np.ndarray, "h w 2"]


def seen_canvas(project: Project) -> Float32[np.ndarray, "H W"]:
    """How far each texel of the background was seen, from 0 to 1."""
    return np.clip((project.layers[-1].texture[..., 3] - FAINT) / (SURE - FAINT), 0, 1)


def unseen_share(
    project: Project, shot: Shot, seen: Float32[np.ndarray, "H W"], hidden: Collection[int] = (), step: int = 1
) -> Float32[np.ndarray, "h w"]:
    """The part of every step-th pixel's colour, each way, that comes from background that nobody saw.

    seen: per texel of the background's canvas. hidden: layers that are taken away.
    """
    xy = _pixels(shot.size, step)
    first = next(i for i, item in enumerate(shot.instances) if project.layers[item.layer].kind == "background")
    in_front, background = shot.instances[:first], shot.instances[first]
    if background.layer in hidden:
        return np.zeros(xy.shape[:2], np.float32)
    in_place = {item.layer for item in shot.instances if _same_view(item, background)} - set(hidden)
    shown = _shown_at(project, background, xy, in_place)
    own = (_own_alpha_at(project, item, xy) for item in in_front if item.layer not in hidden)
    return transmittance(own, xy.shape[:2]) * (1 - np.maximum(_seen_at(project, background, seen, xy), shown))


def unseen_shares(project: Project, hidden: Collection[int], shots: Iterable[Shot]) -> list[float]:
    """By frame, the share of its pixels that show background which nobody saw, sampled. Edits of textures do not count
    as seeing. hidden: layers that are taken away."""
    seen = seen_canvas(project)
    return [float(unseen_share(project, shot, seen, hidden, REPORT_STEP_PIXELS).mean()) for shot in shots]


class UnseenMarker:
    """Marks in a shot's picture what no frame saw: `transparent`, or in a colour."""

    def __init__(self, project: Project, content: str, hidden: Collection[int]) -> None:
        """content: `transparent` or `#rrggbb`. hidden: layers that are taken away."""
        self.content = content
        self._project, self._hidden, self._seen = project, hidden, seen_canvas(project)

    def mark(self, shot: Shot, picture: np.ndarray) -> np.ndarray:
        """The picture (h w 3) with the colour, or with a fourth channel."""
        share = unseen_share(self._project, shot, self._seen, self._hidden)
        full_scale = np.iinfo(picture.dtype).max
        if self.content == "transparent":
            return np.dstack([picture, np.rint((1 - share) * full_scale).astype(picture.dtype)])
        colour = np.array(parse_colour(self.content), np.float32) * full_scale
        return np.rint(picture + share[..., None] * (colour - picture)).astype(picture.dtype)


def needed_zoom(project: Project, shots: Iterable[Shot]) -> float:
    """How far to zoom in about the frame's middle so that shots show no background beyond the source's frames that
    nobody saw; infinite if that is in the very middle."""
    seen = seen_canvas(project)
    return max(1.0, *(_needed_zoom(project, shot, seen) for shot in shots))


def _needed_zoom(project: Project, shot: Shot, seen: Float32[np.ndarray, "H W"]) -> float:
    background = next(item for item in shot.instances if project.layers[item.layer].kind == "background")
    xy = _pixels(shot.size, CROP_STEP_PIXELS)
    unknown = ~_inside(project, transform_points(background.to_source, xy)) & (
        _seen_at(project, background, seen, xy) < 0.5
    )
    if not unknown.any():
        return 1.0
    half = np.array(shot.size) / 2
    reach = (np.abs(xy[unknown] - half) - CROP_STEP_PIXELS).clip(0) / half
    return float(1 / max(reach.max(1).min(), 1e-6))


def _pixels(size: Size, step: int) -> Points:
    """Centres of every step-th pixel each way, and of the last ones."""
    columns, rows = (np.unique(np.append(np.arange(0, side, step), side - 1)) + 0.5 for side in size)
    return np.stack(np.meshgrid(columns, rows), -1)


def _seen_at(
    project: Project, background: Instance, seen: Float32[np.ndarray, "H W"], xy: Points
) -> Float32[np.ndarray, "h w"]:
    source_xy = transform_points(background.to_source, xy).astype(np.float32)
    uv = project.uv_at(background.layer, round(background.time), source_xy) - np.float32(0.5)
    return cv2.remap(seen, uv[..., 0], uv[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=0)


def _same_view(first: Instance, second: Instance) -> bool:
    return first.time == second.time and np.array_equal(first.to_source, second.to_source)


def _shown_at(
    project: Project, background: Instance, xy: Points, in_place: Collection[int]
) -> Float32[np.ndarray, "h w"]:
    """How much of what belongs there the source's picture of that time shows. Objects hide it, but for those
    `in_place`: they belong there, and along their outlines the picture shows the very mixture."""
    hiding = (layer for layer in range(len(project.layers) - 1) if layer not in in_place)
    own = (_own_alpha_at(project, replace(background, layer=layer), xy) for layer in hiding)
    inside = _inside(project, transform_points(background.to_source, xy))
    return inside * transmittance(own, xy.shape[:2])


def _own_alpha_at(project: Project, instance: Instance, xy: Points) -> Float32[np.ndarray, "h w"]:
    alpha = media.to_float(project.layers[instance.layer].alpha(round(instance.time)))
    scale = np.array(alpha.shape[::-1]) / project.source.size
    position = (transform_points(instance.to_source, xy) * scale - 0.5).astype(np.float32)
    return cv2.remap(alpha, position[..., 0], position[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _inside(project: Project, xy: Points) -> Bool[np.ndarray, "h w"]:
    return np.all((xy >= 0) & (xy <= project.source.size), -1)
