# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""The small MLP in Triton, whole network in one launch: same meaning and gradients as `reference.mlp`.

Products are taken in the input's type (bfloat16, or float32 as tf32) and summed in float32; weights stay float32.
The backward pass computes the hidden activations again instead of storing them. Each program sums the weights'
gradient over all its blocks of points in registers and writes it once; the programs' sums are added up at the end, so
the result does not depend on timing.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from jaxtyping import Float, Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

FORWARD_LAUNCH = {"BLOCK": 128, "num_warps": 4}
BACKWARD_LAUNCH = {"BLOCK": 64, "num_warps": 4, "num_stages": 1}
PROGRAMS_PER_MULTIPROCESSOR = 2

LARGEST_INPUT = 64
LARGEST_HIDDEN = 64
LARGEST_OUTPUT = 16
SMALLEST_BLOCK = 16
"""Matrix units take blocks of at least this size; smaller layers are padded with zeros in registers."""


def obstacle(weights: Sequence[Float32[Tensor, "_ _"]]) -> str:
    """Why the network does not fit these kernels; empty if it does."""
    if len(weights) not in (2, 3):
        return f"the MLP kernel takes 1 or 2 hidden layers, not {len(weights) - 1}"
    hidden, inputs = weights[0].shape
    if inputs > LARGEST_INPUT or hidden > LARGEST_HIDDEN or len(weights[-1]) > LARGEST_OUTPUT:
        limits = f"{LARGEST_INPUT} inputs, {LARGEST_HIDDEN} hidden units a layer, {LARGEST_OUTPUT} outputs"
        return f"the MLP kernel takes at most {limits}"
    if len({hidden, *(weight.shape[1] for weight in weights[1:])}) > 1:
        return "the MLP kernel takes hidden layers of one width"
    return ""


def mlp(
    x: Float[Tensor, "n inputs"],
    weights: Sequence[Float32[Tensor, "_ _"]],
    biases: Sequence[Float32[Tensor, " _"]] | None,
) -> Float32[Tensor, "n outputs"]:
    """See `reference.mlp`; x is float32 or bfloat16. Differentiable once, in x, weights and biases."""
    parameters = (*weights, *(biases or ()))
    if not torch.is_grad_enabled():
        return evaluated(x.contiguous(), tuple(parameter.contiguous() for parameter in parameters), len(weights))
    return Network.apply(x, len(weights), *parameters)


