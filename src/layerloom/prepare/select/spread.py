"""An object's masks from a frame where it is known to the others.

Frame by frame, each pixel is judged by three witnesses. Flow brings the masks of frames that are done: it is right to
some pixels, but nothing comes into view by it. The likeness, learned in known frames, sees the object's colours and
motion anywhere. The network sees things; it is heard as much as it was right in known frames. Where the object would be
if nothing hid it (its extent, moved along as one) flow says nothing against it, so that what was hidden returns.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from layerloom.prepare.flow.links import Link
from layerloom.prepare.masks.outlines import signed_distance
from layerloom.prepare.select.footage import Footage, Map
from layerloom.prepare.select.hinted import shown_window
from layerloom.prepare.select.hints import box_around
from layerloom.prepare.select.likeness import Likeness
from layerloom.prepare.select.settle import settle

NET_SIDE = 192
AROUND_EXTENT = 0.4
LEAST_CONFIDENCE = 0.03
"""Of flow that is not confirmed."""
LOGIT_PER_PIXEL = 0.6
"""How sure the mask is that flow brings, for each pixel inside its outline."""
LARGEST_INSIDE = 4.0
LARGEST_OUTSIDE = 6.0
FALL = 13.0
"""Log odds that are lost outside of the extent over a length of the object's size."""
LIKENESS_SAYS, NET_SAYS = 0.7, 0.7
LARGEST_NET_LOGIT = 5.0
NEIGHBOURS_SAY = 0.6
EXTENT_KEPT = 0.97
"""What is not seen of an extent is forgotten at this rate."""
FEWEST_MATCHES, MOST_MATCHES = 25, 1500
"""Flow vectors that the object's own motion is fitted to."""
RANSAC_PIXELS = 1.5
LARGEST_SCALING = 1.18
"""Between frames; more is a wrong fit."""
FAINTEST = 0.1
FARTHEST_PIXELS = 40.0


@dataclass(frozen=True)
class Anchor:
    """A frame in which an object's share of each pixel is known; nothing where it is not to be seen."""

    frame: int
    share: Map
    key: str
    """Changes with the share."""


class Witnesses(NamedTuple):
    """What was learned of an object in its anchors. net_trust: 0…1, how right the network was there."""

    likeness: Likeness
    net_trust: float


class Chain:
    """An object's masks from an anchor on, in one direction."""

    def __init__(self, footage: Footage, anchor: Anchor, direction: int, witnesses: Witnesses) -> None:
        self._direction = direction
        self._last = anchor.frame
        self._footage = footage
        self._witnesses = witnesses
        self._shares: dict[int, UInt8[np.ndarray, "h w"]] = {anchor.frame: _packed(anchor.share)}
        self._extent = anchor.share
        self._motion = np.eye(2, 3)

    def has_reached(self, t: int) -> bool:
        return t in self._shares

    def share(self, t: int) -> Map:
        """Of a frame that was reached."""
        return self._shares[t].astype(np.float32) / 255

    def step(self) -> None:
        """Go on to the next frame."""
        t = self._last + self._direction
        prior, nearest = self._brought(t)
        if nearest is not None:
            self._motion = _own_motion(nearest, prior, self._motion)
        size = (prior.shape[1], prior.shape[0])
        moved = cv2.warpAffine(self._extent, self._motion.astype(np.float32), size)
        extent = np.maximum(EXTENT_KEPT * moved, prior)
        share = self._judged(t, prior, extent) if extent.max() > FAINTEST else np.zeros_like(prior)
        self._extent = np.maximum(extent, share)
        self._shares[t] = _packed(share)
        self._last = t

    def _brought(self, t: int) -> tuple[Map, Link | None]:
        """The mask that flow brings from frames that are done, and the link to the nearest of them."""
        shape = self._extent.shape
        total, weights = np.zeros(shape, np.float32), np.full(shape, 1e-6, np.float32)
        links = self._footage.links(t, lambda other: other in self._shares)
        for link in links:
            weight = (link.confidence + np.float32(LEAST_CONFIDENCE)) / np.float32(link.distance)
            total += weight * link.bring(self.share(link.frame))
            weights += weight
        return total / weights, min(links, key=lambda link: link.distance, default=None)

    def _judged(self, t: int, prior: Map, extent: Map) -> Map:
        inside = extent > min(0.5, 0.5 * float(extent.max()))
        window = shown_window(box_around(inside), prior.shape, AROUND_EXTENT)
        size = float(np.sqrt(inside.sum()))
        score = _prior_score(prior[window], inside[window], size)
        score += LIKENESS_SAYS * self._witnesses.likeness.logits(self._footage.features(t, window))
        if self._witnesses.net_trust > 0:
            net = np.clip(self._footage.net_logit(t, window, NET_SIDE), -LARGEST_NET_LOGIT, LARGEST_NET_LOGIT)
            score += NET_SAYS * self._witnesses.net_trust * net
        frame = np.ascontiguousarray(self._footage.small[t][window])
        share = np.zeros_like(prior)
        share[window] = settle(score[None], np.zeros((1, *score.shape), np.int8), frame, NEIGHBOURS_SAY)[0]
        return share


def trust_net(footage: Footage, anchor: Anchor, others: Map) -> float:
    """0…1: how right the network is in a known frame, where it may take what touches the object for a part of it.

    others: shares of other objects there.
    """
    inside = anchor.share > 0.5
    if not inside.any():
        return 0.0
    window = shown_window(box_around(inside), inside.shape, AROUND_EXTENT)
    seen = footage.net_logit(anchor.frame, window, NET_SIDE) > 0
    truth = (inside | (others > 0.5))[window]
    overlap = (seen & truth).sum() / max((seen | truth).sum(), 1)
    return float(np.clip((overlap - 0.5) / 0.4, 0, 1))


def _prior_score(prior: Map, extent: np.ndarray, size: float) -> Map:
    """Log odds by flow inside its mask; nothing else within the extent; falling outside of it."""
    within = signed_distance(prior > 0.5, FARTHEST_PIXELS)
    beyond = np.minimum(signed_distance(extent, FARTHEST_PIXELS), 0) * (FALL / max(size, 1))
    by_flow = np.clip(LOGIT_PER_PIXEL * within, -LARGEST_INSIDE, LARGEST_INSIDE)
    return np.where(within > 0, by_flow, np.maximum(np.maximum(beyond, -LARGEST_OUTSIDE), by_flow)).astype(np.float32)


def _own_motion(link: Link, mask: Map, before: Float64[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """The similarity that takes the object from the linked frame to this one; as before where flow tells none."""
    rows, columns = np.nonzero((mask > 0.5) & (link.confidence > 0.3))
    if len(rows) < FEWEST_MATCHES:
        return before
    some = np.linspace(0, len(rows) - 1, min(len(rows), MOST_MATCHES)).astype(int)
    rows, columns = rows[some], columns[some]
    here = np.stack([columns, rows], -1).astype(np.float32)
    there = np.stack([link.x[rows, columns], link.y[rows, columns]], -1)
    motion, _ = cv2.estimateAffinePartial2D(there, here, method=cv2.RANSAC, ransacReprojThreshold=RANSAC_PIXELS)
    if np.shape(motion) != (2, 3) or not 1 / LARGEST_SCALING < np.hypot(motion[0, 0], motion[0, 1]) < LARGEST_SCALING:
        return before
    return motion


def _packed(share: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    return np.round(255 * share).astype(np.uint8)
