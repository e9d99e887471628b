"""The inner loop of bundle adjustment on a plane, compiled: what each link adds to the normal equations.

A link holds samples that go from p in one frame to q in another. With H taking pixels of a frame to the plane, its
error is |H_last⁻¹ H_first p − q|, linearised about the present H: frames take updates H ← (I + Δ) H, so a link knows
only the difference Δ_first − Δ_last, of whose entries, row by row, the first `freedom` are free.
"""

import numpy as np
from jaxtyping import Float64
from numba import njit

from layerloom.core.jit import compiled

CORNERS = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
"""Points about a layer's centre, in normalised coordinates."""

Array = np.ndarray
ROWS, COLUMNS = (0, 0, 0, 1, 1, 2), (0, 1, 2, 1, 2, 2)
"""Of the six entries that tell a symmetric 3 × 3 matrix."""


@njit(error_model="numpy")
def _carry(to_plane: Array, from_plane: Array, x: float, y: float) -> tuple[float, float, float, float, float, float]:
    """A point of the first frame on the plane, and, before the division, in the last frame."""
    u = to_plane[0, 0] * x + to_plane[0, 1] * y + to_plane[0, 2]
    v = to_plane[1, 0] * x + to_plane[1, 1] * y + to_plane[1, 2]
    w = to_plane[2, 0] * x + to_plane[2, 1] * y + to_plane[2, 2]
    across = from_plane[0, 0] * u + from_plane[0, 1] * v + from_plane[0, 2] * w
    down = from_plane[1, 0] * u + from_plane[1, 1] * v + from_plane[1, 2] * w
    depth = from_plane[2, 0] * u + from_plane[2, 1] * v + from_plane[2, 2] * w
    return u, v, w, across, down, depth


@njit(error_model="numpy")
def _add_sample(share: float, error: float, by: Array, plane: Array, squares: Array, slopes: Array) -> None:
    """One coordinate of a sample, whose derivative is by ⊗ plane: into Σ (by byᵀ) ⊗ (plane planeᵀ) and Σ error · J."""
    for i in range(3):
        for j in range(3):
            slopes[i, j] += share * error * by[i] * plane[j]
    for i in range(6):
        scaled = share * by[ROWS[i]] * by[COLUMNS[i]]
        for j in range(6):
            squares[i, j] += scaled * plane[ROWS[j]] * plane[COLUMNS[j]]


@njit(error_model="numpy")
def _write(squares: Array, slopes: Array, normal: Array, gradient: Array) -> None:
    """Sums over samples as the normal equations of the entries of Δ, row by row, that are free."""
    freedom = len(gradient)
    for i in range(6):
        for j in range(6):
            for a, b in ((ROWS[i], COLUMNS[i]), (COLUMNS[i], ROWS[i])):
                for c, d in ((ROWS[j], COLUMNS[j]), (COLUMNS[j], ROWS[j])):
                    row, column = 3 * a + c, 3 * b + d
                    if row < freedom and column < freedom:
                        normal[row, column] = squares[i, j]
    for entry in range(freedom):
        gradient[entry] = slopes[entry // 3, entry % 3]


@njit(error_model="numpy")
def _add_stiffness(to_plane: Array, from_plane: Array, weight: float, normal: Array, gradient: Array) -> None:
    """How far the link's motion is from a translation, at CORNERS about the layer's centre."""
    freedom = len(gradient)
    jacobian = np.empty((5, 2, freedom))
    errors = np.empty((5, 2))
    for i in range(5):
        x, y = (0.0, 0.0) if i == 4 else (CORNERS[i, 0], CORNERS[i, 1])
        u, v, w, across, down, depth = _carry(to_plane, from_plane, x, y)
        plane = (u, v, w)
        place = (across / depth, down / depth)
        errors[i, 0], errors[i, 1] = place[0] - x, place[1] - y
        for axis in range(2):
            for entry in range(freedom):
                by = (from_plane[axis, entry // 3] - place[axis] * from_plane[2, entry // 3]) / depth
                jacobian[i, axis, entry] = by * plane[entry % 3]
    for i in range(4):
        for axis in range(2):
            error = errors[i, axis] - errors[4, axis]
            slope = jacobian[i, axis] - jacobian[4, axis]
            for row in range(freedom):
                gradient[row] += weight * error * slope[row]
                for column in range(freedom):
                    normal[row, column] += weight * slope[row] * slope[column]


@compiled(nogil=True, error_model="numpy")
def add_links(
    to_plane: Float64[np.ndarray, "links 3 3"],
    from_plane: Float64[np.ndarray, "links 3 3"],
    start: Float64[np.ndarray, "links samples 2"],
    end: Float64[np.ndarray, "links samples 2"],
    weight: Float64[np.ndarray, "links samples"],
    stiffness: Float64[np.ndarray, "links"],
    normal: Float64[np.ndarray, "links freedom freedom"],
    gradient: Float64[np.ndarray, "links freedom"],
    pixel: float,
) -> None:
    """Fill JᵀWJ and JᵀW·error of each link. `pixel` is a pixel's size in the links' coordinates.

    Weights are Geman–McClure's, with σ from the link's median error (0.15 px to four), times (pixel / σ)²; with a prior
    of weight `stiffness` that the link moves its CORNERS as it moves the centre: a translation.
    """
    distances = np.empty(weight.shape[1])
    squares, slopes = np.empty((6, 6)), np.empty((3, 3))
    by, plane = np.empty(3), np.empty(3)
    for link in range(len(weight)):
        there, back = to_plane[link], from_plane[link]
        known = 0
        for i in range(len(distances)):
            if weight[link, i] > 0:
                _, _, _, across, down, depth = _carry(there, back, start[link, i, 0], start[link, i, 1])
                distances[known] = np.hypot(across / depth - end[link, i, 0], down / depth - end[link, i, 1])
                known += 1
        sigma = 0.15 * pixel
        if known:
            sigma = min(max(1.5 * np.median(distances[:known]), 0.15 * pixel), 4.0 * pixel)
        squares[:] = 0.0
        slopes[:] = 0.0
        known = 0
        for i in range(len(distances)):
            if weight[link, i] > 0:
                u, v, w, across, down, depth = _carry(there, back, start[link, i, 0], start[link, i, 1])
                plane[0], plane[1], plane[2] = u, v, w
                share = weight[link, i] * (pixel / sigma) ** 2 / (1.0 + (distances[known] / sigma) ** 2) ** 2
                known += 1
                for axis in range(2):
                    place = (across if axis == 0 else down) / depth
                    for row in range(3):
                        by[row] = (back[axis, row] - place * back[2, row]) / depth
                    _add_sample(share, place - end[link, i, axis], by, plane, squares, slopes)
        _write(squares, slopes, normal[link], gradient[link])
        _add_stiffness(there, back, stiffness[link], normal[link], gradient[link])
