"""Motion against known motion: exact, noisy and contaminated flow, hidden frames, pans, and the synthetic clip."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from layerloom.core.geometry import pixel_centres, transform_points
from layerloom.data.clip import FlowField, Masks
from layerloom.prepare.bundle import _solve
from layerloom.prepare.flow.compute import compute_flow
from layerloom.prepare.motion import estimate_motion
from layerloom.synthetic.clip import make_clip

SIZE = (96, 64)


def flow_of(motion, noise=0.0, outliers=0.0, steps=(1, 2, 4, 8), seed=0):
    """Flow fields of one plane for which motion[t] takes frame t to the plane, spoiled as asked, all fully trusted."""
    rng = np.random.default_rng(seed)
    grid = pixel_centres(SIZE).astype(float)

    def way(first, last):
        vectors = transform_points(np.linalg.inv(motion[last]) @ motion[first], grid) - grid
        vectors += noise * rng.normal(size=vectors.shape)
        wrong = rng.random(vectors.shape[:2]) < outliers
        vectors[wrong] += rng.uniform(-20, 20, (wrong.sum(), 2))
        return vectors.astype(np.float16)

    fields = []
    for step in (s for s in steps if s < len(motion)):
        forward = np.stack([way(t, t + step) for t in range(len(motion) - step)])
        backward = np.stack([way(t + step, t) for t in range(len(motion) - step)])
        sure = np.full(forward.shape[:3], 255, np.uint8)
        fields.append(FlowField(step, forward, backward, sure, sure))
    return tuple(fields)


def masks_of(*coverage):
    stacked = np.stack(coverage) if coverage else np.zeros((0, 1, 1, 1), np.uint8)
    return Masks(tuple(f"object{i}" for i in range(len(coverage))), stacked, np.full_like(stacked, 255))


def no_objects(frames):
    return Masks(
        (), np.zeros((0, frames, SIZE[1], SIZE[0]), np.uint8), np.zeros((0, frames, SIZE[1], SIZE[0]), np.uint8)
    )


def camera(frames, pan=1.5, zoom=0.01, turn=0.01, tilt=0.0):
    """Matrices from frame pixels to the middle frame's, about the picture's centre."""
    centre = np.array([[1, 0, SIZE[0] / 2], [0, 1, SIZE[1] / 2], [0, 0, 1.0]])
    matrices = []
    for t in np.arange(frames) - frames // 2:
        scale, angle = 1 + zoom * t, turn * t
        matrix = np.array(
            [
                [scale * np.cos(angle), -scale * np.sin(angle), pan * t],
                [scale * np.sin(angle), scale * np.cos(angle), -0.3 * pan * t],
                [tilt * t, 0, 1],
            ]
        )
        matrices.append(centre @ matrix @ np.linalg.inv(centre))
    return np.stack(matrices)


def worst_error(found, truth):
    """Pixels of the reference frame, over the frames' pixels, after moving the truth to the found reference frame."""
    reference = int(np.argmin(np.abs(found - np.eye(3)).sum((1, 2))))
    assert np.allclose(found[reference], np.eye(3), atol=1e-9)
    truth = np.linalg.inv(truth[reference]) @ truth
    grid = pixel_centres(SIZE).astype(float)[::8, ::8]
    return max(
        np.abs(transform_points(f, grid) - transform_points(m, grid)).max() for f, m in zip(found, truth, strict=True)
    )


def test_exact_flow_gives_the_homography():
    truth = camera(12, tilt=2e-4)
    (found,) = estimate_motion(flow_of(truth), no_objects(12))
    assert worst_error(found, truth) < 0.1


def test_outliers_do_not_matter():
    truth = camera(10)
    (found,) = estimate_motion(flow_of(truth, noise=0.1, outliers=0.4), no_objects(10))
    assert worst_error(found, truth) < 0.4


