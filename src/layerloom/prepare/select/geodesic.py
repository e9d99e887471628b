"""How far pixels are from some others, along ways on which the picture changes little."""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from layerloom.core.jit import compiled
from layerloom.prepare.masks.colours import lab_colours

STEP_PER_CHANGE = 0.6
"""A unit of colour change (8-bit Lab) lengthens a step as so many pixels."""
SWEEPS = 4

Array = np.ndarray


def geodesic_distance(frame: UInt8[np.ndarray, "h w 3"], start: Bool[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """In pixels from the nearest of `start`; steps over changing colours are longer.

    By sweeps over the image (Toivanen 1996, "New geodesic distance transforms for gray-scale images").
    """
    distance = np.where(start, np.float32(0), np.float32(1e6))
    _sweep(lab_colours(frame), distance, STEP_PER_CHANGE, SWEEPS)
    return distance


@compiled(nogil=True)
def _sweep(lab: Array, distance: Array, change: float, sweeps: int) -> None:
    height, width = distance.shape
    for sweep in range(2 * sweeps):
        way = 1 if sweep % 2 == 0 else -1
        for i in range(height):
            y = i if way == 1 else height - 1 - i
            for j in range(width):
                x = j if way == 1 else width - 1 - j
                best = distance[y, x]
                for k in range(4):
                    dy = -way if k < 3 else 0
                    dx = k - 1 if k < 3 else -way
                    v, u = y + dy, x + dx
                    if 0 <= v < height and 0 <= u < width:
                        off = 0.0
                        for c in range(3):
                            off += (lab[y, x, c] - lab[v, u, c]) ** 2
                        length = 1.4142 if dx != 0 and dy != 0 else 1.0
                        best = min(best, distance[v, u] + length + change * off**0.5)
                distance[y, x] = best
