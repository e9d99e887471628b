"""Which back end renders. Each is imported when it is chosen, so that what draws nothing starts without a compiler."""

import ctypes
import logging
import sys
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Literal

import numpy as np

from layerloom.compose.shot import Shot
from layerloom.core.errors import LayerloomError
from layerloom.render.scene import Inputs, Scene

Device = Literal["auto", "cpu", "cuda"]
Renderer = Callable[[Shot, Inputs], np.ndarray]
"""Draws shots of one scene, h w 3, uint8 or uint16. May be called from several threads at once."""

OLDEST_CAPABILITY = (8, 0)

logger = logging.getLogger(__name__)


def make_renderer(scene: Scene, bit_depth: int, device: Device = "auto") -> Renderer:
    """The back end for a device, ready to draw; "auto" takes the GPU if there is one.

    LayerloomError as `choose_device`.
    """
    if choose_device(device) == "cuda":
        import torch

        from layerloom.render.cuda.renderer import CudaRenderer

        return CudaRenderer(scene, torch.device("cuda"), bit_depth).render
    from layerloom.render.cpu.draw import CpuRenderer

    return CpuRenderer(scene).render


def choose_device(device: Device) -> Literal["cpu", "cuda"]:
    """Where frames will be drawn. LayerloomError for "cuda" where that cannot be, with the reason."""
    if device not in ("auto", "cpu", "cuda"):
        raise LayerloomError(f"device '{device}': allowed are auto, cpu, cuda")
    obstacle = "asked for" if device == "cpu" else _obstacle()
    if device == "cuda" and obstacle:
        raise LayerloomError(f"device 'cuda': {obstacle}; allowed are auto, cpu")
    _say_once("the GPU" if not obstacle else f"the CPU ({obstacle})")
    return "cpu" if obstacle else "cuda"


@cache
def _obstacle() -> str:
    """What keeps the GPU from drawing; empty if nothing does. Without a GPU's driver PyTorch is not imported."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "there is no CUDA GPU here"
    import torch

    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA GPU here"
    if torch.cuda.get_device_capability() < OLDEST_CAPABILITY:
        return f"{torch.cuda.get_device_name()} is older than the kernel needs (Ampere)"
    return "" if find_spec("triton") else "Triton is not installed"


@cache
def _say_once(where: str) -> None:
    logger.info("frames are drawn on %s", where)
