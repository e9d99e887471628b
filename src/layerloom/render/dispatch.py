"""Which back end draws. Each is imported when it is chosen, so that what draws nothing starts without a compiler."""

import logging
from functools import cache

from layerloom.core.device import DeviceName as Device
from layerloom.core.device import choose_device, obstacle_to_gpu
from layerloom.data.project import Project
from layerloom.render.backend import Backend

logger = logging.getLogger(__name__)


def make_backend(project: Project, device: Device = "auto") -> Backend:
    """The back end for a device; "auto" takes the GPU if there is one. LayerloomError as `choose_device`."""
    chosen = choose_device(device, to_draw=True)
    obstacle = "asked for" if device == "cpu" else obstacle_to_gpu(to_draw=True)
    _say_once("the GPU" if chosen == "cuda" else f"the CPU ({obstacle})")
    if chosen == "cuda":
        import torch

        from layerloom.render.cuda.backend import CudaBackend

        return CudaBackend(project, torch.device("cuda"))
    from layerloom.render.cpu.backend import CpuBackend

    return CpuBackend(project)


@cache
def _say_once(where: str) -> None:
    logger.info("frames are drawn on %s", where)
