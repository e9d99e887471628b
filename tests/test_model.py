from itertools import pairwise

import numpy as np
import pytest
import torch
from clips import clip_from_truth, small_synthetic
from hypothesis import given
from hypothesis import strategies as st

from layerloom.core.geometry import pixel_centres, transform_points
from layerloom.model.canvas import Canvas, plan_canvases, plan_zone
from layerloom.model.encoding import grid_resolutions
from layerloom.model.field import LayerSample, composite, composite_alpha
from layerloom.train.settings import TrainSettings, settings_for
from layerloom.train.trainer import Trainer


def tiny_settings(steps: int = 4) -> TrainSettings:
    return TrainSettings(steps, 8, field=settings_for("draft", "cpu").field)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4))
def test_composited_alphas_sum_to_one(values: list[float]) -> None:
    own = torch.tensor(values, dtype=torch.float64)[:, None, None]
    alphas = composite_alpha(own)
    assert alphas.shape[0] == len(values) + 1
    assert torch.allclose(alphas.sum(0), torch.ones(1, 1, dtype=torch.float64))
    assert float(alphas.min()) >= 0


def test_front_object_hides_those_behind() -> None:
    alphas = composite_alpha(torch.tensor([1.0, 1.0])[:, None, None])
    assert alphas.flatten().tolist() == [1.0, 0.0, 0.0]


def test_composite_is_the_papers_formula() -> None:
    generator = torch.Generator().manual_seed(0)
    texture, lighting = torch.rand(2, 2, 5, 7, 3, generator=generator)
    alpha = composite_alpha(torch.rand(1, 5, 7, generator=generator))
    blank = torch.zeros(2, 5, 7, 2)
    expected = sum(alpha[k, ..., None] * texture[k] * lighting[k] for k in range(2))
    assert torch.allclose(composite(LayerSample(blank, blank, blank, texture, lighting, alpha)), expected)  # pyright: ignore


def test_grid_cells_are_square_and_get_finer() -> None:
    grids = grid_resolutions((320.0, 180.0, 24.0), (64.0, 64.0, 24.0), (2.0, 2.0, 1.0), 6)
    assert grids[0] == (5, 3, 1)
    assert grids[-1] == (160, 90, 24)
    assert all(a <= b for coarse, fine in pairwise(grids) for a, b in zip(coarse, fine, strict=True))


def test_canvases_hold_what_their_layers_show() -> None:
    truth = small_synthetic()
    clip = clip_from_truth(truth)
    canvases = plan_canvases(clip)
    xy = pixel_centres(clip.size)
    for canvas, alpha in zip(canvases, truth.alpha, strict=True):
        for matrix, mask in zip(canvas.motion, alpha > 0.9, strict=True):
            uv = transform_points(matrix, xy[mask].astype(np.float64))
            inside = (uv > 0) & (uv < canvas.size)
            assert inside.all(1).mean() > 0.98


def test_field_starts_at_the_motion_prior_with_no_light_and_the_given_mask() -> None:
    truth = small_synthetic(objects=2)
    clip = clip_from_truth(truth)
    trainer = Trainer(clip, tiny_settings(), torch.device("cpu"))
    xy = torch.from_numpy(pixel_centres(clip.size)).view(1, -1, 2)
    with torch.no_grad():
        sample = trainer.field(xy, torch.tensor([2]), False)
    assert torch.equal(sample.uv, sample.uv_start)
    assert torch.equal(sample.lighting, torch.ones_like(sample.lighting))
    for index in range(2):
        learned = sample.alpha[index, 0].view(clip.size[1], clip.size[0]).numpy() > 0.5
        given = truth.masks[index, 2] > 127
        assert (learned & given).sum() / (learned | given).sum() > 0.97


@pytest.mark.parametrize("objects", [1, 2])
def test_light_never_bends_the_mapping(objects: int) -> None:
    trainer = Trainer(clip_from_truth(small_synthetic(objects)), tiny_settings(), torch.device("cpu"))
    xy = torch.rand(2, 8, 2) * 40
    uv, _ = trainer.field.layer(0).mapping(xy, torch.tensor([0, 3]))
    trainer.field.layer(0).lighting(uv, torch.tensor([0, 3])).sum().backward()
    assert trainer.field.layer(0).offset.table.grad is None
    assert trainer.field.layer(0).log_lighting.table.grad is not None


def test_the_zone_is_where_objects_pass_on_the_background() -> None:
    coverage = np.zeros((1, 2, 96, 160), np.uint8)
    coverage[0, 0, 40:56, 40:56] = 255
    shifted = np.array([[1.0, 0, 80], [0, 1, 0], [0, 0, 1]])
    zone = plan_zone(coverage, Canvas((240, 96), np.stack([np.eye(3), shifted])))
    coverage[0, 1, 40:56, 40:56] = 255
    moved = plan_zone(coverage, Canvas((240, 96), np.stack([np.eye(3), shifted])))
    assert zone[48 // 8, 48 // 8] == 1 and zone[48 // 8, 128 // 8] == 0
    assert moved[48 // 8, 48 // 8] == 1 and moved[48 // 8, 128 // 8] == 1
    assert zone[0].max() == 0 and zone[48 // 8, 88 // 8] == 0
