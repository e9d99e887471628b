"""A GPU takes a second until it can be used. That passes while PyTorch, which takes longer, is being imported."""

import ctypes
import threading


def wake_gpu() -> None:
    """Begin to create the context on the first GPU that PyTorch will use, if there is one; returns at once."""
    threading.Thread(target=_create_context, daemon=True).start()


def _create_context() -> None:
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if driver.cuInit(0) == 0 and driver.cuDeviceGet(ctypes.byref(device), 0) == 0:
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
