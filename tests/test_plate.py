"""The background picture behind what moves: departures from it, and from it in shade."""

import cv2
import numpy as np

from layerloom.prepare.clean_plate import departures
from layerloom.prepare.flow.compute import compute_flow

FRAMES = 10


def world() -> np.ndarray:
    """A textured scene, sandy, wider than a frame."""
    rng = np.random.default_rng(1)
    grey = sum(cv2.resize(rng.random((s, 2 * s)), (240, 90), interpolation=cv2.INTER_CUBIC) for s in (5, 14)) / 4 + 0.3
    return np.clip(np.dstack([220 * grey + 30, 190 * grey + 30, 130 * grey + 30]), 0, 255).astype(np.uint8)


def passing_scene(shade: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Frames of a panning camera, and where a disc passes: blue, or the scene's own light times `shade`."""
    frames, discs = [], []
    for t in range(FRAMES):
        frame = world()[:, 3 * t : 160 + 3 * t].copy()
        disc = cv2.circle(np.zeros((90, 160), np.uint8), (30 + 11 * t, 45), 12, 1, -1) > 0
        light = (frame[disc] / 255.0) ** 2.2
        frame[disc] = (20, 40, 160) if shade is None else np.round(255 * (shade * light) ** (1 / 2.2))
        frames.append(frame)
        discs.append(disc)
    return np.stack(frames), np.stack(discs)


def departures_of(frames: np.ndarray, moving: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return departures(frames, moving.astype(np.float32), compute_flow(frames))


def test_an_object_departs_from_the_background_and_nothing_else_does() -> None:
    frames, disc = passing_scene(shade=None)
    departs, shaded = departures_of(frames, disc)
    inner = np.stack([cv2.erode(image.astype(np.uint8), np.ones((5, 5))) > 0 for image in disc])
    outer = np.stack([cv2.dilate(image.astype(np.uint8), np.ones((5, 5))) == 0 for image in disc])
    assert np.quantile(departs[inner], 0.05) > 20
    assert np.quantile(shaded[inner], 0.05) > 15
    assert np.quantile(departs[outer], 0.95) < 3


def test_a_shadow_departs_but_not_from_the_background_in_shade() -> None:
    frames, disc = passing_scene(shade=0.55)
    departs, shaded = departures_of(frames, disc)
    inner = np.stack([cv2.erode(image.astype(np.uint8), np.ones((5, 5))) > 0 for image in disc])
    assert np.median(departs[inner]) > 6
    assert np.median(shaded[inner]) < 0.25 * np.median(departs[inner])


def test_the_background_is_found_though_what_moves_is_not_known() -> None:
    frames, disc = passing_scene(shade=None)
    departs, _ = departures_of(frames, np.zeros_like(disc))
    assert departs[disc].mean() > 10 * departs[~disc].mean()
