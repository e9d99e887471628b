# pyright: basic, reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportCallIssue=false, reportAssignmentType=false, reportOperatorIssue=false
# (Triton compiles these functions from their source; its pointers and blocks have no Python types.)
"""Adam (Kingma and Ba 2015, algorithm 1) in Triton, one launch for all parameters; as `torch.optim.Adam` does it."""

import math

import triton
import triton.language as tl
from jaxtyping import Float32
from torch import Tensor

BLOCK = 1024
"""Parameters of a program; arrays are padded to whole blocks."""


def adam(
    parameters: Float32[Tensor, " n"],
    grads: Float32[Tensor, " n"],
    first: Float32[Tensor, " n"],
    second: Float32[Tensor, " n"],
    rates: Float32[Tensor, " n"],
    factor: Float32[Tensor, ""],
    count: Float32[Tensor, ""],
    betas: tuple[float, float],
    epsilon: float,
) -> None:
    """Update parameters and moments in place. A parameter's rate is its own times `factor`; `count` starts at 1."""
    numbers = {"beta_1": betas[0], "beta_2": betas[1], "epsilon": epsilon}
    logs = {"log_beta_1": math.log(betas[0]), "log_beta_2": math.log(betas[1])}
    arrays = (parameters, grads, first, second, rates, factor, count)
    adam_kernel[(len(parameters) // BLOCK,)](*arrays, **numbers, **logs, BLOCK=BLOCK, num_warps=4)


@triton.jit
def adam_kernel(
    parameters, grads, first, second, rates, factor, count,
    beta_1, beta_2, epsilon, log_beta_1, log_beta_2, BLOCK: tl.constexpr,
):  # fmt: skip
    index = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    steps = tl.load(count)
    rate = tl.load(rates + index) * tl.load(factor) / (1 - tl.exp(steps * log_beta_1))
    spread = 1 / tl.sqrt(1 - tl.exp(steps * log_beta_2))
    grad = tl.load(grads + index)
    mean = tl.load(first + index)
    mean += (1 - beta_1) * (grad - mean)
    square = beta_2 * tl.load(second + index) + (1 - beta_2) * grad * grad
    tl.store(first + index, mean)
    tl.store(second + index, square)
    value = tl.load(parameters + index) - rate * mean / (tl.sqrt(square) * spread + epsilon)
    tl.store(parameters + index, value)
