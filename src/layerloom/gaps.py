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
    frames = np.arange(count)[:, None, None]
    last = np.maximum.accumulate(np.where(known, frames, -1))
    following = np.minimum.accumulate(np.where(known, frames, count)[::-1])[::-1]
    before, after = np.where(last < 0, following, last), np.where(following == count, last, following)
    share = np.clip((frames - before) / np.maximum(after - before, 1), 0, 1)[..., None].astype(np.float32)
    first, second = (np.take_along_axis(values, np.clip(at, 0, count - 1)[..., None], 0) for at in (before, after))
    stays = known | ~known.any(0)
    return np.where(stays[..., None], values, first + share * (second - first))
