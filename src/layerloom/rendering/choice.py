"""Which back end renders. Each is imported when it is chosen, so that what draws nothing starts without a compiler."""

from collections.abc import Callable

import numpy as np

from layerloom.rendering.scene import Inputs, Scene
from layerloom.staging import Shot

Renderer = Callable[[Shot, Inputs], np.ndarray]
"""Draws shots of one scene, h w 3, uint8 or uint16. May be called from several threads at once."""


def make_renderer(scene: Scene) -> Renderer:
    """The fastest back end there is, ready to draw."""
    from layerloom.rendering.cpu import CpuRenderer

    return CpuRenderer(scene).render
