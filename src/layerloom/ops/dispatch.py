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

from layerloom.ops.box_mean import reference as plain_box_mean
from layerloom.ops.hash_encode import reference as plain_hash_encode
from layerloom.ops.hash_encode.layout import GridLayout
from layerloom.ops.mlp import reference as plain_mlp
from layerloom.ops.splat import reference as plain_splat

Kernel = Literal["reference", "cpu", "triton"]

logger = logging.getLogger(__name__)
forced_kernel: ContextVar[Kernel | None] = ContextVar("forced_kernel", default=None)
choices: dict[str, str] = {}
"""What ran last: "operation on device" -> kernel, and why."""


def hash_encode(
    points: Float[Tensor, "n d"],
    table: Float[Tensor, "rows features"],
    layout: GridLayout,
    output_dtype: torch.dtype = torch.float32,
) -> Float[Tensor, "n levels_features"]:
    """`hash_encode.reference` by the fastest kernel there is; the features are returned as `output_dtype`."""
    kernel = choose_kernel("hash_encode", points, table)
    if kernel == "triton":
        from layerloom.ops.hash_encode import triton

        return triton.hash_encode(points, table, layout, output_dtype)
    if kernel == "cpu":
        from layerloom.ops.hash_encode import cpu

        return cpu.hash_encode(points, table, layout).to(output_dtype)
    return plain_hash_encode.hash_encode(points, table, layout).to(output_dtype)


def lattice(
    points: Float[Tensor, "n d"], table: Float[Tensor, "rows features"], layout: GridLayout
) -> Float[Tensor, "n features"]:
    """The sum over the levels of `hash_encode`; in one go where no gradient is asked for."""
    if not torch.is_grad_enabled() and choose_kernel("lattice", points, table) == "triton":
        from layerloom.ops.hash_encode import triton

        output = points.new_empty(len(points), layout.features)
        triton.lattice(points.contiguous(), table, layout, output)
        return output
    return hash_encode(points, table, layout).view(points.shape[0], -1, layout.features).sum(1)


def mlp(
    x: Float[Tensor, "n inputs"],
    weights: Sequence[Float[Tensor, "_ _"]],
    biases: Sequence[Float[Tensor, " _"]] | None = None,
) -> Float[Tensor, "n outputs"]:
    """`mlp.reference` by the fastest kernel there is; on the CPU that is PyTorch's own matrix product.

    On CUDA products are taken in x's type: bfloat16, or tf32 for float32. The output has the weights' type.
    """
    if choose_kernel("mlp", *weights) == "triton":
        from layerloom.ops.mlp import triton

        reason = triton.obstacle(weights)
        if not reason:
            return triton.mlp(x, weights, biases)
        note_choice(f"mlp of {len(weights)} layers on {x.device.type}", "reference", reason)
    return plain_mlp.mlp(x.to(weights[0].dtype), weights, biases)


def splat(
    values: Float[Tensor, "c n"],
    positions: Float[Tensor, "n 2"],
    size: tuple[int, int],
    into: Float[Tensor, "texels c"],
) -> None:
    """`splat.reference` by the fastest kernel there is."""
    kernel = choose_kernel("splat", values, positions, into)
    if kernel == "triton":
        from layerloom.ops.splat import triton

        triton.splat(values, positions, size, into)
    elif kernel == "cpu":
        from layerloom.ops.splat import cpu

        cpu.splat(values, positions, size, into)
    else:
        plain_splat.splat(values, positions, size, into)


def neighbourhood_mean(images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
    """`box_mean.reference` by the fastest kernel there is. Not differentiable."""
    kernel = choose_kernel("neighbourhood_mean", images)
    if kernel == "triton":
        from layerloom.ops.box_mean import triton

        return triton.neighbourhood_mean(images)
    if kernel == "cpu":
        from layerloom.ops.box_mean import cpu

        return cpu.neighbourhood_mean(images)
    return plain_box_mean.neighbourhood_mean(images)


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


def choose_kernel(operation: str, *float32_tensors: Tensor) -> Kernel:
    """The kernel for an operation on these tensors, which must be float32 for any but the reference."""
    device = float32_tensors[0].device
    forced = forced_kernel.get()
    if forced:
        kernel, reason = forced, "forced"
    elif any(tensor.dtype != torch.float32 for tensor in float32_tensors):
        kernel, reason = "reference", "the compiled kernels take float32"
    else:
        kernel, reason = fastest_kernel(device)
    note_choice(f"{operation} on {device.type}", kernel, reason)
    return kernel


def note_choice(use: str, kernel: Kernel, reason: str) -> None:
    """Keep it for the report, and say so when it is the slow kernel and nobody forced it."""
    choices[use] = f"{kernel}: {reason}" if reason else kernel
    if kernel == "reference" and reason != "forced":
        warn_once(f"{use} runs in plain PyTorch, which is slow: {reason}")


@cache
def warn_once(message: str) -> None:
    logger.warning(message)


@cache
def fastest_kernel(device: torch.device) -> tuple[Kernel, str]:
    """The best kernel that works on a device, and, when that is the reference, what keeps the fast one away."""
    if device.type == "cpu":
        return "cpu", ""
    if device.type != "cuda":
        return "reference", f"there is no kernel for {device.type} devices"
    if find_spec("triton") is None:
        return "reference", "Triton is not installed"
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return "reference", f"{torch.cuda.get_device_name(device)} is older than the kernels need (Ampere)"
    return "triton", ""
