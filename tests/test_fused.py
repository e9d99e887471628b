"""The fused training step against the plain one: every term's value and every parameter's gradient.

On a GPU in full; on the CPU in Triton's interpreter, which has to be switched on before Triton is imported:
`test_in_the_interpreter` runs this file once more that way.
"""

import dataclasses
import os
import subprocess
import sys
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec

import pytest
import torch
from clips import clip_from_truth, small_synthetic

from layerloom.bake.bake import bake
from layerloom.model.field import FieldSettings
from layerloom.ops.dispatch import use_kernel
from layerloom.train.losses import TERMS
from layerloom.train.optimiser import FlatAdam, PlainAdam
from layerloom.train.settings import TrainSettings, settings_for
from layerloom.train.trainer import Trainer

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_GPU = torch.cuda.is_available()

SMALL_FIELD = FieldSettings(
    mapping_levels=2,
    mapping_cells_texels=(60.0, 20.0),
    texture_levels=2,
    texture_hidden=16,
    texture_hidden_layers=1,
    lighting_levels=2,
    lighting_cells_per_canvas=(2.0, 5.0),
    alpha_levels=2,
    alpha_hidden=16,
)


def plain_trainer(objects: int, settings: TrainSettings, device: str) -> Trainer:
    """A trainer whose field is not at its start, where many gradients vanish."""
    clip = clip_from_truth(small_synthetic(objects, size=(120, 80)))
    with use_kernel("reference"):
        trainer = Trainer(clip, settings, torch.device(device))
    generator = torch.Generator().manual_seed(1)
    spread = {"affine": 0.5, "offset": 0.3, "log_lighting": 0.1, "table": 0.1}
    with torch.no_grad():
        for name, parameter in trainer.field.named_parameters():
            scale = next((value for part, value in spread.items() if part in name), 0.0)
            parameter += (scale * torch.randn(parameter.shape, generator=generator)).to(device)
    return trainer


def check_step(objects: int, settings: TrainSettings, device: str, tolerance: float) -> None:
    from layerloom.train.fused.step import FusedStep
    from layerloom.train.trainer import PATCH_TILES

    trainer = plain_trainer(objects, settings, device)
    # Where a patch's light is flat by chance, its correlation has next to no digits; this draw has no such patch.
    torch.manual_seed(2)
    choice = trainer.sampler.draw()
    values = trainer._gradients(TERMS, choice)  # pyright: ignore[reportPrivateUsage]
    expected = {name: parameter.grad for name, parameter in trainer.field.named_parameters()}
    far = trainer._far_steps  # pyright: ignore[reportPrivateUsage]
    grads = FlatAdam(trainer.field, settings.rates).grads
    assert trainer.zone.any() == (objects > 0)
    step = FusedStep(trainer.field, trainer.sampler, trainer.inverse_motion, far, trainer.zone, PATCH_TILES, grads)
    found = step.compute(TERMS, choice)
    # Where no object can be, alpha is exactly one: the plain step's guidance counts 1e-5 there, and no gradient.
    torch.testing.assert_close(found, values, rtol=1e-3, atol=2e-5)
    for name, parameter in trainer.field.named_parameters():
        plain = expected[name]
        assert plain is not None and parameter.grad is not None
        difference, scale = (parameter.grad - plain).square().mean().sqrt(), plain.square().mean().sqrt()
        assert float(scale) > 0, name
        assert float(difference) <= tolerance * float(scale), name


