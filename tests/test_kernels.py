"""The kernels against their definition: values and every gradient.

The Triton kernels run here on a GPU, or on the CPU in Triton's interpreter, which has to be switched on before Triton
is imported: `test_triton_in_the_interpreter` runs this file once more that way.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from layerloom.ops import dispatch
from layerloom.ops.box_mean import reference as plain_box_mean
from layerloom.ops.dispatch import hash_encode, kernel_report, mlp, use_kernel
from layerloom.ops.hash_encode import reference as plain_hash_encode
from layerloom.ops.hash_encode.layout import GridLayout, table_index
from layerloom.ops.mlp import reference as plain_mlp
from layerloom.ops.splat import reference as plain_splat

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_GPU = torch.cuda.is_available()
DEVICE = "cuda" if HAS_GPU and not INTERPRETED else "cpu"

needs_triton = pytest.mark.skipif(
    not (INTERPRETED or (HAS_GPU and find_spec("triton"))), reason="Triton needs a GPU or its interpreter"
)
needs_gpu = [pytest.mark.gpu, pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU")]

CASES = [(2, 2, 203), (3, 2, 203), (3, 4, 65), (3, 3, 65), (2, 1, 1)]
"""Dimensions, features, number of points."""


def small_layout(dimensions: int, features: int) -> GridLayout:
    """Dense and hashed levels, cells that differ per axis; one axis may have a single cell."""
    levels = ((4, 3, 1), (9, 10, 4), (40, 31, 7))
    return GridLayout(tuple(level[:dimensions] for level in levels), 128, features)


def hard_points(count: int, dimensions: int) -> Tensor:
    """Random points, inside and outside, with runs of close ones, exact corners and exact nodes of the grids."""
    points = torch.rand(count, dimensions) * 1.4 - 0.2
    points[count // 8 : count * 3 // 4] = 0.37 + 0.02 * torch.rand(count * 3 // 4 - count // 8, dimensions)
    special = [
        torch.zeros(dimensions),
        torch.ones(dimensions),
        torch.full((dimensions,), 0.5),
        torch.eye(dimensions)[0],
    ]
    for index, point in enumerate(special[:count]):
        points[-1 - index] = point
    return points


def outputs_and_gradients(function: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """Output, and the gradient of a fixed random projection of it to every input."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    output = function(*leaves)
    generator = torch.Generator().manual_seed(5)
    projection = torch.randn(output.shape, generator=generator).to(output)
    return [output.detach(), *torch.autograd.grad(output, leaves, projection)]


def assert_close(actual: list[Tensor], expected: list[Tensor], rms: float, worst: float) -> None:
    """Relative RMS of the difference, and its largest element over the expected RMS."""
    for index, (a, b) in enumerate(zip(actual, expected, strict=True)):
        assert a.shape == b.shape
        assert torch.isfinite(a).all()
        difference, scale = (a.double() - b.double()), b.double().pow(2).mean().sqrt()
        assert difference.pow(2).mean().sqrt() <= rms * scale, f"tensor {index}: relative RMS"
        assert difference.abs().max() <= worst * scale, f"tensor {index}: worst element"


def encode_with(kernel: dispatch.Kernel, points: Tensor, table: Tensor, layout: GridLayout) -> list[Tensor]:
    with use_kernel(kernel):
        return outputs_and_gradients(lambda p, t: hash_encode(p, t, layout), points, table)


def check_encode(kernel: dispatch.Kernel, device: str, dimensions: int, features: int, count: int) -> None:
    torch.manual_seed(count)
    layout = small_layout(dimensions, features)
    points, table = hard_points(count, dimensions), torch.randn(layout.offsets[-1], features)
    expected = encode_with("reference", points, table, layout)
    actual = encode_with(kernel, points.to(device), table.to(device), layout)
    # A GPU rounds the position inside a cell once less than PyTorch does.
    rms = 2e-6 if device == "cpu" else 2e-5
    assert_close([tensor.cpu() for tensor in actual], expected, rms=rms, worst=25 * rms)


# The definition


