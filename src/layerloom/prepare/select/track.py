"""One object over a clip: what several frames in which it is known come to between them."""

from collections.abc import Callable, Sequence

import numpy as np

from layerloom.prepare.select.footage import Map
from layerloom.prepare.select.settle import logit
from layerloom.prepare.select.spread import Anchor, Chain

MEETING_LOGIT = 6.0
"""The most that either side is believed where two meet."""

MakeChain = Callable[[Anchor, int, Sequence[Anchor]], Chain]
"""From an anchor on, in a direction, by what is learned in some anchors."""


class Track:
    """One object over the clip: the frames in which it is known, and the chains between them."""

    def __init__(self, anchors: Sequence[Anchor], frames: int, make: MakeChain) -> None:
        self.anchors = list(anchors)
        self._frames = frames
        self._chains: dict[tuple[int, int], Chain | None] = {}
        for i, anchor in enumerate(anchors):
            for direction in (-1, 1):
                neighbour = i + direction
                pair = anchors[min(i, neighbour) : max(i, neighbour) + 1] if 0 <= neighbour < len(anchors) else [anchor]
                visible = any(each.share.any() for each in pair)
                self._chains[i, direction] = make(anchor, direction, pair) if visible else None

    def frames_at(self, distance: int) -> list[tuple[int, Chain | None]]:
        """Frames so far from an anchor, on this side of the next one and of the clip's ends, with their chains; no
        chain where the object is not to be seen on either side."""
        places = ((self.anchors[i].frame + way * distance, self._end(i, way), i, way) for i, way in self._chains)
        return [(t, self._chains[i, way]) for t, end, i, way in places if (end - t) * way > 0]

    def _end(self, i: int, way: int) -> int:
        if 0 <= i + way < len(self.anchors):
            return self.anchors[i + way].frame
        return self._frames if way > 0 else -1

    def share(self, t: int) -> Map | None:
        """At a frame that was reached from either side, else None."""
        for anchor in self.anchors:
            if anchor.frame == t:
                return anchor.share
        after = next((i for i, anchor in enumerate(self.anchors) if anchor.frame > t), len(self.anchors))
        before_share, after_share = self._reached(after - 1, 1, t), self._reached(after, -1, t)
        if before_share is None and after_share is None:
            return None
        return met(t, before_share, after_share)

    def _reached(self, i: int, way: int, t: int) -> tuple[int, Map] | None:
        if not 0 <= i < len(self.anchors):
            return None
        anchor = self.anchors[i]
        chain = self._chains.get((i, way))
        if chain is None:
            return anchor.frame, np.zeros_like(anchor.share)
        return (anchor.frame, chain.share(t)) if chain.has_reached(t) else None

    def run_to(self, t: int) -> Map:
        """Its share at a frame, for which as much is done as that takes."""
        after = next((i for i, anchor in enumerate(self.anchors) if anchor.frame > t), len(self.anchors))
        for i, way in ((after - 1, 1), (after, -1)):
            chain = self._chains.get((i, way))
            while chain is not None and not chain.has_reached(t):
                chain.step()
        share = self.share(t)
        assert share is not None
        return share


def met(t: int, before: tuple[int, Map] | None, after: tuple[int, Map] | None) -> Map:
    """What comes from the anchors before and after frame `t` (their frames and shares), the nearer one more."""
    if before is None or after is None:
        (_, share), *_ = (each for each in (before, after) if each is not None)
        return share
    nearness = np.float32((t - before[0]) / (after[0] - before[0]))
    score = (1 - nearness) * logit(before[1], MEETING_LOGIT) + nearness * logit(after[1], MEETING_LOGIT)
    return (1 / (1 + np.exp(-score))).astype(np.float32)
