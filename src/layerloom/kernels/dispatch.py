"""One public function per operation: picks the kernel for the tensors it is given, and says so when it is a slow one.

Triton on CUDA, Numba on the CPU, plain PyTorch for everything else. `use_kernel` forces one, for tests and benchmarks.
"""

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.util import find_spec
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from layerloom.kernels import reference
from layerloom.kernels.reference import GridLayout

Kernel = Literal["reference", "cpu", "triton"]

logger = logging.getLogger(__name__)
forced_kernel: ContextVar[Kernel | None] = ContextVar("forced_kernel", default=None)
choices: dict[str, str] = {}
"""What ran so far: "operation on device (dtype)" -> kernel and reason."""


def hash_encode(
    points: Float[Tensor, "n d"],
    table: Float[Tensor, "rows features"],
    layout: GridLayout,
    output_dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n levels_features"]:
    """`reference.hash_encode` by the fastest kernel there is; the features are returned as `output_dtype`."""
    kernel = choose_kernel("hash_encode", points, table)
    if kernel == "triton":
        from layerloom.kernels import hashgrid

        return hashgrid.hash_encode(points, table, layout, output_dtype)
    if kernel == "cpu":
        from layerloom.kernels import cpu

        return cpu.hash_encode(points, table, layout).to(output_dtype)
    return reference.hash_encode(points, table, layout).to(output_dtype)


def mlp(
    x: Float[Tensor, "n inputs"],
    weights: Sequence[Float[Tensor, "_ _"]],
    biases: Sequence[Float[Tensor, " _"]] | None = None,
) -> Float[Tensor, "n outputs"]:
    """`reference.mlp` by the fastest kernel there is (for the CPU that is PyTorch's own matrix product)."""
    return reference.mlp(x, weights, biases)


@contextmanager
def use_kernel(kernel: Kernel) -> Generator[None]:
    """Force one kernel for the block, e.g. `with use_kernel("reference"):`. It must suit the tensors' device."""
    token = forced_kernel.set(kernel)
    try:
        yield
    finally:
        forced_kernel.reset(token)


def kernel_report() -> dict[str, str]:
    """Which kernel each operation used in this process, and why if not the fast one: for logs and provenance."""
    return dict(choices)


def choose_kernel(operation: str, *tensors: Tensor) -> Kernel:
    """The kernel for these tensors; logs a slow choice the first time it is made."""
    dtypes = " × ".join(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
    device = tensors[0].device
    forced = forced_kernel.get()
    kernel, reason = (forced, "forced") if forced else fastest_kernel(device, dtypes)
    use = f"{operation} on {device.type} ({dtypes})"
    if use not in choices and reason and not forced:
        logger.warning("%s uses plain PyTorch, which is slow: %s", use, reason)
    choices[use] = f"{kernel}: {reason}" if reason else kernel
    return kernel


@cache
def fastest_kernel(device: torch.device, dtypes: str) -> tuple[Kernel, str]:
    """The best kernel that can work here, and, when that is the reference, what keeps the fast one away."""
    if set(dtypes.split(" × ")) != {"float32"}:
        return "reference", "the compiled kernels take float32"
    if device.type == "cpu":
        return "cpu", ""
    if device.type != "cuda":
        return "reference", f"there is no kernel for {device.type} devices"
    if find_spec("triton") is None:
        return "reference", "Triton is not installed"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return "reference", f"{torch.cuda.get_device_name(device)} is older than the kernels need (Ampere)"
    return "triton", ""
