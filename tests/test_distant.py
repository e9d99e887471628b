"""Flow between far frames and its refinement, against synthetic truth."""

import cv2
import numpy as np
import pytest
import torch

from layerloom.data.clip import FlowField, FlowFields, Masks
from layerloom.prepare.flow.compute import compute_flow, pair_matcher
from layerloom.prepare.flow.long_range import distant_flow
from layerloom.prepare.flow.refine import refine_flow
from layerloom.prepare.motion import estimate_motion
from layerloom.synthetic.clip import SyntheticClip, make_clip
from layerloom.synthetic.scene import Conditions

STEP = 10


@pytest.fixture(scope="module")
def clip() -> SyntheticClip:
    return make_clip((192, 108), 14, seed=3, conditions=Conditions(camera=2.0))


@pytest.fixture(scope="module")
def masks(clip: SyntheticClip) -> Masks:
    coverage = np.round(255 * clip.alpha[:-1]).astype(np.uint8)
    return Masks(clip.names[:-1], coverage, np.full_like(coverage, 255))


def true_flow(clip: SyntheticClip, layer: int, frame: int, other: int) -> np.ndarray:
    height, width = clip.frames.shape[1:3]
    xy = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2) + 0.5
    return (clip.find_uv(layer, clip.uv_at(layer, xy, frame), other) - xy).reshape(height, width, 2)


def distant_field(clip: SyntheticClip, masks: Masks, motion: np.ndarray) -> FlowField:
    fields = FlowFields.empty((STEP, 32), len(clip.frames), clip.size).fields  # 32 does not fit into the clip
    distant_flow(clip.frames, masks, motion, fields, pair_matcher())
    (field,) = fields
    return field


def test_far_frames_are_matched_as_exactly_as_near_ones(clip: SyntheticClip, masks: Masks) -> None:
    near = compute_flow(clip.frames, (1, 2, 4))
    motion = estimate_motion(near, masks)
    field = distant_field(clip, masks, motion)
    assert field.step == STEP and len(field.forward) == len(clip.frames) - STEP
    for start, (flows, confidences) in (
        (0, (field.forward, field.forward_confidence)),
        (STEP, (field.backward, field.backward_confidence)),
    ):
        for layer in range(len(clip.names)):
            error = np.linalg.norm(flows[0] - true_flow(clip, layer, start, STEP - start), axis=-1)
            sure = (confidences[0] > 128) & (clip.alpha[layer, start] > 0.98)
            assert sure.sum() > 0.3 * (clip.alpha[layer, start] > 0.98).sum()
            assert np.median(error[sure]) < 0.2


def test_what_leaves_the_frame_or_is_on_an_outline_has_no_confidence(clip: SyntheticClip, masks: Masks) -> None:
    motion = estimate_motion(compute_flow(clip.frames, (1, 2, 4)), masks)
    field = distant_field(clip, masks, motion)
    width, height = clip.size
    end = true_flow(clip, len(clip.names) - 1, 0, STEP)
    end = end + np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1)
    outside = ((end < -2) | (end > np.array([width + 1, height + 1]))).any(-1) & (clip.alpha[-1, 0] > 0.98)
    assert outside.sum() > 100
    assert (field.forward_confidence[0][outside] < 10).mean() > 0.95


def test_a_layer_that_motion_takes_to_infinity_has_no_flow(clip: SyntheticClip, masks: Masks) -> None:
    motion = np.tile(np.eye(3), (len(clip.names), len(clip.frames), 1, 1))
    motion[-1, STEP:, 2, 0] = -1 / 90
    field = distant_field(clip, masks, motion)
    assert np.isfinite(field.forward).all() and np.isfinite(field.backward).all()


def test_fields_may_be_finer_than_what_is_matched(
    clip: SyntheticClip, masks: Masks, monkeypatch: pytest.MonkeyPatch
) -> None:
    motion = estimate_motion(compute_flow(clip.frames, (1, 2, 4)), masks)
    monkeypatch.setattr("layerloom.prepare.flow.long_range.FIELD_LONG_EDGE", clip.size[0] // 2)
    field = distant_field(clip, masks, motion)
    background = len(clip.names) - 1
    sure = (field.forward_confidence[0] > 200) & (clip.alpha[background, 0] > 0.98)
    error = np.linalg.norm(field.forward[0] - true_flow(clip, background, 0, STEP), axis=-1)
    assert field.size == clip.size and sure.any() and np.median(error[sure]) < 0.3


def test_refinement_finds_a_fraction_of_a_pixel_under_another_light() -> None:
    rng = np.random.default_rng(0)
    picture = cv2.GaussianBlur(rng.random((120, 160)).astype(np.float32), (0, 0), 2.0)
    picture = (picture - picture.min()) / np.ptp(picture)
    shift = np.array([[1, 0, 0.37], [0, 1, -0.61]])
    moved = cv2.warpAffine(picture, shift, (160, 120), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    lit = 0.7 * moved + 0.05
    first, second = (torch.from_numpy(np.ascontiguousarray(image))[None, None] for image in (picture, lit))
    found = refine_flow(first, second, torch.zeros(1, 2, 120, 160))[0, :, 15:-15, 15:-15]
    error = (found - torch.tensor([0.37, -0.61]).view(2, 1, 1)).norm(dim=0)
    assert error.median() < 0.06 and error.quantile(0.9) < 0.1


def test_refinement_leaves_flow_where_nothing_can_be_held_on_to() -> None:
    flat = torch.full((1, 1, 40, 50), 0.5)
    flow = torch.full((1, 2, 40, 50), 1.25)
    assert torch.allclose(refine_flow(flat, flat, flow), flow, atol=1e-3)