class Network(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: int, *parameters: Tensor) -> Tensor:
        x, parameters = x.contiguous(), tuple(parameter.contiguous() for parameter in parameters)
        ctx.save_for_backward(x, *parameters)
        ctx.layers = layers
        return evaluated(x, parameters, layers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        x, *parameters = ctx.saved_tensors
        grad_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        sizes_in_memory = [parameter.numel() for parameter in parameters]
        flat = torch.empty(sum(sizes_in_memory), device=x.device)
        evaluate_backward(x, tuple(parameters), ctx.layers, grad_output.contiguous(), grad_x, flat)
        pieces = flat.split(sizes_in_memory)
        grads = [piece.view_as(parameter) for piece, parameter in zip(pieces, parameters, strict=True)]
        return grad_x, None, *grads


def evaluated(x: Tensor, parameters: tuple[Tensor, ...], layers: int) -> Tensor:
    """`evaluate` into a new tensor."""
    output = torch.empty(len(x), len(parameters[layers - 1]), device=x.device)
    evaluate(x, parameters, layers, output)
    return output


def evaluate(
    x: Float[Tensor, "n inputs"], parameters: tuple[Tensor, ...], layers: int, output: Float32[Tensor, "n outputs"]
) -> None:
    """Fill `output`. `parameters`: the weights of `layers` layers, then their biases, if any. All are contiguous."""
    if len(x):
        grid = (triton.cdiv(len(x), FORWARD_LAUNCH["BLOCK"]),)
        arguments, sizes = arrange(layers, parameters)
        forward_kernel[grid](x, *arguments, output, len(x), **sizes, **FORWARD_LAUNCH)


def evaluate_backward(
    x: Float[Tensor, "n inputs"],
    parameters: tuple[Tensor, ...],
    layers: int,
    grad_output: Float32[Tensor, "n outputs"],
    grad_x: Float[Tensor, "n inputs"] | None,
    grad_parameters: Float32[Tensor, " all"],
) -> None:
    """Fill `grad_x`, where it is given, and `grad_parameters`, those of all parameters one after the other."""
    blocks = triton.cdiv(len(x), BACKWARD_LAUNCH["BLOCK"])
    programs = max(1, min(blocks, PROGRAMS_PER_MULTIPROCESSOR * multiprocessors(x.device)))
    sums = torch.empty(programs, len(grad_parameters), device=x.device)
    arguments, sizes = arrange(layers, parameters)
    arrays = (x, *arguments, grad_output, grad_x, sums, len(x), sums.shape[1])
    backward_kernel[(programs,)](*arrays, **sizes, NEEDS_X=grad_x is not None, **BACKWARD_LAUNCH)
    torch.sum(sums, 0, out=grad_parameters)


def arrange(layers: int, parameters: tuple[Tensor, ...]) -> tuple[tuple[Tensor | None, ...], dict[str, int]]:
    """Kernel arguments (first, middle, last weight and bias; None where there is none) and the network's sizes."""
    weights, biases = parameters[:layers], parameters[layers:] or (None,) * layers
    first, last = weights[0], weights[-1]
    middle = (weights[1], biases[1]) if layers == 3 else (None, None)
    sizes = {"inputs": first.shape[1], "hidden": len(first), "outputs": len(last)}
    padded = {name.upper(): max(SMALLEST_BLOCK, triton.next_power_of_2(size)) for name, size in sizes.items()}
    flags = {"HAS_MIDDLE": layers == 3, "HAS_BIAS": biases[0] is not None}
    return (first, biases[0], *middle, last, biases[-1]), {**sizes, **padded, **flags}


@cache
def multiprocessors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 2


@triton.jit
def load_matrix(source, rows: tl.constexpr, columns: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """A row-major matrix, padded with zeros."""
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    return tl.load(source + row * columns + column, mask=(row < rows) & (column < columns), other=0.0)


@triton.jit
def store_matrix(target, matrix, rows: tl.constexpr, columns: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    row, column = tl.arange(0, ROWS)[:, None], tl.arange(0, COLUMNS)[None, :]
    tl.store(target + row * columns + column, matrix, mask=(row < rows) & (column < columns))


@triton.jit
def load_bias(source, size: tl.constexpr, SIZE: tl.constexpr, HAS_BIAS: tl.constexpr):
    if HAS_BIAS:
        element = tl.arange(0, SIZE)
        bias = tl.load(source + element, mask=element < size, other=0.0)
    else:
        bias = tl.zeros([SIZE], tl.float32)
    return bias


@triton.jit
def store_bias(target, sums, size: tl.constexpr, SIZE: tl.constexpr):
    """Store the columns' common value (`add_products` repeats each sum in all columns)."""
    element = tl.arange(0, SIZE)
    tl.store(target + element, tl.max(sums, 1), mask=element < size)


@triton.jit
def linear(x, weight, bias):
    """x (n, inputs) · weightᵀ (inputs, outputs) + bias, summed in float32."""
    return tl.dot(x, tl.trans(weight), input_precision="tf32") + bias[None, :]


@triton.jit
def add_products(grad, x, grad_weight, grad_bias, ones, HAS_BIAS: tl.constexpr):
    """Add this block's gradients of a layer's weight and bias; the sum over points is a product with ones."""
    across = tl.trans(grad)
    grad_weight = tl.dot(across, x, grad_weight, input_precision="tf32")
    if HAS_BIAS:
        grad_bias = tl.dot(across, ones, grad_bias, input_precision="tf32")
    return grad_weight, grad_bias


@triton.jit
def load_points(source, block, count, columns: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    row = (block * BLOCK + tl.arange(0, BLOCK))[:, None].to(tl.int64)
    column = tl.arange(0, COLUMNS)[None, :]
    return tl.load(source + row * columns + column, mask=(row < count) & (column < columns), other=0.0)


@triton.jit
def store_points(target, values, block, count, columns: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr):
    row = (block * BLOCK + tl.arange(0, BLOCK))[:, None].to(tl.int64)
    column = tl.arange(0, COLUMNS)[None, :]
    values = values.to(target.dtype.element_ty)
    tl.store(target + row * columns + column, values, mask=(row < count) & (column < columns))


@triton.jit
def forward_kernel(
    points, first, first_bias, middle, middle_bias, last, last_bias, output, count,
    inputs: tl.constexpr, hidden: tl.constexpr, outputs: tl.constexpr,
    INPUTS: tl.constexpr, HIDDEN: tl.constexpr, OUTPUTS: tl.constexpr,
    HAS_MIDDLE: tl.constexpr, HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0)
    x = load_points(points, block, count, inputs, BLOCK, INPUTS)
    weight = load_matrix(first, hidden, inputs, HIDDEN, INPUTS).to(x.dtype)
    active = tl.maximum(linear(x, weight, load_bias(first_bias, hidden, HIDDEN, HAS_BIAS)), 0.0).to(x.dtype)
    if HAS_MIDDLE:
        weight = load_matrix(middle, hidden, hidden, HIDDEN, HIDDEN).to(x.dtype)
        active = tl.maximum(linear(active, weight, load_bias(middle_bias, hidden, HIDDEN, HAS_BIAS)), 0.0).to(x.dtype)
    weight = load_matrix(last, outputs, hidden, OUTPUTS, HIDDEN).to(x.dtype)
    result = linear(active, weight, load_bias(last_bias, outputs, OUTPUTS, HAS_BIAS))
    store_points(output, result, block, count, outputs, BLOCK, OUTPUTS)


@triton.jit
def backward_kernel(
    points, first, first_bias, middle, middle_bias, last, last_bias, grad_output, grad_points, sums, count, parameters,
    inputs: tl.constexpr, hidden: tl.constexpr, outputs: tl.constexpr,
    INPUTS: tl.constexpr, HIDDEN: tl.constexpr, OUTPUTS: tl.constexpr,
    HAS_MIDDLE: tl.constexpr, HAS_BIAS: tl.constexpr, NEEDS_X: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    dtype = points.dtype.element_ty
    ONES: tl.constexpr = 16
    ones = tl.full([BLOCK, ONES], 1.0, dtype)
    first_weight = load_matrix(first, hidden, inputs, HIDDEN, INPUTS).to(dtype)
    last_weight = load_matrix(last, outputs, hidden, OUTPUTS, HIDDEN).to(dtype)
    grad_first = tl.zeros([HIDDEN, INPUTS], tl.float32)
    grad_first_bias = tl.zeros([HIDDEN, ONES], tl.float32)
    grad_last = tl.zeros([OUTPUTS, HIDDEN], tl.float32)
    grad_last_bias = tl.zeros([OUTPUTS, ONES], tl.float32)
    if HAS_MIDDLE:
        middle_weight = load_matrix(middle, hidden, hidden, HIDDEN, HIDDEN).to(dtype)
        grad_middle = tl.zeros([HIDDEN, HIDDEN], tl.float32)
        grad_middle_bias = tl.zeros([HIDDEN, ONES], tl.float32)

    for block in range(tl.program_id(0), tl.cdiv(count, BLOCK), tl.num_programs(0)):
        x = load_points(points, block, count, inputs, BLOCK, INPUTS)
        # Loaded in the loop: outside of it, the broadcast bias would stay in registers throughout.
        bias = load_bias(first_bias, hidden, HIDDEN, HAS_BIAS)
        active = tl.maximum(linear(x, first_weight, bias), 0.0).to(dtype)
        top = active
        if HAS_MIDDLE:
            bias = load_bias(middle_bias, hidden, HIDDEN, HAS_BIAS)
            top = tl.maximum(linear(active, middle_weight, bias), 0.0).to(dtype)
        grad_result = load_points(grad_output, block, count, outputs, BLOCK, OUTPUTS).to(tl.float32)
        grad = grad_result.to(dtype)
        grad_last, grad_last_bias = add_products(grad, top, grad_last, grad_last_bias, ones, HAS_BIAS)
        grad_active = tl.where(top > 0, tl.dot(grad, last_weight, input_precision="tf32"), 0.0)
        if HAS_MIDDLE:
            grad = grad_active.to(dtype)
            grad_middle, grad_middle_bias = add_products(grad, active, grad_middle, grad_middle_bias, ones, HAS_BIAS)
            grad_active = tl.where(active > 0, tl.dot(grad, middle_weight, input_precision="tf32"), 0.0)
        grad = grad_active.to(dtype)
        grad_first, grad_first_bias = add_products(grad, x, grad_first, grad_first_bias, ones, HAS_BIAS)
        if NEEDS_X:
            grad_x = tl.dot(grad, first_weight, input_precision="tf32")
            store_points(grad_points, grad_x, block, count, inputs, BLOCK, INPUTS)

    target = sums + tl.program_id(0) * parameters
    store_matrix(target, grad_first, hidden, inputs, HIDDEN, INPUTS)
    target += hidden * inputs
    if HAS_MIDDLE:
        store_matrix(target, grad_middle, hidden, hidden, HIDDEN, HIDDEN)
        target += hidden * hidden
    store_matrix(target, grad_last, outputs, hidden, OUTPUTS, HIDDEN)
    target += outputs * hidden
    if HAS_BIAS:
        store_bias(target, grad_first_bias, hidden, HIDDEN)
        target += hidden
        if HAS_MIDDLE:
            store_bias(target, grad_middle_bias, hidden, HIDDEN)
            target += hidden
        store_bias(target, grad_last_bias, outputs, OUTPUTS)
