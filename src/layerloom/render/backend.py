"""What every back end does: `cpu.backend`, `cuda.backend`. `dispatch` picks one."""

from abc import ABC, abstractmethod

import numpy as np

from layerloom.compose.shot import Shot
from layerloom.render.scene import Inputs, Scene


class Backend(ABC):
    """Draws shots of one project, and keeps what it needs for them. May be called from several threads at once."""

    @abstractmethod
    def draw(self, scene: Scene, shot: Shot, inputs: Inputs, alone: bool = False) -> np.ndarray:
        """The frame, h w 3, uint8 or uint16.

        scene: of the back end's project, in any light, under any edits. alone: no other frame is drawn meanwhile, so
        that all cores may work on this one.
        """