def test_grid_of_positions_returns_the_point():
    """A dense level that stores each node's position gives positions back, and the identity as gradient."""
    layout = GridLayout(((4, 3, 2),), 2**10, 3)
    z, y, x = torch.meshgrid(*(torch.linspace(0, 1, cells + 1) for cells in (2, 3, 4)), indexing="ij")
    table = torch.stack([x, y, z], -1).reshape(-1, 3)
    points = torch.rand(50, 3, requires_grad=True)
    for kernel in ("reference", "cpu"):
        with use_kernel(kernel):
            encoded = hash_encode(points, table, layout)
        torch.testing.assert_close(encoded, points, atol=1e-6, rtol=0)
        (gradient,) = torch.autograd.grad(encoded[:, 1].sum(), points)
        torch.testing.assert_close(gradient, torch.tensor([0.0, 1, 0]).expand(50, 3), atol=1e-5, rtol=0)


def test_points_outside_take_the_border_and_no_gradient():
    layout = small_layout(2, 2)
    table = torch.randn(layout.offsets[-1], 2)
    outside = torch.tensor([[-0.3, 0.4], [1.7, 0.4]], requires_grad=True)
    border = torch.tensor([[0.0, 0.4], [1.0, 0.4]])
    for kernel in ("reference", "cpu"):
        with use_kernel(kernel):
            encoded = hash_encode(outside, table, layout)
            torch.testing.assert_close(encoded, hash_encode(border, table, layout))
        (gradient,) = torch.autograd.grad(encoded.sum(), outside)
        assert (gradient[:, 0] == 0).all()
        assert (gradient[:, 1] != 0).all()


def test_known_hash():
    """Node (3, 5, 7), worked out by hand from the published primes: 3 ^ 5·2654435761 ^ 7·805459861, modulo 2^32."""
    layout = GridLayout(((100, 100, 100),), 2**10, 2)
    expected = (3 ^ (5 * 2654435761 % 2**32) ^ (7 * 805459861 % 2**32)) % 2**10
    assert table_index(torch.tensor([[3, 5, 7]]), layout, 0).item() == expected


@pytest.mark.parametrize("dimensions", [2, 3])
def test_reference_encode_gradients(dimensions: int):
    layout = GridLayout(((3, 4, 2)[:dimensions], (9, 8, 7)[:dimensions]), 64, 2)
    torch.manual_seed(0)
    points = torch.rand(6, dimensions, dtype=torch.float64, requires_grad=True)
    table = torch.randn(layout.offsets[-1], 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p, t: plain_hash_encode.hash_encode(p, t, layout), (points, table))


def random_network(inputs: int, hidden: int, outputs: int, hidden_layers: int, biased: bool):
    widths = [inputs, *[hidden] * hidden_layers, outputs]
    weights = [torch.randn(b, a) / a**0.5 for a, b in pairwise(widths)]
    return weights, [torch.randn(width) for width in widths[1:]] if biased else []


def test_reference_mlp_gradients():
    torch.manual_seed(0)
    weights, biases = random_network(5, 7, 3, 2, biased=True)
    inputs = [tensor.double().requires_grad_() for tensor in (torch.randn(4, 5), *weights, *biases)]
    assert torch.autograd.gradcheck(lambda x, *rest: plain_mlp.mlp(x, rest[:3], rest[3:]), inputs)


def test_mlp_is_what_linear_layers_do():
    network = torch.nn.Sequential(torch.nn.Linear(5, 7), torch.nn.ReLU(), torch.nn.Linear(7, 2))
    x = torch.randn(4, 5)
    linears = [network[0], network[2]]
    output = mlp(x, [linear.weight for linear in linears], [linear.bias for linear in linears])
    torch.testing.assert_close(output, network(x))


# The CPU kernel


@pytest.mark.parametrize(("dimensions", "features", "count"), [*CASES, (2, 5, 1000), (3, 8, 1000)])
def test_cpu_encode_matches_reference(dimensions: int, features: int, count: int):
    check_encode("cpu", "cpu", dimensions, features, count)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), dimensions=st.sampled_from([2, 3]))
