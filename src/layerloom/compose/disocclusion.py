"""What nobody saw: where a shot shows the background, and no frame of the source did."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64

from layerloom import media
from layerloom.compose.shot import Instance, Shot
from layerloom.core.geometry import Size, transform_points
from layerloom.data.project import Project
from layerloom.edits.canvas import parse_colour
from layerloom.edits.document import Background, Edit, Hide
from layerloom.edits.shot import Unseen

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
    left = np.ones(xy.shape[:2], np.float32)
    for instance in shot.instances:
        if project.layers[instance.layer].kind == "background":
            if instance.layer in hidden:
                return np.zeros_like(left)
            in_place = {item.layer for item in shot.instances if _same_view(item, instance)} - set(hidden)
            shown = _shown_at(project, instance, xy, in_place)
            return left * (1 - np.maximum(_seen_at(project, instance, seen, xy), shown))
        if instance.layer not in hidden:
            left = left * (1 - _own_alpha_at(project, instance, xy))
    return left


def unseen_shares(project: Project, edits: Sequence[Edit], shots: Iterable[Shot]) -> list[float]:
    """By frame, the share of its pixels that show background which nobody saw, sampled. Edits of textures do not count
    as seeing."""
    if any(isinstance(edit, Background) for edit in edits):
        return [0.0 for _ in shots]
    seen, hidden = seen_canvas(project), _hidden(project, edits)
    return [float(unseen_share(project, shot, seen, hidden, REPORT_STEP_PIXELS).mean()) for shot in shots]


def unseen_marker(project: Project, edits: Sequence[Edit]) -> Callable[[Shot, np.ndarray], np.ndarray]:
    """What marks a shot's picture as the last Unseen says; without one the picture stays as it is."""
    marks = [edit for edit in edits if isinstance(edit, Unseen)]
    if not marks or any(isinstance(edit, Background) for edit in edits):
        return lambda shot, picture: picture
    seen, hidden = seen_canvas(project), _hidden(project, edits)

    def mark(shot: Shot, picture: np.ndarray) -> np.ndarray:
        share = unseen_share(project, shot, seen, hidden)
        full_scale = np.iinfo(picture.dtype).max
        if marks[-1].content == "transparent":
            return np.dstack([picture, np.rint((1 - share) * full_scale).astype(picture.dtype)])
        colour = np.array(parse_colour(marks[-1].content), np.float32) * full_scale
        return np.rint(picture + share[..., None] * (colour - picture)).astype(picture.dtype)

    return mark


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


def _hidden(project: Project, edits: Sequence[Edit]) -> set[int]:
    return {project.layer_index(edit.layer) for edit in edits if isinstance(edit, Hide)}


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
    shown = _inside(project, transform_points(background.to_source, xy)).astype(np.float32)
    for layer, stored in enumerate(project.layers):
        if stored.kind == "object" and layer not in in_place:
            shown = shown * (1 - _own_alpha_at(project, replace(background, layer=layer), xy))
    return shown


def _own_alpha_at(project: Project, instance: Instance, xy: Points) -> Float32[np.ndarray, "h w"]:
    alpha = media.to_float(project.layers[instance.layer].alpha(round(instance.time)))
    scale = np.array(alpha.shape[::-1]) / project.source.size
    position = (transform_points(instance.to_source, xy) * scale - 0.5).astype(np.float32)
    return cv2.remap(alpha, position[..., 0], position[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)


def _inside(project: Project, xy: Points) -> Bool[np.ndarray, "h w"]:
    return np.all((xy >= 0) & (xy <= project.source.size), -1)
