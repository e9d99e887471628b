"""Errors of a matte against the true one, as matting is judged.

In the band along the outline: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009.
Over whole frames, in the units of papers on video matting (Lin et al., "Robust High-Resolution Video Matting with
Temporal Guidance", WACV 2022): MAD and MSE × 1000, Grad and Conn / 1000, dtSSD × 100 (Erofeev et al., "Perceptually
Motivated Benchmark for Video Matting", BMVC 2015).
"""

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom.evaluate.measures import GRADIENT_SIGMA_PX, gradient

CONNECTED_STEP = 0.1
"""Levels at which connectedness is looked at."""
CONNECTED_SLACK = 0.15
"""What is connected to within this of its alpha counts as connected."""

Plane = Float32[np.ndarray, "h w"]


def band_errors(matte: Plane, truth: Plane, band: Bool[np.ndarray, "h w"]) -> dict[str, float]:
    """Over the band where it is not clear what a pixel shows; NaN where there is none.

    matte_mad, matte_mse: mean absolute and mean squared difference. matte_sad: the sum of absolute ones;
    matte_gradient: that of the squared differences of gradients' lengths; both in thousands.
    """
    difference = (matte - truth)[band].astype(np.float64)
    if not difference.size:
        return dict.fromkeys(("matte_mad", "matte_mse", "matte_sad", "matte_gradient"), float("nan"))
    slopes = (gradient(matte) - gradient(truth))[band].astype(np.float64)
    return {
        "matte_mad": float(np.abs(difference).mean()),
        "matte_mse": float(np.square(difference).mean()),
        "matte_sad": float(np.abs(difference).sum()) / 1000,
        "matte_gradient": float(np.square(slopes).sum()) / 1000,
    }


def frame_errors(matte: Plane, truth: Plane) -> dict[str, float]:
    """mad, mse, grad and conn over the whole frame, in the units of papers."""
    difference = matte.astype(np.float64) - truth
    slopes = (_gradient_as_published(matte) - _gradient_as_published(truth)).astype(np.float64)
    return {
        "mad": 1000 * float(np.abs(difference).mean()),
        "mse": 1000 * float(np.square(difference).mean()),
        "grad": float(np.square(slopes).sum()) / 1000,
        "conn": connectivity_error(matte, truth) / 1000,
    }


def dtssd(earlier: Plane, later: Plane, true_earlier: Plane, true_later: Plane) -> float:
    """Root mean squared difference of the mattes' changes from one frame to the next, times 100."""
    change = (later.astype(np.float64) - earlier) - (true_later.astype(np.float64) - true_earlier)
    return 100 * float(np.sqrt(np.square(change).mean()))


def connectivity_error(matte: Plane, truth: Plane) -> float:
    """Sum over pixels of the difference in how connected they are to what both mattes hold for sure.

    A pixel's level is the greatest at which it is joined to the largest region where both are at least so opaque.
    """
    level, joined = np.zeros_like(truth), np.ones(truth.shape, np.bool_)
    for threshold in np.arange(1, round(1 / CONNECTED_STEP) + 1) * CONNECTED_STEP:
        both = ((truth >= threshold) & (matte >= threshold)).astype(np.uint8)
        joined &= _largest_region(both)
        level[joined] = threshold
    connected = [1 - excess * (excess >= CONNECTED_SLACK) for excess in (matte - level, truth - level)]
    return float(np.abs(connected[0] - connected[1]).sum(dtype=np.float64))


def _largest_region(where: np.ndarray) -> Bool[np.ndarray, "h w"]:
    _, labels, stats, _ = cv2.connectedComponentsWithStats(where, connectivity=4)
    if len(stats) < 2:
        return np.zeros(where.shape, np.bool_)
    return labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())


def _gradient_as_published(matte: Plane) -> Plane:
    """By kernels of energy 1, as the benchmark's own program scales them; `measures.gradient` is per pixel."""
    half = int(np.ceil(GRADIENT_SIGMA_PX * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * GRADIENT_SIGMA_PX * 0.01))))
    reach = np.arange(-half, half + 1, dtype=np.float64)
    smooth = np.exp(-np.square(reach / GRADIENT_SIGMA_PX) / 2)
    slope = reach * smooth
    scale = np.float32(np.sqrt(np.square(np.outer(smooth, slope)).sum()))
    across, down = (
        cv2.sepFilter2D(matte, cv2.CV_32F, *pair, borderType=cv2.BORDER_REPLICATE) / scale
        for pair in ((slope, smooth), (smooth, slope))
    )
    return np.hypot(across, down)