def test_weights_sum_to_one(seed: int, dimensions: int):
    """So a constant table encodes to its constant, and the table's gradient sums to the output's."""
    torch.manual_seed(seed)
    layout = small_layout(dimensions, 2)
    table = torch.full((layout.offsets[-1], 2), 3.0)
    encoded, _, grad_table = encode_with("cpu", hard_points(40, dimensions), table, layout)
    torch.testing.assert_close(encoded, torch.full_like(encoded, 3.0))
    generator = torch.Generator().manual_seed(5)
    projection = torch.randn(encoded.shape, generator=generator)
    torch.testing.assert_close(grad_table.sum(), projection.sum(), atol=1e-4, rtol=1e-4)


def test_cpu_encode_gives_only_the_gradients_asked_for():
    layout = small_layout(3, 2)
    points, table = hard_points(20, 3), torch.randn(layout.offsets[-1], 2)
    _, expected_points, expected_table = encode_with("cpu", points, table, layout)
    generator = torch.Generator().manual_seed(5)
    for differentiable, expected in ((points, expected_points), (table, expected_table)):
        differentiable.requires_grad_()
        output = hash_encode(points, table, layout)
        output.backward(torch.randn(output.shape, generator=generator.manual_seed(5)))
        torch.testing.assert_close(differentiable.grad, expected)
        differentiable.requires_grad_(False)
    assert points.grad is not None and table.grad is not None


def test_cpu_encode_of_strided_and_empty_input():
    layout = small_layout(2, 2)
    table = torch.randn(2, layout.offsets[-1]).T
    points = torch.rand(2, 30).T
    torch.testing.assert_close(hash_encode(points, table, layout), plain_hash_encode.hash_encode(points, table, layout))
    assert hash_encode(points[:0], table, layout).shape == (0, 6)


def test_nan_stays_visible_and_reads_inside_the_table():
    layout = small_layout(2, 2)
    encoded = hash_encode(torch.tensor([[float("nan"), 0.5]]), torch.randn(layout.offsets[-1], 2), layout)
    assert encoded.isnan().all()


# Dispatch


def test_slow_choice_is_said_once_and_reported(caplog: pytest.LogCaptureFixture):
    layout = small_layout(2, 2)
    points, table = torch.rand(4, 2, dtype=torch.float64), torch.randn(layout.offsets[-1], 2, dtype=torch.float64)
    dispatch.warn_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            encoded = hash_encode(points, table, layout, torch.float64)
    torch.testing.assert_close(encoded, plain_hash_encode.hash_encode(points, table, layout))
    assert len(caplog.records) == 1
    assert "float32" in caplog.text
    assert kernel_report()["hash_encode on cpu"] == "reference: the compiled kernels take float32"


def test_forced_kernel_is_used_and_then_forgotten():
    layout = small_layout(2, 2)
    points, table = torch.rand(4, 2), torch.randn(layout.offsets[-1], 2)
    with use_kernel("reference"):
        hash_encode(points, table, layout)
        assert kernel_report()["hash_encode on cpu"] == "reference: forced"
    hash_encode(points, table, layout)
    assert kernel_report()["hash_encode on cpu"] == "cpu"


# The Triton kernels


@needs_triton
@pytest.mark.parametrize(("dimensions", "features", "count"), CASES)
def test_triton_encode_matches_reference(dimensions: int, features: int, count: int):
    check_encode("triton", DEVICE, dimensions, features, count)


MLP_CASES = [(20, 64, 3, 2, True, 150), (16, 32, 1, 1, True, 129), (7, 20, 3, 2, False, 33), (64, 64, 16, 2, True, 257)]
"""Inputs, hidden, outputs, hidden layers, with biases, number of points."""


def mlp_with(kernel: dispatch.Kernel, x: Tensor, weights: list[Tensor], biases: list[Tensor]) -> list[Tensor]:
    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return mlp(x, parameters[: len(weights)], parameters[len(weights) :] or None)

    with use_kernel(kernel):
        return outputs_and_gradients(run, x, *weights, *biases)


def check_mlp(case: tuple[int, int, int, int, bool, int], dtype: torch.dtype, rms: float, worst: float) -> None:
    torch.manual_seed(case[-1])
    weights, biases = random_network(*case[:-1])
    x = torch.randn(case[-1], case[0]).to(dtype)
    expected = mlp_with("reference", x.double(), [w.double() for w in weights], [b.double() for b in biases])
    weights, biases = [w.to(DEVICE) for w in weights], [b.to(DEVICE) for b in biases]
    actual = mlp_with("triton", x.to(DEVICE), weights, biases)
    assert_close([tensor.cpu() for tensor in actual], expected, rms, worst)


