"""Objects found from motion: against the truth of synthetic clips, and none where only the camera moves."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from layerloom.prepare.discover.objects import discover_masks
from layerloom.prepare.flow.compute import compute_flow
from layerloom.synthetic.clip import make_clip

FRAMES = 10


def noise_image(size: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    octaves = [cv2.resize(rng.random((s, s, 3)), size, interpolation=cv2.INTER_CUBIC) for s in (6, 20, 60)]
    return np.clip(sum(octaves) / 3 * 255, 0, 255).astype(np.uint8)


def panned_scene(discs: list[tuple[float, float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a textured world under a panning camera, and where discs (x, y, speed) move over it."""
    world, skin = noise_image((240, 140), 1), noise_image((160, 90), 2)[..., ::-1] // 2
    frames, truth = [], []
    for t in range(FRAMES):
        frame = world[10:100, 20 + 2 * t : 180 + 2 * t].copy()
        covered = np.zeros((90, 160), np.uint8)
        for x, y, speed in discs:
            disc = cv2.circle(np.zeros_like(covered), (round(x + speed * t), round(y)), 13, 255, -1)
            frame[disc > 0] = np.roll(skin, round(speed * t), axis=1)[disc > 0]
            covered |= disc
        frames.append(frame)
        truth.append(covered)
    return np.stack(frames), np.stack(truth)


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return ((a > 127) & (b > 127)).sum() / ((a > 127) | (b > 127)).sum()


def test_finds_the_object_of_a_synthetic_clip() -> None:
    clip = make_clip((160, 90), frames=FRAMES)
    masks = discover_masks(clip.frames, compute_flow(clip.frames)).masks
    assert masks.names == ("object1",)
    assert overlap(masks.coverage[0], clip.masks[0]) > 0.85
    assert masks.trust.max() <= 160


def test_nothing_moves_against_the_camera() -> None:
    frames, _ = panned_scene([])
    masks = discover_masks(frames, compute_flow(frames)).masks
    assert masks.names == ()
    assert masks.coverage.shape == masks.trust.shape == (0, FRAMES, 90, 160)


def test_a_still_picture_has_no_objects() -> None:
    frames = np.repeat(noise_image((160, 90), 3)[None], FRAMES, axis=0)
    assert discover_masks(frames, compute_flow(frames)).masks.names == ()


def test_objects_apart_are_two() -> None:
    frames, truth = panned_scene([(35, 45, 1.0), (115, 45, 0.0)])
    masks = discover_masks(frames, compute_flow(frames)).masks
    assert masks.names == ("object1", "object2")
    assert overlap(masks.coverage.max(0), truth) > 0.75
    assert not ((masks.coverage[0] > 127) & (masks.coverage[1] > 127)).any()


def test_what_the_objects_explain_is_all_that_moves_in_a_simple_scene() -> None:
    frames, _ = panned_scene([(35, 45, 1.0)])
    assert discover_masks(frames, compute_flow(frames)).explained > 0.9


def test_objects_that_touch_are_one() -> None:
    frames, truth = panned_scene([(50, 45, 1.0), (70, 45, 1.0)])
    masks = discover_masks(frames, compute_flow(frames)).masks
    assert masks.names == ("object1",)
    assert overlap(masks.coverage[0], truth) > 0.75


@pytest.mark.footage
def test_finds_the_car(clips_directory: Path) -> None:
    clip = clips_directory / "car-shadow"
    numbers = range(10)
    frames = np.stack([read(clip / "video_frames" / f"{n:05d}.jpg", (320, 180)) for n in numbers])
    truth = np.stack([read(clip / "masks" / "fg" / f"{n:05d}.png", (320, 180))[..., 0] for n in numbers])
    masks = discover_masks(frames, compute_flow(frames)).masks
    assert overlap(masks.coverage.max(0), truth) > 0.7


def read(path: Path, size: tuple[int, int]) -> np.ndarray:
    return cv2.resize(cv2.imread(str(path))[..., ::-1], size, interpolation=cv2.INTER_AREA)
