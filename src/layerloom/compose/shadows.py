"""Shadows that objects cast on the background: where they may be, and the background's light without them."""

from collections.abc import Collection

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom import media
from layerloom.core.gaps import fill_smoothly
from layerloom.core.geometry import Size
from layerloom.data.project import Project

REACH = 0.4
"""How far from an object its shadow may be, as a share of the root of its area."""
LEAST_LIGHT = 1e-3


def background_light(project: Project) -> Float32[np.ndarray, "t rows columns 3"]:
    background = project.layers[-1]
    return np.stack([background.lighting_grid(frame) for frame in range(project.source.frames)])


def free_light(project: Project, layers: Collection[int]) -> Float32[np.ndarray, "t rows columns 3"]:
    """The background's light with, around objects, what it would be without their shadows.

    A place that they never leave stays as it is.
    """
    light = background_light(project)
    return light_elsewhere(light, *shares_at_nodes(project, layers, light.shape[2:0:-1]))


def light_elsewhere(
    light: Float32[np.ndarray, "t rows columns 3"],
    share: Float32[np.ndarray, "t rows columns"],
    inside: Bool[np.ndarray, "t rows columns"],
) -> Float32[np.ndarray, "t rows columns 3"]:
    """`free_light` from the background's light and what `shares_at_nodes` gives.

    Frames are brought to one exposure. A place's light has a mean over the times when objects are elsewhere; how a
    frame departs from it, as when a light passes, is known around the objects and continued smoothly into them.
    """
    known = inside & (share == 0)
    seen = known.any(0)
    log_light = np.log(np.maximum(light, LEAST_LIGHT))
    for there, frame in zip(known, log_light, strict=True):
        frame -= np.median(frame[there], 0) if there.any() else 0
    mean = (log_light * known[..., None]).sum(0) / np.maximum(known.sum(0, dtype=np.float32), 1)[..., None]
    free = light.copy()
    for there, frame, into in zip(known, log_light, free, strict=True):
        if there.any():
            gone = seen & ~there
            exposure = np.median(into[there], 0)
            departure = fill_smoothly(frame - mean, there.astype(np.float32))
            into[gone] = (exposure * np.exp(mean + departure))[gone]
    return free


def shares_at_nodes(
    project: Project, layers: Collection[int], nodes: Size
) -> tuple[Float32[np.ndarray, "t rows columns"], Bool[np.ndarray, "t rows columns"]]:
    """The shadows' share at nodes of the background's light, and which of them each frame shows."""
    found = (_share_at_nodes(project, layers, frame, nodes) for frame in range(project.source.frames))
    share, inside = (np.stack(part) for part in zip(*found, strict=True))
    return share, inside


def shadow_share(project: Project, layers: Collection[int], frame: int) -> Float32[np.ndarray, "h w"]:
    """At training size: 1 on the objects and close to them, falling to 0 at their shadows' reach."""
    share = np.zeros(project.training_size[::-1], np.float32)
    for layer in layers:
        covered = media.to_float(project.layers[layer].alpha(frame)) > 0.5
        reach = REACH * float(np.sqrt(covered.sum()))
        if reach > 0:
            distance = cv2.distanceTransform((~covered).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
            share = np.maximum(share, np.clip(2 - 2 * distance / reach, 0, 1))
    return share


def _share_at_nodes(
    project: Project, layers: Collection[int], frame: int, nodes: Size
) -> tuple[Float32[np.ndarray, "rows columns"], Bool[np.ndarray, "rows columns"]]:
    """The shadows' share at nodes of the background's light, and which of them the frame shows."""
    background = len(project.layers) - 1
    columns, rows = (
        np.linspace(0, side, count, dtype=np.float32)
        for side, count in zip(project.layers[background].canvas, nodes, strict=True)
    )
    xy, inside = project.find_xy(background, frame, np.stack(np.meshgrid(columns, rows), -1))
    share = shadow_share(project, layers, frame)
    scale = np.array(share.shape[::-1], np.float32) / project.source.size
    position = (xy * scale - 0.5).astype(np.float32)
    near = cv2.remap(share, position[..., 0], position[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return near, inside