def test_noise_neither_drifts_nor_shrinks():
    truth = np.tile(np.eye(3), (60, 1, 1))
    (found,) = estimate_motion(flow_of(truth, noise=1.0), no_objects(60))
    assert np.abs(np.linalg.det(found) - 1).max() < 0.02
    assert worst_error(found, truth) < 1.0


def test_flow_of_another_size_is_in_training_pixels():
    truth = camera(6)
    size = (2 * SIZE[0], 2 * SIZE[1])
    empty = np.zeros((0, 6, size[1], size[0]), np.uint8)
    (found,) = estimate_motion(flow_of(truth), Masks((), empty, empty))
    double = np.diag([2.0, 2.0, 1.0])
    assert worst_error(np.linalg.inv(double) @ found @ double, truth) < 0.1


def test_an_object_moves_by_the_flow_inside_its_mask():
    frames = 9
    background, item = camera(frames), camera(frames, pan=-2.0, turn=-0.02, zoom=0.0)
    fields, box = [], np.zeros((frames, SIZE[1], SIZE[0]), np.uint8)
    for t in range(frames):
        centre = transform_points(np.linalg.inv(item[t]), np.array([[48.0, 32.0]]))
        x, y = (int(c) for c in centre[0])
        box[t, y - 10 : y + 10, x - 12 : x + 12] = 255
    for behind, front in zip(flow_of(background), flow_of(item), strict=True):
        inside = box[: frames - behind.step, ..., None] > 0, box[behind.step :, ..., None] > 0
        forward = np.where(inside[0], front.forward, behind.forward)
        backward = np.where(inside[1], front.backward, behind.backward)
        fields.append(FlowField(behind.step, forward, backward, behind.forward_confidence, behind.backward_confidence))
    found = estimate_motion(fields, masks_of(box))
    assert worst_error(found[0], item) < 0.5
    assert worst_error(found[1], background) < 0.3


def test_hidden_frames_get_the_motion_between_their_neighbours():
    frames = 14
    truth = np.tile(np.eye(3), (frames, 1, 1))
    truth[:, 0, 2] = -2.0 * np.arange(frames)
    box = np.zeros((frames, SIZE[1], SIZE[0]), np.uint8)
    for t in (*range(2, 6), *range(9, 12)):
        box[t, 20:44, 20 + 2 * t : 44 + 2 * t] = 255
    found = estimate_motion(flow_of(truth), masks_of(box))[0]
    position = np.linalg.inv(found)[:, 0, 2]
    assert np.allclose(np.diff(position)[2:11], 2.0, atol=0.05)
    assert np.allclose(np.diff(position)[[0, 1, 11, 12]], 0.0, atol=1e-9)


def test_an_object_that_comes_back_after_long_keeps_its_size():
    frames = 30
    box = np.zeros((frames, SIZE[1], SIZE[0]), np.uint8)
    box[:8, 20:44, 10:34] = 255
    box[22:, 20:44, 60:84] = 255
    found = estimate_motion(flow_of(np.tile(np.eye(3), (frames, 1, 1))), masks_of(box))[0]
    there, back = found[2], found[25]
    assert np.allclose(np.linalg.inv(there) @ back, [[1, 0, -50], [0, 1, 0], [0, 0, 1]], atol=1e-3)


def test_a_layer_that_is_never_seen_rests():
    truth = camera(5)
    found = estimate_motion(flow_of(truth), masks_of(np.zeros((5, SIZE[1], SIZE[0]), np.uint8)))
    assert (found[0] == np.eye(3)).all()
    assert worst_error(found[1], truth) < 0.1


def test_a_camera_that_turns_far_does_not_blow_up():
    focal, truth = 80.0, []
    intrinsics = np.array([[focal, 0, SIZE[0] / 2], [0, focal, SIZE[1] / 2], [0, 0, 1]])
    for angle in np.linspace(-0.95, 0.95, 25):
        rotation = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
        truth.append(intrinsics @ rotation @ np.linalg.inv(intrinsics))
    (found,) = estimate_motion(flow_of(np.stack(truth)), no_objects(25))
    corners = np.array([[[0.0, 0.0], [SIZE[0], 0.0], [0.0, SIZE[1]], SIZE]])
    assert np.abs(transform_points(np.stack(truth)[:, None], corners)).max() > 10 * SIZE[0]
    assert np.abs(transform_points(found[:, None], corners)).max() < 6 * SIZE[0]


