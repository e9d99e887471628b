"""Which back end renders. Each is imported when it is chosen, so that what draws nothing starts without a compiler."""

import logging
from collections.abc import Callable
from functools import cache

import numpy as np

from layerloom.compose.shot import Shot
from layerloom.core.device import DeviceName as Device
from layerloom.core.device import choose_device, obstacle_to_gpu
from layerloom.render.scene import Inputs, Scene

Renderer = Callable[[Shot, Inputs], np.ndarray]
"""Draws shots of one scene, h w 3, uint8 or uint16. May be called from several threads at once."""

logger = logging.getLogger(__name__)


def make_renderer(scene: Scene, bit_depth: int, device: Device = "auto") -> Renderer:
    """The back end for a device, ready to draw; "auto" takes the GPU if there is one.

    LayerloomError as `choose_device`.
    """
    chosen = choose_device(device, to_draw=True)
    obstacle = "asked for" if device == "cpu" else obstacle_to_gpu(to_draw=True)
    _say_once("the GPU" if chosen == "cuda" else f"the CPU ({obstacle})")
    if chosen == "cuda":
        import torch

        from layerloom.render.cuda.renderer import CudaRenderer

        return CudaRenderer(scene, torch.device("cuda"), bit_depth).render
    from layerloom.render.cpu.draw import CpuRenderer

    return CpuRenderer(scene).render


@cache
def _say_once(where: str) -> None:
    logger.info("frames are drawn on %s", where)
