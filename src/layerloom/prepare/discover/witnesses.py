"""What is asked of each pixel, and what the answers add up to.

Four witnesses err for different reasons. Motion swells over outlines and knows nothing of flat insides and resting
parts. The departure from the background picture is sharp, but objects of the background's colour do not depart, while
shadows, parallax and water do. The appearance (a small network, learned here) is blind to motion, and says what usually
moves. What stands out (a net trained elsewhere) is blind to motion, too, and knows things whole, or not at all.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom.core.parallel import in_threads
from layerloom.prepare.discover.regions import without_holes

DEPARTS = 6.0
"""Distance in CIELAB from which a pixel departs from the background."""
SHADE = 0.4
"""Of a shadow at most this share of its departure is left when the background is shaded."""

Maps = Float32[np.ndarray, "t h w"]


@dataclass(frozen=True)
class Testimony:
    """Of each pixel: how surely it moves (1 = as what moves usually does), how far it departs from the background
    (CIELAB), and how far even if a shadow fell there."""

    moving: Maps
    departs: Maps
    shaded: Maps

    @property
    def surely(self) -> Bool[np.ndarray, "t h w"]:
        """What moves and departs beyond doubt."""
        return (self.moving > 0.5) & (self.departs > DEPARTS + 2)

    def examples(self) -> tuple[Bool[np.ndarray, "t h w"], Maps]:
        """Where motion and departure agree, and how much each pixel is to count as an example."""
        objects = (self.moving > 0.45) & (self.shaded > np.maximum(DEPARTS, SHADE * self.departs))
        near = np.stack(list(in_threads(_surroundings, self.moving > 0.3)))
        background = ~near | (self.departs < DEPARTS - 2) & (self.moving < 0.6)
        weights = np.where(objects, np.minimum(self.moving, 1), np.where(near, 0.3, 1)) * (objects | background)
        return objects, weights.astype(np.float32)

    def log_odds(self) -> Maps:
        """Of an object. Shades of the background count against one."""
        by_departure = np.clip((0.5 * (self.departs + self.shaded) - 10) / 5, -2, 2)
        shadow = np.clip((SHADE + 0.05 - self.shaded / np.maximum(self.departs, 1)) / 0.2, 0, 1) * (
            self.departs > DEPARTS + 2
        )
        return (6 * (np.minimum(self.moving, 1.2) - 0.5) + by_departure - 3 * shadow).astype(np.float32)


def _surroundings(moves: Bool[np.ndarray, "h w"], reach: int = 13) -> Bool[np.ndarray, "h w"]:
    """With gaps closed, holes filled and a margin: nothing in it is surely background for resting."""
    padded = np.pad(moves.astype(np.uint8), reach)
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((reach, reach), np.uint8))[reach:-reach, reach:-reach]
    return cv2.dilate(without_holes(closed > 0).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