def test_a_large_pan_is_followed_through_dis():
    rng = np.random.default_rng(3)
    picture = sum(
        cv2.resize(rng.random((n, 3 * n, 3), np.float32), (700, 120), interpolation=cv2.INTER_CUBIC)
        for n in (5, 12, 40)
    )
    picture = np.clip(80 * picture, 0, 255).astype(np.uint8)
    frames = np.stack([picture[:, 40 * t : 40 * t + 200] for t in range(12)])
    empty = np.zeros((0, 12, 120, 200), np.uint8)
    (found,) = estimate_motion(compute_flow(frames), Masks((), empty, empty))
    grid = pixel_centres((200, 120))[::20, ::20].astype(float)
    for t in range(12):
        reference = int(np.argmin(np.abs(found - np.eye(3)).sum((1, 2))))
        wrong = transform_points(found[t], grid) - grid - np.array([40.0 * (t - reference), 0])
        assert np.abs(wrong).max() < 1.0


def test_the_synthetic_background_is_carried_to_its_true_place():
    clip = make_clip(size=(256, 144), frames=12)
    masks = Masks(clip.names[: len(clip.masks)], clip.masks, np.full_like(clip.masks, 255))
    motion = estimate_motion(compute_flow(clip.frames), masks)
    for layer, limit_pixels in ((0, 4.0), (1, 0.3)):
        reference = int(np.argmin(np.abs(motion[layer] - np.eye(3)).sum((1, 2))))
        for t in range(0, 12, 3):
            xy = pixel_centres(clip.size)[clip.alpha[layer, t] > 0.9][::29].astype(float)
            true = clip.find_uv(layer, clip.uv_at(layer, xy, t), reference)
            assert np.median(np.linalg.norm(transform_points(motion[layer, t], xy) - true, axis=-1)) < limit_pixels


@settings(max_examples=20, deadline=None)
@given(st.integers(2, 9), st.integers(1, 4), st.sampled_from([6, 8]), st.integers(0, 1000))
def test_all_frames_are_updated_as_least_squares_would(frames, reach, freedom, seed):
    """Against the dense solution, of links that reach several frames either way."""
    rng = np.random.default_rng(seed)
    pairs = [(t, s) for t in range(frames) for s in range(frames) if 0 < abs(t - s) <= reach]
    jacobians, errors = rng.normal(size=(len(pairs), 20, freedom)), rng.normal(size=(len(pairs), 20))
    reference = int(rng.integers(frames))
    rows = np.zeros((len(pairs), 20, frames, freedom))
    for row, jacobian, (first, last) in zip(rows, jacobians, pairs, strict=True):
        row[:, first], row[:, last] = jacobian, -jacobian
    free = np.delete(rows, reference, 2).reshape(len(pairs) * 20, -1)
    dense = np.insert(np.linalg.lstsq(free, -errors.ravel())[0].reshape(-1, freedom), reference, 0, 0)
    normal = jacobians.transpose(0, 2, 1) @ jacobians
    gradient = np.einsum("lnf,ln->lf", jacobians, errors)
    first, last = np.array(pairs).T
    found = _solve(normal, gradient, (first, last), reference, frames).reshape(frames, 9)
    np.testing.assert_allclose(found[:, :freedom], dense, atol=1e-4)
    assert not found[:, freedom:].any()


@pytest.mark.parametrize("frames", [2, 3])
def test_short_clips(frames):
    truth = camera(frames)
    (found,) = estimate_motion(flow_of(truth), no_objects(frames))
    assert worst_error(found, truth) < 0.1
