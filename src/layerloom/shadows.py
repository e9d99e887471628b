"""Shadows that objects cast on the background: where they may be, and the background's light without them."""

from collections.abc import Collection, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom import media
from layerloom.conventions import Size
from layerloom.edits import Edit
from layerloom.gaps import fill_in_time
from layerloom.project import Project
from layerloom.shot_edits import UnshadowEdit

REACH = 0.4
"""How far from an object its shadow may be, as a share of the root of its area."""


def unshadowed_layers(project: Project, edits: Sequence[Edit]) -> frozenset[int]:
    return frozenset(project.layer_index(edit.layer) for edit in edits if isinstance(edit, UnshadowEdit))


def without_shadows(project: Project, layers: Collection[int]) -> Project:
    """The project with the background's light, around objects, of the times before and after when they are elsewhere.

    A place that they never leave stays as it is.
    """
    if not layers:
        return project
    background = len(project.layers) - 1
    grids = np.stack([project.layers[background].lighting_grid(frame) for frame in range(project.source.frames)])
    known = np.stack([_lit_nodes(project, layers, frame, grids.shape[2:0:-1]) for frame in range(len(grids))])
    return project.with_lighting(background, fill_in_time(grids, known))


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


def _lit_nodes(project: Project, layers: Collection[int], frame: int, nodes: Size) -> Bool[np.ndarray, "rows columns"]:
    """Which nodes of the background's light a frame shows away from objects."""
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
    return inside & (near == 0)
