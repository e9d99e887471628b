"""How many threads the compiled CPU kernels take."""

import torch
from numba import set_num_threads
from numba.core import config


def use_torch_threads() -> int:
    """Let Numba use as many threads as PyTorch is allowed to; return how many."""
    threads = min(torch.get_num_threads(), config.NUMBA_NUM_THREADS)  # pyright: ignore[reportAttributeAccessIssue]
    set_num_threads(threads)
    return threads
