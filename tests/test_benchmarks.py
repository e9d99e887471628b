"""What the speed benchmark counts and makes up: clips whose flow is true, bounds of known work, honest spreads."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from layerloom.ops.hash_encode.layout import GridLayout

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

from timing import bounds, figures, steps
from timing.clips import moving_discs


def test_flow_and_motion_of_a_made_up_clip_are_true():
    clip = moving_discs((160, 96), 10, 2)
    assert clip.layer_names == ("disc1", "disc2", "background")
    x, y = np.meshgrid(np.arange(160, dtype=np.float32), np.arange(96, dtype=np.float32))
    seen = clip.frames.astype(np.float32)
    for field in clip.flow.fields:
        vectors = field.forward[1].astype(np.float32)
        brought = cv2.remap(seen[1 + field.step], x + vectors[..., 0], y + vectors[..., 1], cv2.INTER_LINEAR)
        wrong = np.abs(brought - seen[1]).max(-1)[12:-12, 30:-30]
        assert np.median(wrong) == 0 and (wrong > 2).mean() < 0.1 * field.step**0.5  # but where discs hide things
    centres = [np.argwhere(mask).mean(0)[::-1] + 0.5 for mask in clip.masks.coverage[0, [2, 6]]]
    on_reference = [(clip.motion[0, t] @ [*centre, 1])[:2] for t, centre in zip((2, 6), centres, strict=True)]
    assert np.allclose(*on_reference, atol=1.0)


def test_a_tile_needs_each_entry_once():
    layout = GridLayout(((4, 4), (8, 8)), 2**10)
    same = torch.full((64, 2), 0.3)
    assert bounds.entries_per_tile(same, layout) == 2 * 4
    both = torch.cat([same, same])
    assert bounds.entries_per_tile(both, layout) == 2 * 2 * 4
    everywhere = (torch.cartesian_prod(torch.arange(8), torch.arange(8)) + 0.5) / 8
    assert bounds.entries_per_tile(everywhere, layout) == 5 * 5 + 9 * 9


def test_a_larger_step_has_a_larger_bound(monkeypatch):
    monkeypatch.setattr(bounds, "random_access_rates", lambda: (1e6, 1e6))
    monkeypatch.setattr(bounds, "copy_and_product_rates", lambda: (1e9, 1e12))
    clip = moving_discs((96, 64), 4, 1)
    small, large = (bounds.step_bound(steps.ready_trainer(clip, "cpu", tiles)) for tiles in (16, 64))
    assert small["Adam"] == large["Adam"] > 0
    assert 2.5 < large["table adds"] / small["table adds"] < 5
    assert large["table reads"] > large["table adds"] and large["products"] == pytest.approx(4 * small["products"])
    assert large["bound"] == pytest.approx(large["table reads"] + large["table adds"] + large["Adam"])


def test_the_checked_tiles_stay_the_same():
    trainer = steps.ready_trainer(moving_discs((96, 64), 4, 1), "cpu", 16)
    before = steps.psnr(trainer)
    assert steps.psnr(trainer) == before
    steps.take_steps(trainer, 8)
    assert steps.psnr(trainer) > before


def test_spreads():
    few = figures.figure("a", "b", [3.0, 1.0, 2.0], "s")
    assert (few.median, few.low, few.high, few.repeats) == (2.0, 1.0, 3.0, 3)
    many = figures.figure("a", "b", [float(i) for i in range(101)], "s")
    assert many.median == 50 and many.low == pytest.approx(10, abs=1) and many.high == pytest.approx(90, abs=1)
