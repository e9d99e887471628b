"""What the lighting holds: its strength against truth, and how much of it is the texture's.

docs/evaluation.md has the formulas.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32

FINE_PX = 12.0
"""What a Gaussian of this σ takes away is a picture's fine part."""
STRUCTURE_PX = 2.0
"""A texture's structure is looked at through a Gaussian of this σ: lights are no finer."""
WINDOW_PX = 97
"""Side of the windows in which the fine part is fitted."""
LEAST_IN_WINDOW = 0.1
"""A window counts where the layer has this much of it."""
LEAST_COLOUR = 1 / 255
"""Colours and light are raised to this before their logarithm is taken."""

Plane = Float32[np.ndarray, "h w"]
Where = Bool[np.ndarray, "h w"]


@dataclass
class Followed:
    """Sums over pixels: energy of a fine part, and of what of it follows a texture."""

    pixels: int = 0
    fine: float = 0.0
    following: float = 0.0

    def add(self, other: "Followed") -> None:
        self.pixels += other.pixels
        self.fine += other.fine
        self.following += other.following

    @property
    def rms(self) -> float:
        """Of the fine part, in its own unit; NaN over no pixels."""
        return float(np.sqrt(self.fine / self.pixels)) if self.pixels else float("nan")

    @property
    def following_rms(self) -> float:
        """Of what follows the texture; NaN over no pixels."""
        return float(np.sqrt(self.following / self.pixels)) if self.pixels else float("nan")

    @property
    def share(self) -> float:
        """Of the fine part's energy, what follows the texture; NaN without a fine part."""
        return self.following / self.fine if self.fine > 0 else float("nan")


def slope(learned: Float[np.ndarray, "n"], true: Float[np.ndarray, "n"]) -> float:
    """Least squares: how much `learned` changes for a change of one in `true`; NaN where that does not vary."""
    a, b = learned - learned.mean(), true - true.mean()
    energy = float(np.square(b).sum())
    return float((a * b).sum()) / energy if energy > 0 else float("nan")


def luma(colour: Float32[np.ndarray, "h w 3"]) -> Plane:
    """Of a colour or a light (BT.601's weights)."""
    return cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)


def log_luma(colour: Float32[np.ndarray, "h w 3"]) -> Plane:
    """Its natural logarithm."""
    return np.log(np.maximum(luma(colour), np.float32(LEAST_COLOUR)))


def follows(shown: Plane, texture: Plane, where: Where) -> Followed:
    """How much of the fine part of `shown` follows the structure of the `texture` under it, over the pixels `where`.

    A picture that is displaced by d against its texture differs from it by d · ∇T, and one that is not the texture's
    leaves −T: in windows of WINDOW_PX around each pixel the fine part of `shown` is fitted by that of the texture and
    the two components of its gradient (least squares). What the fit gives, follows the texture.
    """
    weight = where.astype(np.float32)
    if not where.any():
        return Followed()
    smooth = _mean_near(texture, weight, STRUCTURE_PX)
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    structure = [part * weight for part in (smooth - _mean_near(smooth, weight, FINE_PX), across, down)]
    fine = (shown - _mean_near(shown, weight, FINE_PX)) * weight
    fitted = _fit_in_windows(fine, structure, weight)
    counts = where & np.isfinite(fitted)
    return Followed(
        int(counts.sum()),
        float(np.square(fine[counts], dtype=np.float64).sum()),
        float(np.square(fitted[counts], dtype=np.float64).sum()),
    )


def _fit_in_windows(fine: Plane, structure: list[Plane], weight: Plane) -> Plane:
    """At each pixel, what the fit over the window around it gives there; NaN where the window holds too little."""
    count = _window_mean(weight)
    matrix = np.stack([np.stack([_window_mean(a * b) for b in structure], -1) for a in structure], -2)
    target = np.stack([_window_mean(part * fine) for part in structure], -1)
    # A thousandth of the strongest structure keeps flat places solvable, and gives them nothing to follow.
    ridge = np.float32(1e-3) * np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] + np.float32(1e-9)
    solved = np.linalg.solve(matrix + ridge * np.eye(len(structure), dtype=np.float32), target[..., None])[..., 0]
    fitted = sum(solved[..., index] * part for index, part in enumerate(structure))
    return np.where(count > LEAST_IN_WINDOW, fitted, np.float32(np.nan))


def _window_mean(plane: Plane) -> Plane:
    return cv2.boxFilter(plane, -1, (WINDOW_PX, WINDOW_PX), borderType=cv2.BORDER_CONSTANT)


def _mean_near(plane: Plane, weight: Plane, sigma: float) -> Plane:
    """Gaussian mean over the pixels that count."""
    total, counted = (cv2.GaussianBlur(part, (0, 0), sigma) for part in (plane * weight, weight))
    return total / np.maximum(counted, np.float32(1e-6))
