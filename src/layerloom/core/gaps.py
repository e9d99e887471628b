"""Gaps in what is known over time."""

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
