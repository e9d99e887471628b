"""The background's light once objects are moved, repeated or freed of their shadows: what each casts goes with it.

An object's shadow is how much darker the light around it is than at the times when the object is elsewhere. It is
taken off where it was and laid on where the object now stands. As fine as the light's grid, it is a soft one.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64

from layerloom.compose.camera import CameraPaths
from layerloom.compose.shadows import background_light, free_light, light_elsewhere, shares_at_nodes
from layerloom.compose.shot_list import list_placings
from layerloom.compose.shot_plan import ShadowPlan, ShotPlan
from layerloom.core.geometry import transform_points
from layerloom.data.project import Project

LEAST_DARKNESS = 0.005
"""Mean darkness around an object from which it is a shadow, and not only the light's noise."""
LEAST_RATIO = 2.0
"""How many times as large that must be as the mean brightness there."""

Grids = Float32[np.ndarray, "t rows columns 3"]
Homographies = Float64[np.ndarray, "t 3 3"]


@dataclass(frozen=True, eq=False)
class Relit:
    """A project in the light that edits make, and the objects whose shadows are no longer where they were.

    hidden: objects that are no longer there themselves, and whose shadows went with them.
    """

    project: Project
    unshadowed: frozenset[int]
    hidden: frozenset[int] = frozenset()


def relight(project: Project, shadows: ShadowPlan, plan: ShotPlan, paths: CameraPaths) -> Relit:
    """Shadows of moved, repeated and hidden objects go along, where they were found, unless they are taken off or left.

    A layer that runs in its own time leaves its shadow, too: the light has the background's.
    """
    unshadowed = shadows.freed
    staying = unshadowed | _kept_apart(len(project.layers) - 1, shadows, plan)
    hidden = frozenset(layer for layer in shadows.hidden - staying if find_shadow(project, layer) is not None)
    cast: list[tuple[Grids, Homographies]] = []
    for layer in range(len(project.layers) - 1):
        placings = list_placings(project, plan, layer, paths) if layer not in staying | shadows.hidden else []
        shadow = find_shadow(project, layer) if placings else None
        if shadow is not None:
            cast += [(shadow, places) for _, places in placings]
            unshadowed |= {layer} if not all(copies for copies, _ in placings) else set()
    if not unshadowed and not hidden and not cast:
        return Relit(project, frozenset())
    light = free_light(project, unshadowed | hidden) if unshadowed or hidden else background_light(project)
    for shadow, places in cast:
        light = light * _placed(project, shadow, places)
    return Relit(project.with_lighting(len(project.layers) - 1, light), frozenset(unshadowed), hidden)


def find_shadow(project: Project, layer: int) -> Grids | None:
    """By frame, what an object's shadow leaves of the light at the nodes of the background's grid, in [0, 1].

    None where none is found: the light around the object must be darker than without it, and hardly ever brighter.
    """
    light = background_light(project)
    share, inside = shares_at_nodes(project, {layer}, light.shape[2:0:-1])
    free, share = light_elsewhere(light, share, inside), share * inside
    around: Bool[np.ndarray, "t rows columns"] = (share > 0) & (share < 1)
    ratio = light / np.maximum(free, 1e-3)
    for there, frame in zip(around, ratio, strict=True):
        if there.any():
            # Light that changes as a whole is no shadow.
            frame /= np.maximum(np.median(frame[there], 0), 1e-3)
    darkness, brightness = (np.clip(sign * (1 - ratio[around]), 0, 1) for sign in (1, -1))
    if not around.any() or darkness.mean() < max(LEAST_DARKNESS, LEAST_RATIO * brightness.mean()):
        return None
    return 1 - share[..., None] * np.clip(1 - ratio, 0, 1)


def _kept_apart(background: int, shadows: ShadowPlan, plan: ShotPlan) -> frozenset[int]:
    """Objects whose shadows stay where they are."""
    retimed = {retiming.layer for retiming in plan.retimings}
    return frozenset(range(background)) if background in retimed else shadows.left | retimed


def _placed(project: Project, shadow: Grids, places: Homographies) -> Grids:
    """A shadow laid where homographies of the scene, by frame, take it; 1 elsewhere."""
    rows, columns = shadow.shape[1:3]
    canvas = np.array(project.layers[-1].canvas, np.float64)
    nodes = np.stack(np.meshgrid(np.linspace(0, canvas[0], columns), np.linspace(0, canvas[1], rows)), -1)
    moved = np.empty_like(shadow)
    for into, frame, matrix in zip(moved, shadow, places, strict=True):
        xy = transform_points(np.linalg.inv(matrix), nodes) / canvas * [columns - 1, rows - 1]
        x, y = np.ascontiguousarray(np.moveaxis(xy.astype(np.float32), -1, 0))
        into[:] = cv2.remap(frame, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(1, 1, 1))
    return moved
