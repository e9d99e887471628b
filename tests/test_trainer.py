from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import clip_from_truth, small_synthetic
from test_model import tiny_settings

from layerloom.bake.bake import bake
from layerloom.data.clip import FlowFields, Masks
from layerloom.model.field import ALPHA_START_LOGIT
from layerloom.train.sampling import Sampler, alpha_start
from layerloom.train.settings import TILE, TrainSettings, settings_for
from layerloom.train.trainer import Trainer


def sampler_of(objects: int = 1) -> tuple[Sampler, np.ndarray]:
    clip = clip_from_truth(small_synthetic(objects, size=(200, 120)))
    start = alpha_start(clip.masks)
    return Sampler(clip, start, 64, 0.5), start


def test_batches_show_what_the_clip_shows() -> None:
    truth = small_synthetic(size=(200, 120))
    clip = clip_from_truth(truth)
    sampler = Sampler(clip, alpha_start(clip.masks), 64, 0.5)
    for batch in sampler.read(sampler.draw()):
        row, column = batch.xy[..., 1].long(), batch.xy[..., 0].long()
        seen = torch.from_numpy(clip.frames)[batch.frame[:, None], row, column].float() / 255
        assert torch.equal(seen, batch.colour)
        tile = batch.xy.view(-1, TILE, TILE, 2)
        assert torch.equal(tile[:, :, 1:, 0] - tile[:, :, :-1, 0], torch.ones(len(tile), TILE, TILE - 1))
        assert torch.equal(tile[:, 1:, :, 1] - tile[:, :-1, :, 1], torch.ones(len(tile), TILE - 1, TILE))


def test_alpha_starts_at_the_share_that_trusted_masks_say() -> None:
    shares = np.array([30, 77, 128, 200, 240], np.uint8)
    coverage = np.repeat(shares, 20)[None, None, None].repeat(20, 2)
    log_odds = (alpha_start(Masks(("soft",), coverage, np.full_like(coverage, 255))) - 128.0) * (
        ALPHA_START_LOGIT / 127
    )
    assert log_odds.shape == coverage.shape
    assert 1 / (1 + np.exp(-log_odds[0, 0, 10, 10::20])) == pytest.approx(shares / 255, abs=0.01)


def test_background_tiles_never_touch_an_objects_support() -> None:
    sampler, start = sampler_of()
    for _ in range(20):
        for batch in sampler.read(sampler.draw()):
            if batch.background_only:
                row, column = batch.xy[..., 1].long().numpy(), batch.xy[..., 0].long().numpy()
                assert not start[:, batch.frame[:, None].numpy(), row, column].any()


def test_partners_follow_the_flow_in_pixels_of_the_frame() -> None:
    """A flow field of half the size that says "2 to the right": 4 pixels of the frame."""
    clip = clip_from_truth(small_synthetic(size=(200, 120)))
    flow = FlowFields.empty([1], len(clip.frames), (100, 60))
    flow.vectors[:, 0, ..., 0], flow.vectors[:, 1, ..., 0] = 2, -2
    flow.confidence[:] = 255
    clip = replace(clip, flow=flow)
    sampler = Sampler(clip, alpha_start(clip.masks), 64, 0.5)
    for batch in sampler.read(sampler.draw()):
        exists = batch.partner_confidence[:, 0] > 0
        step = (batch.partner_frame - batch.frame)[exists]
        assert set(step.tolist()) <= {-1, 1}
        source = batch.xy[:, [0]]
        assert torch.allclose((batch.partner_xy[:, [0]] - source)[exists, 0, 0], 4.0 * step)


def test_training_learns_the_clip_and_the_baked_maps_say_the_same() -> None:
    torch.manual_seed(0)
    truth = small_synthetic(size=(96, 64))
    clip = clip_from_truth(truth)
    settings = TrainSettings(220, 48, field=settings_for("draft", "cpu").field)
    trainer = Trainer(clip, settings, torch.device("cpu"))
    last = list(trainer.run())[-1]
    assert last.psnr > 26
    layers, psnr = bake(trainer.field, clip, lambda: iter(clip.frames), torch.device("cpu"))
    assert [layer.name for layer in layers] == list(clip.layer_names)
    assert np.mean(psnr) > 28
    seen = layers[-1].texture[..., 3] > 0.9
    assert 0.2 < seen.mean() < 1


def test_a_stopped_run_goes_on_where_it_was(tmp_path: Path) -> None:
    clip = clip_from_truth(small_synthetic())
    first = Trainer(clip, tiny_settings(steps=6), torch.device("cpu"))
    list(first.run())
    state = first.state()
    second = Trainer(clip, tiny_settings(steps=8), torch.device("cpu"))
    second.restore(*state)
    assert second.step == 6
    for a, b in zip(first.field.parameters(), second.field.parameters(), strict=True):
        assert torch.equal(a, b)
    assert list(second.run())[-1].step == 8


def test_a_run_that_is_taken_up_again_knows_what_was_gained(tmp_path: Path) -> None:
    clip = clip_from_truth(small_synthetic())
    settings = replace(tiny_settings(steps=40), patience_db=100.0)
    first = Trainer(clip, settings, torch.device("cpu"))
    for _ in range(3):
        first.take_step()
    state = first.state()
    second = Trainer(clip, settings, torch.device("cpu"))
    second.restore(*state)
    assert second.schedule.psnr_db == first.schedule.psnr_db and len(second.schedule.psnr_db) == 3
    assert list(second.run())[-1].step == 4 / settings.rates.decay_from


def test_the_same_seed_gives_the_same_result() -> None:
    clip = clip_from_truth(small_synthetic())
    runs = [list(Trainer(clip, tiny_settings(), torch.device("cpu")).run())[-1].psnr for _ in range(2)]
    assert runs[0] == pytest.approx(runs[1], abs=1e-3)
