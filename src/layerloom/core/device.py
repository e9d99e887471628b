"""Where work is done: one choice for learning and drawing, and a GPU woken while PyTorch is being imported.

PyTorch is imported only where a choice needs it, so that what draws on a CPU starts without it.
"""

import ctypes
import sys
import threading
from functools import cache
from importlib.util import find_spec
from typing import Literal

from layerloom.core.errors import LayerloomError

DeviceName = Literal["auto", "cpu", "cuda"]
"""As a user says it; "auto" takes the GPU if there is one."""
DeviceType = Literal["cpu", "cuda"]

OLDEST_CAPABILITY = (8, 0)
"""Of CUDA GPUs that the drawing kernel is written for: Ampere."""


def choose_device(name: str = "auto", *, to_draw: bool = False) -> DeviceType:
    """A device by its name, to learn on or `to_draw` on.

    LayerloomError for a name that is none, and for "cuda" where that cannot be, with the reason.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise LayerloomError(f"device '{name}': allowed are auto, cpu, cuda")
    obstacle = "asked for" if name == "cpu" else obstacle_to_gpu(to_draw)
    if name == "cuda" and obstacle:
        raise LayerloomError(f"device 'cuda': {obstacle}; allowed are auto, cpu")
    return "cpu" if obstacle else "cuda"


@cache
def obstacle_to_gpu(to_draw: bool = False) -> str:
    """What keeps the GPU from learning or drawing; empty if nothing does."""
    if to_draw and not has_driver():
        return "there is no CUDA GPU here"
    import torch

    if not torch.cuda.is_available():
        return "PyTorch finds no CUDA GPU here"
    if not to_draw:
        return ""
    if torch.cuda.get_device_capability() < OLDEST_CAPABILITY:
        return f"{torch.cuda.get_device_name()} is older than the kernel needs (Ampere)"
    return "" if find_spec("triton") else "Triton is not installed"


def has_driver() -> bool:
    """Whether NVIDIA's driver is there, and so a GPU in all likelihood."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def wake_gpu() -> None:
    """Begin to create the context on the first GPU that PyTorch will use, if there is one; returns at once.

    It takes a second, which passes while PyTorch, which takes longer, is being imported.
    """
    threading.Thread(target=_create_context, daemon=True).start()


def _create_context() -> None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), 0) == 0:
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
