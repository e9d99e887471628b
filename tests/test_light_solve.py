"""Light solved against known textures: as strong as it is, and nothing but light."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from layerloom.bake.explain import Explainer
from layerloom.bake.light_grid import blur, refine, spacing_pixels
from layerloom.bake.light_solve import LARGEST_TINT, LightSolver, Moments, gather
from layerloom.bake.maps import LayerMaps, between_nodes, grid_nodes
from layerloom.bake.solve import solve
from layerloom.synthetic.textures import BACKGROUND_PALETTE, make_texture

SIZE = (160, 96)
PAN = 3.0
"""Texels a frame."""
FRAMES = 8
CANVAS = (200, 112)

Light = Callable[[Tensor, int], Tensor]
"""Pixel positions and a frame to light, 3 h w."""


def texture() -> Tensor:
    drawn = make_texture(np.random.default_rng(4), CANVAS, BACKGROUND_PALETTE, 0.6)
    return torch.from_numpy(drawn).permute(2, 0, 1).float()


def layer(picture: Tensor, start: float = 0.0) -> LayerMaps:
    """One that is looked at straight on by a camera that pans; `start` in texels."""
    affine = torch.zeros(FRAMES, 2, 3)
    affine[:, 0, 0] = affine[:, 1, 1] = 1
    affine[:, 0, 2] = 8 + start + PAN * torch.arange(FRAMES)
    affine[:, 1, 2] = 8
    offset, seen = torch.zeros(FRAMES, 9, 9, 2), torch.zeros(CANVAS[1], CANVAS[0])
    return LayerMaps(CANVAS, 1.0, affine, offset, torch.ones(FRAMES, 4, 4, 3), picture, seen)


def footage(picture: Tensor, light: Light) -> list[np.ndarray]:
    """What the camera sees of it."""
    shown = Explainer(
        [layer(picture)], no_objects(), lambda: iter([np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * FRAMES), SIZE
    )
    xy = pixels()
    lit = [(frame.texture[0] * light(xy, frame.t)).clamp(0, 1) for frame in shown.frames()]
    return [(255 * picture.permute(1, 2, 0)).round().byte().numpy() for picture in lit]


def pixels() -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE[1]) + 0.5, torch.arange(SIZE[0]) + 0.5, indexing="ij")
    return torch.stack([x, y], -1)


def no_objects() -> Tensor:
    return torch.zeros(0, FRAMES, SIZE[1], SIZE[0], dtype=torch.uint8)


def lit_by_solver(maps: LayerMaps, frames: list[np.ndarray]) -> list[Tensor]:
    """Log light of each frame, solved once with the texture as it is."""
    refine(maps, SIZE)
    explainer = Explainer([maps], no_objects(), lambda: iter(frames), SIZE)
    solver = LightSolver([maps], SIZE)
    found: list[Tensor] = []
    for frame in explainer.frames():
        solver.solve(frame)
        found.append(explainer.again(frame).light[0].log())
    return found


def spot(xy: Tensor, t: int) -> Tensor:
    """Flicker of the whole frame and a warm spot that moves: a light of ±0.5 in log."""
    away = (xy - torch.tensor([30.0 + 12 * t, 48.0])).square().sum(-1)
    log_light = 0.12 * np.sin(2.2 * t) + torch.tensor([0.5, 0.42, 0.3])[:, None, None] * torch.exp(-away / 2 / 22**2)
    return (log_light - 0.15).exp()


def test_light_comes_out_as_strong_as_it_is() -> None:
    picture = texture()
    maps = layer(picture)
    frames = footage(picture, spot)
    truth = torch.stack([spot(pixels(), t).log() for t in range(FRAMES)])
    found = torch.stack(lit_by_solver(maps, frames))
    true, learned = truth - truth.mean(), found - found.mean()
    assert 0.95 < float((true * learned).sum() / true.square().sum()) < 1.03
    assert torch.corrcoef(torch.stack([true.flatten(), learned.flatten()]))[0, 1] > 0.99


def test_texture_and_light_are_told_apart_in_alternation() -> None:
    """From a texture that is nothing but grey; what is constant along a texel may be the texture's colour."""
    picture = texture()
    maps = layer(torch.full_like(picture, 0.4))
    frames = footage(picture, spot)
    refine(maps, SIZE)
    explainer = Explainer([maps], no_objects(), lambda: iter(frames), SIZE)
    psnr = solve([maps], explainer, FRAMES, SIZE, lambda done: None)
    assert min(psnr) > 36
    y, x = torch.meshgrid(torch.arange(20, 90, 7.0), torch.arange(50, 150, 7.0), indexing="ij")
    texels = torch.stack([x, y], -1)
    found, true = [], []
    for t in range(FRAMES):
        found.append(maps.light(t, texels).log())
        true.append(spot(texels - torch.tensor([8 + PAN * t, 8.0]), t).log())
    found, true = (torch.stack(values) - torch.stack(values).mean(0) for values in (found, true))
    assert 0.9 < float((true * found).sum() / true.square().sum()) < 1.05