def check_adam(device: str) -> None:
    """Three steps of either Adam, with gradients of very different sizes and rates that change."""
    trainers = [plain_trainer(1, TrainSettings(4, 3, field=SMALL_FIELD), device) for _ in range(2)]
    fields = [trainer.field for trainer in trainers]
    rates = trainers[0].settings.rates
    plain, flat = PlainAdam(fields[0], rates), FlatAdam(fields[1], rates)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for first, second in zip(fields[0].parameters(), fields[1].parameters(), strict=True):
            grad = (torch.randn(first.shape, generator=generator) ** 3).to(device)
            first.grad = grad
            assert second.grad is not None
            second.grad.copy_(grad)
        for adam in (plain, flat):
            adam.scale_rates(1 / (step + 1))
            adam.step()
    for first, second in zip(fields[0].parameters(), fields[1].parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    assert plain.state().keys() == flat.state().keys()
    for name, value in plain.state().items():
        torch.testing.assert_close(value.to(device), flat.state()[name], rtol=1e-5, atol=1e-7)


def check_points(device: str) -> None:
    """Where pixels of one frame look, without gradients: some more of them than fill a kernel's program."""
    from layerloom.ops.mapping.triton import map_points

    layer = plain_trainer(1, TrainSettings(4, 3, field=SMALL_FIELD), device).field.layer(0)
    generator = torch.Generator().manual_seed(0)
    xy = (120 * torch.rand(150, 2, generator=generator)).to(device)
    frame = torch.tensor([3], device=device)
    with torch.no_grad(), use_kernel("reference"):
        expected = layer.mapping(xy[None], frame)
        for found, plain in zip(map_points(layer.triton_mapping(), xy, frame), expected, strict=True):
            torch.testing.assert_close(found[None], plain, rtol=1e-5, atol=1e-3)


@pytest.mark.skipif(not INTERPRETED, reason="for Triton's interpreter, see test_in_the_interpreter")
def test_interpreted_points() -> None:
    check_points("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU")
def test_points_on_a_gpu() -> None:
    check_points("cuda")


@pytest.mark.skipif(not INTERPRETED, reason="for Triton's interpreter, see test_in_the_interpreter")
def test_interpreted_adam() -> None:
    check_adam("cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU")
def test_adam_on_a_gpu() -> None:
    check_adam("cuda")


@pytest.mark.skipif(not INTERPRETED, reason="for Triton's interpreter, see test_in_the_interpreter")
@pytest.mark.parametrize("objects", [0, 2])
def test_interpreted(objects: int) -> None:
    check_step(objects, TrainSettings(4, 3, field=SMALL_FIELD), "cpu", 1e-4)


@pytest.mark.skipif(INTERPRETED, reason="this is the outer run")
@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_in_the_interpreter() -> None:
    command = [sys.executable, "-m", "pytest", __file__, "-k", "test_interpreted"]
    run = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "4 passed" in run.stdout


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU")
@pytest.mark.parametrize("objects", [0, 1, 2])
def test_on_a_gpu(objects: int) -> None:
    check_step(objects, dataclasses.replace(settings_for("standard", "cuda"), tiles=256), "cuda", 2e-3)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU")
def test_a_gpu_takes_the_fused_step() -> None:
    clip = clip_from_truth(small_synthetic(size=(120, 80)))
    settings = dataclasses.replace(settings_for("standard", "cuda"), tiles=64)
    trainer = Trainer(clip, settings, torch.device("cuda"))
    assert trainer._fused is not None  # pyright: ignore[reportPrivateUsage]


def learned_psnr(device: str, kernel: AbstractContextManager[None], steps: int) -> float:
    """Of the baked maps, after the same draws of tiles on any device."""
    clip = clip_from_truth(small_synthetic(size=(120, 80)))
    settings = dataclasses.replace(settings_for("draft", "cpu"), steps=steps, tiles=48)
    generator = torch.Generator().manual_seed(0)
    with kernel:
        trainer = Trainer(clip, settings, torch.device(device))
        shape = trainer.sampler.draw().shape
        trainer.sampler.draw = lambda: torch.rand(shape, generator=generator).to(device)
        # What is drawn on the host cannot be recorded.
        trainer._kernel = "reference"  # pyright: ignore[reportPrivateUsage]
        list(trainer.run())
        _, psnr = bake(trainer.field, clip, lambda: iter(clip.frames), torch.device(device))
    return sum(psnr) / len(psnr)


@pytest.mark.skipif(INTERPRETED, reason="this is of the compiled kernels")
def test_a_seed_gives_the_same_with_the_cpus_kernels_and_without() -> None:
    kernels, plain = (learned_psnr("cpu", kernel, steps=60) for kernel in (nullcontext(), use_kernel("reference")))
    assert plain > 25 and kernels == pytest.approx(plain, abs=0.05)


@pytest.mark.gpu
@pytest.mark.skipif(not HAS_GPU, reason="no CUDA GPU")
def test_a_seed_gives_the_same_on_a_gpu() -> None:
    cpu, kernels, plain = (
        learned_psnr(device, kernel, steps=300)
        for device, kernel in (("cpu", nullcontext()), ("cuda", nullcontext()), ("cuda", use_kernel("reference")))
    )
    assert kernels == pytest.approx(cpu, abs=0.2) and plain == pytest.approx(cpu, abs=0.2)
