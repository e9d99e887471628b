"""What scores of several objects come to where neighbours of like colour agree, and no pixel has two owners."""

import numpy as np
from jaxtyping import Float32, Int8, UInt8

from layerloom.prepare.masks.colours import neighbour_weights

ROUNDS = 6
PINNED_LOGIT = 20.0

Scores = Float32[np.ndarray, "objects h w"]


def settle(
    scores: Scores,
    pinned: Int8[np.ndarray, "objects h w"],
    frame: UInt8[np.ndarray, "h w 3"],
    strength: float,
) -> Scores:
    """Shares of the objects in each pixel, 0…1; what they leave is the background's.

    scores: log odds against the background. pinned: 1 and −1 hold exactly. strength: of a neighbour of the same colour,
    in log odds (mean field with weights that end at edges, as in Krähenbühl and Koltun 2011, over 8 neighbours).
    """
    scores = _with_pins(scores, pinned)
    neighbours = neighbour_weights(frame)
    shares = against_background(scores)
    for _ in range(ROUNDS):
        free = np.maximum(1 - shares.sum(0), 0)
        shares = against_background(scores + strength * neighbours.support(shares - free))
    return np.where(pinned > 0, np.float32(1), np.where(pinned < 0, np.float32(0), shares))


def against_background(scores: Scores) -> Scores:
    """Softmax with a background of score 0, which is left out."""
    highest = np.maximum(scores.max(0, initial=0), 0)
    likely = np.exp(scores - highest)
    return (likely / (likely.sum(0) + np.exp(-highest))).astype(np.float32)


def logit(shares: Float32[np.ndarray, "*any"], largest: float) -> Float32[np.ndarray, "*any"]:
    """Log odds, at most `largest` either way."""
    least = np.float32(1 / (1 + np.exp(largest)))
    kept = np.clip(shares, least, 1 - least)
    return np.log(kept / (1 - kept))


def _with_pins(scores: Scores, pinned: Int8[np.ndarray, "objects h w"]) -> Scores:
    """A pixel that is one object's is no other's."""
    owned = (pinned > 0).any(0)
    scores = np.where(owned & (pinned <= 0), np.float32(-PINNED_LOGIT), scores)
    return np.where(pinned > 0, np.float32(PINNED_LOGIT), np.where(pinned < 0, np.float32(-PINNED_LOGIT), scores))