def test_a_texture_that_lies_beside_its_place_makes_no_light() -> None:
    picture = texture()
    frames = footage(picture, lambda xy, t: torch.ones(3, SIZE[1], SIZE[0]))
    found = lit_by_solver(layer(picture, start=0.7), frames)
    assert torch.stack(found).std() < 0.03


def test_what_passes_in_front_is_not_a_light() -> None:
    """A saturated post, where the texture is something else."""
    picture = texture()
    frames = footage(picture, lambda xy, t: torch.ones(3, SIZE[1], SIZE[0]))
    for t, frame in enumerate(frames):
        frame[:, 20 + 14 * t : 28 + 14 * t] = (10, 120, 240)
    found = lit_by_solver(layer(picture), frames)
    for t, light in enumerate(found):
        tint = light - light.mean(0)
        assert tint.abs().max() <= LARGEST_TINT + 0.01
        away = torch.cat([light[:, :, : max(0, 20 + 14 * t - 24)], light[:, :, 28 + 14 * t + 24 :]], 2)
        assert away.abs().mean() < 0.03


def test_a_clip_without_light_stays_without() -> None:
    picture = texture()
    frames = footage(picture, lambda xy, t: torch.ones(3, SIZE[1], SIZE[0]))
    assert torch.stack(lit_by_solver(layer(picture), frames)).abs().max() < 0.02


def test_moments_after_a_change_are_those_of_the_changed_light() -> None:
    picture = texture()
    maps = layer(picture)
    refine(maps, SIZE)
    frames = footage(picture, lambda xy, t: torch.full((3, SIZE[1], SIZE[0]), 1.05))
    explainer = Explainer([maps], no_objects(), lambda: iter(frames), SIZE)
    first = next(explainer.frames())
    before = gather(maps, first, 0, 2)
    change = torch.full_like(before.pull, 0.1)
    maps.lighting[0] *= 1.1
    again = gather(maps, explainer.again(first), 0, 2)
    after = before.after(change)
    for name in ("energy", "across", "down", "pull", "error"):
        new, old = getattr(again, name), getattr(after, name)
        # Weights follow the residual, which the sums cannot know.
        assert (new - old).norm() < 0.03 * new.norm(), name


def test_pooling_keeps_sums() -> None:
    planes = torch.rand(19, 13, 10)
    torch.testing.assert_close(Moments(planes).pooled(4).planes.sum((1, 2)), planes.sum((1, 2)))


@pytest.mark.parametrize("sigma", [1.0, 3.0, 7.0])
def test_blur_keeps_what_lies_inside(sigma: float) -> None:
    spike = torch.zeros(1, 81, 97)
    spike[0, 40, 48] = 1
    smooth = blur(spike, sigma)[0]
    assert smooth.sum() == pytest.approx(1, abs=2e-3)
    y = torch.arange(81.0) - 40
    assert float((smooth.sum(1) * y**2).sum().sqrt()) == pytest.approx(sigma, rel=0.08)


def test_a_refined_grid_says_the_same() -> None:
    maps = layer(texture())
    maps.lighting = torch.rand(FRAMES, 4, 4, 3) + 0.5
    nodes = grid_nodes(CANVAS, 4, 4, torch.device("cpu")).view(1, 4, 4, 2)
    before = maps.light(2, nodes[0])
    refine(maps, SIZE)
    columns = maps.lighting.shape[2]
    assert CANVAS[0] / (columns - 1) == pytest.approx(spacing_pixels(SIZE), rel=0.05)
    # Between the new nodes it is bilinear again.
    assert (between_nodes(maps.lighting[2][None], nodes, CANVAS)[0] - before).abs().max() < 0.06


def test_larger_footage_has_no_more_nodes() -> None:
    assert spacing_pixels((1920, 1080)) == 2 * spacing_pixels((960, 540)) == 2 * spacing_pixels((320, 180))