@needs_triton
@pytest.mark.parametrize("case", MLP_CASES)
def test_triton_mlp_matches_reference(case: tuple[int, int, int, int, bool, int]):
    exact = DEVICE == "cpu"
    # tf32 keeps 10 bits of each factor; a hidden unit near 0 may fall to the other side of the ReLU.
    check_mlp(case, torch.float32, rms=1e-5 if exact else 1e-2, worst=1e-4 if exact else 0.3)


def test_network_too_large_for_the_kernel_says_why():
    pytest.importorskip("triton")
    from layerloom.ops.mlp.triton import obstacle

    assert obstacle(random_network(20, 64, 3, 2, False)[0]) == ""
    assert "at most" in obstacle(random_network(20, 128, 3, 2, False)[0])
    assert "hidden layers" in obstacle(random_network(20, 64, 3, 5, False)[0])


@pytest.mark.skipif(INTERPRETED or HAS_GPU, reason="runs the tests above directly")
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_triton_in_the_interpreter():
    command = [sys.executable, "-m", "pytest", __file__, "-k", "test_triton and matches", "-p", "no:cacheprovider"]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-4000:]
    assert "12 passed" in result.stdout


# At full size, on a GPU


def tiles(count: int, dimensions: int, generator: torch.Generator) -> Tensor:
    """8 × 8 pixels of a 768-pixel frame at random places and times."""
    corner = torch.rand(count // 64, 1, dimensions, generator=generator)
    y, x = torch.meshgrid(torch.arange(8), torch.arange(8), indexing="ij")
    pixel = torch.zeros(64, dimensions)
    pixel[:, :2] = torch.stack([x, y], -1).reshape(64, 2) / 768
    return (corner + pixel).reshape(count, dimensions)


def full_layout(dimensions: int) -> GridLayout:
    coarsest, finest = (16, 2048) if dimensions == 2 else (8, 400)
    cells = [round(coarsest * (finest / coarsest) ** (level / 15)) for level in range(16)]
    return GridLayout(tuple((count,) * dimensions for count in cells), 2**19, 2)


class TestOnGpu:
    pytestmark = needs_gpu

    @pytest.mark.parametrize("dimensions", [2, 3])
    @pytest.mark.parametrize("coherent", [True, False])
    def test_encode_at_full_size(self, dimensions: int, coherent: bool):
        generator = torch.Generator().manual_seed(1)
        layout = full_layout(dimensions)
        points = tiles(2**16, dimensions, generator) if coherent else torch.rand(65521, dimensions, generator=generator)
        table = torch.randn(layout.offsets[-1], 2, generator=generator)
        points, table = points.cuda(), table.cuda()
        expected = encode_with("reference", points, table, layout)
        actual = encode_with("triton", points, table, layout)
        # Among 2048 cells a position is known to 1e-4 cells; PyTorch rounds it once more than the kernel.
        assert_close(actual, expected, rms=1e-4, worst=5e-3)

    @pytest.mark.parametrize("dimensions", [2, 3])
    def test_encode_to_bfloat16(self, dimensions: int):
        generator = torch.Generator().manual_seed(2)
        layout = full_layout(dimensions)
        points = tiles(2**14, dimensions, generator).cuda()
        table = torch.randn(layout.offsets[-1], 2, generator=generator).cuda()
        with use_kernel("triton"):
            output = hash_encode(points, table, layout, torch.bfloat16)
        assert output.dtype == torch.bfloat16
        assert_close([output], [plain_hash_encode.hash_encode(points, table, layout)], rms=4e-3, worst=4e-2)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_mlp_at_full_size(self, dtype: torch.dtype):
        # tf32 and bf16 products move hidden values across ReLU's corner, where the gradient jumps. On an H200 gradients
        # differ from float64 by up to 2.5 % and 7.5 % of their RMS (PyTorch's autocast: 7.2 %), single ones 3.4 times.
        check_mlp((32, 64, 3, 2, True, 2**16 + 7), dtype, rms=4e-2 if dtype == torch.float32 else 1e-1, worst=6.0)

    def test_graph_replays_on_new_values(self):
        """Forward and backward of both kernels inside one CUDA graph, replayed after the inputs changed."""
        torch.manual_seed(3)
        layout = small_layout(3, 2)
        points = torch.rand(1000, 3, device="cuda", requires_grad=True)
        table = torch.randn(layout.offsets[-1], 2, device="cuda", requires_grad=True)
        parameters, biases = random_network(6, 32, 3, 1, biased=True)
        weights = [weight.cuda().requires_grad_() for weight in parameters]
        offsets = [bias.cuda().requires_grad_() for bias in biases]
        leaves = [points, table, *weights, *offsets]

        def step() -> tuple[Tensor, ...]:
            output = mlp(hash_encode(points, table, layout), weights, offsets)
            return output, *torch.autograd.grad(output.square().sum(), leaves)

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            step()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            recorded = step()
        with torch.no_grad():
            points.copy_(torch.rand_like(points))
        graph.replay()
        torch.cuda.synchronize()
        assert_close(list(recorded), list(step()), rms=1e-4, worst=1e-2)


# Splatting


def splat_with(kernel: dispatch.Kernel, device: str) -> Tensor:
    """Points inside, on texels, at the border and off the canvas; some without any value."""
    generator = torch.Generator().manual_seed(2)
    positions = torch.rand(203, 2, generator=generator) * torch.tensor([13.0, 9.0]) - 2
    positions[:3] = torch.tensor([[0.5, 0.5], [9.0, 4.0], [4.5, 5.0]])
    values = torch.randn(5, 203, generator=generator)
    values[:, 50:80] = 0
    into = torch.ones(9 * 5, 5, device=device)
    with use_kernel(kernel):
        dispatch.splat(values.to(device), positions.to(device), (9, 5), into)
    return into.cpu()


def test_splat_is_the_adjoint_of_looking_up():
    canvas, points = torch.rand(1, 3, 5, 9), torch.rand(50, 2) * torch.tensor([9.0, 5.0])
    weights, into = torch.rand(3, 50), torch.zeros(45, 3)
    plain_splat.splat(weights, points, (9, 5), into)
    grid = 2 * points / torch.tensor([9.0, 5.0]) - 1
    seen = torch.nn.functional.grid_sample(canvas, grid[None, None], align_corners=False)[0, :, 0]
    torch.testing.assert_close((seen * weights).sum(), (canvas[0].flatten(1) * into.T).sum())


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_splat_on_the_cpu(threads: int):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        splatted = splat_with("cpu", "cpu")
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(splatted, splat_with("reference", "cpu"), rtol=1e-5, atol=1e-5)


@needs_triton
def test_splat_in_triton():
    torch.testing.assert_close(splat_with("triton", DEVICE), splat_with("reference", "cpu"), rtol=1e-5, atol=1e-5)


# Means over neighbourhoods


def test_mean_of_what_is_even_and_of_one_pixel():
    image = torch.ones(1, 2, 20, 30)
    image[0, 1] = 0
    image[0, 1, 10, 15] = 49
    even, spot = plain_box_mean.neighbourhood_mean(image)[0]
    torch.testing.assert_close(even, image[0, 0])
    torch.testing.assert_close(spot[10, 9:22] * 49 / 7, torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 6, 5, 4, 3, 2, 1]))


def check_means(kernel: dispatch.Kernel, device: str, height: int, width: int) -> None:
    images = torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(3))
    with use_kernel(kernel):
        means = dispatch.neighbourhood_mean(images.to(device))
    torch.testing.assert_close(means.cpu(), plain_box_mean.neighbourhood_mean(images))


@pytest.mark.parametrize(("height", "width"), [(20, 31), (4, 70), (40, 2)])
def test_means_on_the_cpu(height: int, width: int):
    check_means("cpu", "cpu", height, width)


@needs_triton
@pytest.mark.parametrize(("height", "width"), [(20, 131), (4, 70), (40, 2)])
def test_triton_means_matches_reference(height: int, width: int):
    check_means("triton", DEVICE, height, width)
