import dataclasses
import math

import pytest
import torch
from clips import clip_from_truth, small_synthetic
from test_model import tiny_settings

from layerloom.model.field import LayerSample
from layerloom.train import losses
from layerloom.train.losses import TERMS, Evaluation
from layerloom.train.sampling import Batch
from layerloom.train.trainer import Trainer

TILES, PIXELS = 3, 64


def evaluation(alpha: float = 0.75) -> Evaluation:
    """Two layers; both show grey 0.5 under light 1 and map pixels to themselves. What was seen agrees."""
    index = torch.arange(PIXELS)
    xy = torch.stack([index % 8, index // 8], -1).float().expand(TILES, PIXELS, 2) + 0.5
    uv = xy.expand(2, -1, -1, -1)
    alphas = torch.stack([torch.full((TILES, PIXELS), alpha), torch.full((TILES, PIXELS), 1 - alpha)])
    sample = LayerSample(uv, uv, uv, torch.full((2, TILES, PIXELS, 3), 0.5), torch.ones(2, TILES, PIXELS, 3), alphas)
    frame = torch.zeros(TILES, dtype=torch.long)
    ones = torch.ones(TILES, 32)
    batch = Batch(
        False,
        frame,
        xy,
        torch.full((TILES, PIXELS, 3), 0.5),
        alphas,
        torch.ones(TILES, PIXELS),
        frame,
        xy[:, :32],
        ones,
        frame,
    )
    half = uv[:, :, :32]
    far = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0]]).expand(2, TILES, 3, 2)
    patch = torch.rand(2, TILES, 9, 3, generator=torch.Generator().manual_seed(0)) + 0.5
    return Evaluation(
        batch, sample, half, alphas[..., :32], half, alphas[..., :32], far, far, patch, patch, torch.ones(2, TILES)
    )


def change(e: Evaluation, **sample: torch.Tensor) -> Evaluation:
    return dataclasses.replace(e, sample=dataclasses.replace(e.sample, **sample))


def test_a_perfect_explanation_costs_nothing() -> None:
    e = evaluation()
    for term in (losses.colour, losses.gradient, losses.flow_uv, losses.flow_alpha, losses.lighting_prior):
        assert float(term(e)) == pytest.approx(0, abs=1e-7)
    # 1e-3 on the determinant, as published, leaves a trace.
    assert float(losses.rigidity(e)) == pytest.approx(0, abs=1e-2)
    assert float(losses.global_rigidity(e)) == pytest.approx(0, abs=1e-2)


def test_colour_is_the_squared_distance() -> None:
    e = evaluation()
    assert float(losses.colour(change(e, texture=e.sample.texture + 0.1))) == pytest.approx(3 * 0.01, rel=1e-4)


def test_gradient_ignores_a_constant_and_counts_a_slope() -> None:
    e = evaluation()
    assert float(losses.gradient(change(e, texture=e.sample.texture + 0.1))) == pytest.approx(0, abs=1e-7)
    slope = e.batch.xy[..., :1] * 0.01
    assert float(losses.gradient(change(e, texture=e.sample.texture + slope))) == pytest.approx(3 * 1e-4, rel=1e-3)


def test_mask_guidance_is_cross_entropy_weighted_by_trust() -> None:
    e = evaluation(0.75)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert float(losses.mask_guidance(e)) == pytest.approx(entropy, rel=1e-4)
    untrusted = dataclasses.replace(e, batch=dataclasses.replace(e.batch, trust=torch.zeros(TILES, PIXELS)))
    assert float(losses.mask_guidance(untrusted)) == 0


def test_one_layer_per_pixel() -> None:
    assert float(losses.one_layer_per_pixel(evaluation(0.75))) == pytest.approx(-math.log(0.75), rel=1e-4)


def test_flow_uv_is_the_distance_in_texels_and_leaves_alpha_alone() -> None:
    e = evaluation(0.75)
    alpha = e.source_alpha.clone().requires_grad_()
    moved = dataclasses.replace(e, partner_uv=e.partner_uv + torch.tensor([3.0, 4.0]), source_alpha=alpha)
    cost = losses.flow_uv(moved)
    assert float(cost) == pytest.approx(5.0, abs=0.06)
    assert not cost.requires_grad


