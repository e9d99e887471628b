"""What changes along the flow: warp errors, flicker, mattes that jump."""

import numpy as np

from layerloom import media
from layerloom.evaluate import measures
from layerloom.evaluate.figures import Flicker, Stability, WarpError, mean_or_none
from layerloom.evaluate.observations import Observations
from layerloom.evaluate.spool import FrameSpool

LONG_STEP = 8


def stability(seen: Observations, layers: tuple[str, ...]) -> Stability:
    """Warp errors between neighbours and over LONG_STEP frames; flicker and mattes' changes between neighbours."""
    long_step = min(LONG_STEP, len(seen.source) - 1)
    short, long = _means(seen, 1), _means(seen, long_step)
    return Stability(
        short=_warp_error(1, short),
        long=_warp_error(long_step, long),
        flicker=Flicker(rebuilt=short.get("flicker/rebuilt"), edited=short.get("flicker/edited")),
        matte_instability={name: short.get(f"matte/{number}") for number, name in enumerate(layers)},
    )


def _warp_error(step: int, means: dict[str, float | None]) -> WarpError:
    return WarpError(step=step, source=means.get("source"), rebuilt=means.get("rebuilt"), edited=means.get("edited"))


def _means(seen: Observations, step: int) -> dict[str, float | None]:
    """Means over all pairs of frames `step` apart."""
    noted: dict[str, list[float]] = {}
    pictures = {"source": seen.source, "rebuilt": seen.rebuilt, "edited": seen.edited}
    for first in range(len(seen.source) - step):
        pair = {name: _pair(spool, first, step) for name, spool in pictures.items()}
        before, after = pair["source"]
        flow = measures.pair_flow(measures.grey(before), measures.grey(after))
        values = {name: measures.warp_error(two[0], two[1], flow) for name, two in pair.items()}
        for name in ("rebuilt", "edited"):
            values[f"flicker/{name}"] = measures.flicker(pair[name][0], pair[name][1], before, after, flow)
        for number, (earlier, later) in enumerate(zip(*_pair(seen.shares, first, step), strict=True)):
            values[f"matte/{number}"] = measures.matte_instability(earlier, later, flow)
        for name, value in values.items():
            noted.setdefault(name, []).append(value)
    return {name: mean_or_none(values) for name, values in noted.items()}


def _pair(spool: FrameSpool, first: int, step: int) -> tuple[np.ndarray, np.ndarray]:
    return media.to_float(spool[first]), media.to_float(spool[first + step])
