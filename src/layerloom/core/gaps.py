"""Gaps in what is known over time."""

import cv2
import numpy as np
from jaxtyping import Bool, Float32


def fill_in_time(
    values: Float32[np.ndarray, "t h w c"], known: Bool[np.ndarray, "t h w"]
) -> Float32[np.ndarray, "t h w c"]:
    """Unknown values from the known ones of the same place: straight from the last to the next, or what there is of
    these. Where nothing is ever known, values stay.
    """
    count = len(values)
    frames = np.arange(count, dtype=np.int32)[:, None, None]
    last = np.maximum.accumulate(np.where(known, frames, np.int32(-1)))
    following = np.minimum.accumulate(np.where(known, frames, np.int32(count))[::-1])[::-1]
    gaps = np.nonzero(~known & known.any(0))
    frame, row, column = gaps
    last, following = last[gaps], following[gaps]
    before, after = np.where(last < 0, following, last), np.where(following == count, last, following)
    share = ((frame - before) / np.maximum(after - before, 1)).clip(0, 1)[:, None].astype(np.float32)
    first, second = values[before, row, column], values[after, row, column]
    filled = values.copy()
    filled[gaps] = first + share * (second - first)
    return filled


def fill_smoothly(
    values: Float32[np.ndarray, "h w c"], sureness: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w c"]:
    """Known values continued smoothly to where nothing is known (pull–push: Gortler et al. 1996, "The Lumigraph").

    sureness: of each value, 0 to 1; at 1 it stays.
    """
    height, width = sureness.shape
    if min(height, width) < 2:
        return values
    size = (width + 1) // 2, (height + 1) // 2
    weight = cv2.resize(sureness, size, interpolation=cv2.INTER_AREA)
    pulled = cv2.resize(values * sureness[..., None], size, interpolation=cv2.INTER_AREA)
    coarse = fill_smoothly(pulled / np.maximum(weight, np.float32(1e-6))[..., None], np.minimum(4 * weight, 1))
    pushed = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return values * sureness[..., None] + pushed * (1 - sureness[..., None])
