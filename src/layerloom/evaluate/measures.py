"""Measures of pictures, mattes and light: pure functions of arrays. docs/evaluation.md has the formulas.

Pictures are h w 3 in [0, 1] unless said. Flow is in pixels of the pictures it is used on.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from layerloom.core.geometry import pixel_centres

PSNR_LIMIT_DB = 99.0
"""What equal pictures score: finite, so that means and JSON stay meaningful."""
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2
GRADIENT_SIGMA_PX = 1.4
"""Of the Gaussian whose derivatives are a matte's gradient (Rhemann et al., CVPR 2009)."""
SMALLEST_FLOW_SIDE = 16
"""Smaller pictures are continued to this many pixels for DIS."""
UNDECIDED_BELOW = 0.9
"""A pixel is undecided where no layer covers this much of it."""


def psnr(
    first: Float[np.ndarray, "*shape 3"],
    second: Float[np.ndarray, "*shape 3"],
    where: Bool[np.ndarray, "*shape"] | None = None,
) -> float:
    """Peak signal to noise ratio in dB, over all channels; `where` picks pixels. NaN where it picks none."""
    difference = first.astype(np.float64) - second
    if where is not None:
        difference = difference[where]
    if difference.size == 0:
        return float("nan")
    error = float(np.square(difference).mean())
    return PSNR_LIMIT_DB if error < 10 ** (-PSNR_LIMIT_DB / 10) else -10.0 * float(np.log10(error))


def ssim(first: Float32[np.ndarray, "h w 3"], second: Float32[np.ndarray, "h w 3"]) -> float:
    """Structural similarity (Wang et al. 2004): 11×11 Gaussian window of σ 1.5, mean over pixels and channels."""
    mean_1, mean_2 = _window(first), _window(second)
    variance_1 = _window(first * first) - mean_1 * mean_1
    variance_2 = _window(second * second) - mean_2 * mean_2
    covariance = _window(first * second) - mean_1 * mean_2
    luminance = (2 * mean_1 * mean_2 + SSIM_C1) / (mean_1 * mean_1 + mean_2 * mean_2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (variance_1 + variance_2 + SSIM_C2)
    return float((luminance * structure).mean())


def intersection_over_union(first: Bool[np.ndarray, "h w"], second: Bool[np.ndarray, "h w"]) -> float:
    """Region similarity J. Two empty masks agree: 1."""
    union = np.count_nonzero(first | second)
    return np.count_nonzero(first & second) / union if union else 1.0


def undecided_share(alpha: Float32[np.ndarray, "l h w"]) -> float:
    """Share of pixels that no layer covers to UNDECIDED_BELOW."""
    return float((alpha.max(0) < UNDECIDED_BELOW).mean())


def gradient(matte: Float32[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Length of a matte's gradient, per pixel of distance. Summed over a picture it is the outline's length."""
    reach = np.arange(-6.0, 7.0)
    smooth = np.exp(-np.square(reach / GRADIENT_SIGMA_PX) / 2)
    smooth /= smooth.sum()
    slope = reach * smooth / (reach * reach * smooth).sum()
    across, down = (
        cv2.sepFilter2D(matte, cv2.CV_32F, *pair, borderType=cv2.BORDER_REPLICATE)
        for pair in ((slope, smooth), (smooth, slope))
    )
    return np.hypot(across, down)


def ramp_px(matte: Float32[np.ndarray, "h w"]) -> float:
    """Width of a matte's ramp from 0 to 1, mean over its outline: 6 Σ α (1 − α) / Σ |∇α|, exact for an even ramp."""
    length = float(gradient(matte).sum(dtype=np.float64))
    return 6 * float((matte * (1 - matte)).sum(dtype=np.float64)) / length if length > 0 else float("nan")


def correlation(first: Float[np.ndarray, "n"], second: Float[np.ndarray, "n"]) -> float:
    """Pearson's. NaN where one of them does not vary."""
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt(np.square(a).sum() * np.square(b).sum()))
    return float((a * b).sum()) / scale if scale > 0 else float("nan")


@dataclass(frozen=True)
class PairFlow:
    """Flow from one frame to a later one, and where both directions agree and stay inside the picture."""

    forward: Float32[np.ndarray, "h w 2"]
    agrees: Bool[np.ndarray, "h w"]

    def fetch(self, later: Float32[np.ndarray, "h w *c"]) -> Float32[np.ndarray, "h w *c"]:
        """The later frame, brought back onto the earlier one."""
        return _look_along(self.forward, later)


def pair_flow(earlier: UInt8[np.ndarray, "h w"], later: UInt8[np.ndarray, "h w"]) -> PairFlow:
    """DIS optical flow (Kroeger et al. 2016) both ways; it agrees where the way there and back ends within 1 pixel."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = earlier.shape
    margin = [(0, max(0, SMALLEST_FLOW_SIDE - side)) for side in (height, width)]
    pair = [np.pad(picture, margin, "edge") for picture in (earlier, later)]
    nothing = np.zeros((*pair[0].shape, 2), np.float32)
    forward, backward = (
        search.calc(first, second, nothing.copy())[:height, :width] for first, second in (pair, pair[::-1])
    )
    home = np.linalg.norm(forward + _look_along(forward, backward), axis=-1)
    end = pixel_centres((width, height)) + forward
    inside = ((end >= 0.5) & (end <= np.array([width, height], np.float32) - 0.5)).all(-1)
    return PairFlow(forward, inside & (home < 1.0))


def warp_error(earlier: Float32[np.ndarray, "h w 3"], later: Float32[np.ndarray, "h w 3"], flow: PairFlow) -> float:
    """Mean absolute difference along the flow, in 8-bit levels, where the flow agrees (cf. Lai et al. 2018)."""
    return _mean_where(np.abs(earlier - flow.fetch(later)), flow.agrees) * 255


def flicker(
    earlier: Float32[np.ndarray, "h w 3"],
    later: Float32[np.ndarray, "h w 3"],
    source_earlier: Float32[np.ndarray, "h w 3"],
    source_later: Float32[np.ndarray, "h w 3"],
    flow: PairFlow,
) -> float:
    """Change along the flow that the source does not have: warp error of the difference to it, in 8-bit levels."""
    return warp_error(earlier - source_earlier, later - source_later, flow)


def matte_instability(earlier: Float32[np.ndarray, "h w"], later: Float32[np.ndarray, "h w"], flow: PairFlow) -> float:
    """Mean absolute change of a matte along the flow, over pixels it covers in either frame (0 if none)."""
    fetched = flow.fetch(later)
    touched = flow.agrees & (np.maximum(earlier, fetched) > 0.02)
    return _mean_where(np.abs(earlier - fetched), touched)


def grey(image: Float32[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    """8-bit luma, for trackers and flow."""
    return np.floor(cv2.cvtColor(np.clip(image, 0.0, 1.0), cv2.COLOR_RGB2GRAY) * 255 + 0.5).astype(np.uint8)


def _window(image: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    return cv2.GaussianBlur(image, (11, 11), 1.5)


def _look_along(
    flow: Float32[np.ndarray, "h w 2"], image: Float32[np.ndarray, "h w *c"]
) -> Float32[np.ndarray, "h w *c"]:
    height, width = flow.shape[:2]
    at = pixel_centres((width, height)) - 0.5 + flow
    return cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _mean_where(values: Float32[np.ndarray, "h w *c"], where: Bool[np.ndarray, "h w"]) -> float:
    picked = values[where]
    return float(picked.mean(dtype=np.float64)) if picked.size else 0.0
