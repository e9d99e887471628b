"""Bundle adjustment on a plane: all frames' motions at once, from links between frames near and far.

In the links' coordinates a layer lies about the origin and its typical radius is 1. `plane_equations` holds the inner
loop; what it adds up is solved here. Links reach a limited number of frames, so the normal equations are sparse, and
the cost is linear in frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, Int
from scipy.sparse import coo_array, diags_array
from scipy.sparse.linalg import splu

from layerloom.core.parallel import do_in_threads
from layerloom.prepare.plane_equations import add_links

ROUNDS = 8
"""At most."""
SETTLED_PIXELS = 1e-3
"""Updates that move the layer's rim by less end it."""
LINKS_AT_ONCE = 64
"""For each thread."""
USUAL_TURN = 0.05
"""Rotation, shear or zoom that a layer is expected to make in a frame (1 = its size): a prior for small layers."""
FIXED = 1e6
"""How much stiffer than anything else the reference frame is."""

Matrices = Float64[np.ndarray, "t 3 3"]


@dataclass(frozen=True)
class Links:
    """Sample i of link k goes from `start[k, i]`, frame `first[k]`, to `end[k, i]`, frame `last[k]`."""

    first: Int[np.ndarray, " links"]
    last: Int[np.ndarray, " links"]
    start: Float64[np.ndarray, "links samples 2"]
    end: Float64[np.ndarray, "links samples 2"]
    weight: Float64[np.ndarray, "links samples"]


@dataclass(frozen=True)
class Frames:
    """Which frames show the layer, which of them is the reference, and a pixel's size in the links' coordinates."""

    visible: Int[np.ndarray, " visible"]
    reference: int
    pixel: float


def refine(motion: Matrices, links: Links, frames: Frames, freedom: int) -> Matrices:
    """Gauss–Newton on all frames at once, samples weighed anew in each round (Geman–McClure, scaled by the median).

    freedom: 6 for affine motions, 8 for homographies. Frames take updates H ← (I + Δ) H, none the reference.
    """
    place = np.zeros(len(motion), int)
    place[frames.visible] = np.arange(len(frames.visible))
    ends = place[links.first], place[links.last]
    for _ in range(ROUNDS):
        normal, gradient = _normal_equations(motion, links, frames.pixel, freedom)
        update = _solve(normal, gradient, ends, int(place[frames.reference]), len(frames.visible))
        motion = motion.copy()
        motion[frames.visible] = (np.eye(3) + update) @ motion[frames.visible]
        motion /= motion[:, 2:, 2:]
        if np.abs(update).max() < SETTLED_PIXELS * frames.pixel:
            break
    return motion


def _normal_equations(
    motion: Matrices, links: Links, pixel: float, freedom: int
) -> tuple[Float64[np.ndarray, "links freedom freedom"], Float64[np.ndarray, "links freedom"]]:
    """Per link JᵀWJ and JᵀW·error, with respect to Δ_first − Δ_last."""
    count = len(links.first)
    to_plane, from_plane = motion[links.first], np.linalg.inv(motion)[links.last]
    stiffness = (pixel / (USUAL_TURN * np.abs(links.last - links.first))) ** 2
    normal, gradient = np.empty((count, freedom, freedom)), np.empty((count, freedom))
    arrays = to_plane, from_plane, links.start, links.end, links.weight, stiffness, normal, gradient

    def add(part: slice) -> None:
        add_links(*(array[part] for array in arrays), pixel)

    do_in_threads(add, _parts(count))
    return normal, gradient


def _parts(count: int) -> Iterator[slice]:
    return (slice(begin, begin + LINKS_AT_ONCE) for begin in range(0, count, LINKS_AT_ONCE))


def _solve(
    normal: Float64[np.ndarray, "links freedom freedom"],
    gradient: Float64[np.ndarray, "links freedom"],
    ends: tuple[Int[np.ndarray, " links"], Int[np.ndarray, " links"]],
    reference: int,
    frames: int,
) -> Float64[np.ndarray, "frames 3 3"]:
    """Updates Δ of all frames that minimise Σ weight |error + J (Δ_first − Δ_last)|², with none for the reference.

    `ends` are the links' first and last frames.
    """
    first, last = ends
    freedom = normal.shape[-1]
    order = frames * freedom
    right = np.zeros((frames, freedom))
    largest = np.trace(normal, axis1=1, axis2=2).max()
    held = np.full((frames, freedom), 1e-9 * largest)
    held[reference] += FIXED * largest
    matrix = diags_array(held.ravel())
    for one, own in ((first, -1.0), (last, 1.0)):
        np.add.at(right, one, own * gradient)
        for other, sign in ((first, -1.0), (last, 1.0)):
            matrix += _blocks(own * sign * normal, one, other, order)
    factors = splu(matrix.tocsc(), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    matrices = np.zeros((frames, 9))
    matrices[:, :freedom] = factors.solve(right.ravel()).reshape(frames, freedom)
    return matrices.reshape(frames, 3, 3)


def _blocks(
    values: Float64[np.ndarray, "links freedom freedom"],
    row: Int[np.ndarray, " links"],
    column: Int[np.ndarray, " links"],
    order: int,
) -> Any:
    """A sparse matrix of blocks, those at the same place added up."""
    freedom = values.shape[-1]
    places = np.indices((freedom, freedom))
    rows, columns = (at[:, None, None] * freedom + inner for at, inner in zip((row, column), places, strict=True))
    return coo_array((values.ravel(), (rows.ravel(), columns.ravel())), (order, order)).tocsc()