def test_flow_alpha() -> None:
    e = evaluation()
    shifted = dataclasses.replace(e, partner_alpha=e.partner_alpha + 0.2)
    assert float(losses.flow_alpha(shifted)) == pytest.approx(0.2, rel=1e-4)


@pytest.mark.parametrize("degrees", [0, 30, 90])
def test_turning_is_rigid_stretching_is_not(degrees: int) -> None:
    e = evaluation()
    angle = math.radians(degrees)
    turn = torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    assert float(losses.rigidity(change(e, uv=e.sample.uv @ turn.T))) == pytest.approx(0, abs=1e-2)
    stretch = e.sample.uv * torch.tensor([2.0, 1.0])
    assert float(losses.rigidity(change(e, uv=stretch))) == pytest.approx(17**0.5 + 17**0.5 / 4 - 8**0.5, abs=1e-2)


def test_zoom_of_the_prior_costs_nothing() -> None:
    e = evaluation()
    zoomed = change(e, uv=e.sample.uv * 3, uv_start=e.sample.uv_start * 3)
    assert float(losses.rigidity(zoomed)) == pytest.approx(0, abs=1e-2)


def test_sparsity_counts_hidden_texture_of_objects_only() -> None:
    assert float(losses.sparsity(evaluation(0.75))) == pytest.approx(3 * (0.25 * 0.5) ** 2, rel=1e-4)


def test_lighting_prior_is_in_units_of_colour() -> None:
    e = evaluation()
    lit = change(e, lighting=torch.full_like(e.sample.lighting, 1.5), texture=torch.full_like(e.sample.texture, 0.4))
    darker = change(lit, texture=lit.sample.texture / 2)
    assert float(losses.lighting_prior(lit)) == pytest.approx(2 * 3 * (0.16 + losses.DARK) * 0.25, rel=1e-4)
    assert float(losses.lighting_prior(darker)) == pytest.approx(2 * 3 * (0.04 + losses.DARK) * 0.25, rel=1e-4)


def test_lighting_prior_does_not_darken_the_texture() -> None:
    e = evaluation()
    texture = e.sample.texture.clone().requires_grad_()
    cost = losses.lighting_prior(change(e, lighting=(1.5 * e.sample.lighting).requires_grad_(), texture=texture))
    cost.backward()  # pyright: ignore[reportUnknownMemberType]
    assert texture.grad is None


def test_lighting_consistency_wants_unseen_light_correlated_and_flat() -> None:
    e = evaluation()
    same = float(losses.lighting_consistency(e))
    flatter = dataclasses.replace(e, patch_unseen=1 + 0.1 * e.patch_unseen)
    opposite = dataclasses.replace(e, patch_unseen=-e.patch_unseen)
    assert float(losses.lighting_consistency(flatter)) < same
    assert float(losses.lighting_consistency(opposite)) == pytest.approx(same + 2, rel=1e-2)
    never = dataclasses.replace(e, patch_weight=torch.zeros(2, TILES))
    assert float(losses.lighting_consistency(never)) == 0


@pytest.mark.parametrize("objects", [1, 2])
def test_every_term_is_finite_and_so_are_its_gradients(objects: int) -> None:
    trainer = Trainer(clip_from_truth(small_synthetic(objects)), tiny_settings(), torch.device("cpu"))
    for step in trainer.run():
        assert set(step.terms) == {term.name for term in TERMS}
        assert all(math.isfinite(value) for value in step.terms.values())
    assert all(torch.isfinite(parameter).all() for parameter in trainer.field.parameters())


def test_only_what_is_more_than_a_plane_is_structure() -> None:
    e = evaluation()
    row, column = torch.arange(PIXELS) // 8, torch.arange(PIXELS) % 8
    shadow = 0.2 + 0.02 * column - 0.01 * row
    checks = 0.2 * ((row + column) % 2 * 2.0 - 1)
    both = torch.stack([shadow, checks, checks * 0])[..., None].expand(-1, -1, 3)
    seen = dataclasses.replace(e, batch=dataclasses.replace(e.batch, colour=e.batch.colour - both))
    even, fine, nothing = losses.structure(seen).tolist()
    assert even < 0.01
    assert fine == pytest.approx(1, abs=1e-3)
    assert nothing == pytest.approx(1)
