"""How soft outlines are is measured where the clip shows it, and only there."""

from dataclasses import dataclass

import cv2
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from layerloom.data.clip import Masks
from layerloom.evaluate.measures import ramp_px
from layerloom.prepare.masks.soft_edges import CELL_PIXELS, _Cells, _Footage, soften  # pyright: ignore[reportPrivateUsage]

WIDTH, HEIGHT, FRAMES, SPEED, RADIUS = 192, 96, 10, 10, 24


@dataclass(frozen=True)
class Scene:
    """A disc that passes before a wall. `alpha` is the truth."""

    frames: np.ndarray
    alpha: np.ndarray
    motion: np.ndarray

    def masks(self) -> Masks:
        coverage = np.where(self.alpha > 0.5, np.uint8(255), np.uint8(0))[None]
        return Masks(("disc",), coverage, np.full_like(coverage, 255))


def noise(shape: tuple[int, ...], seed: int, amplitude: float) -> np.ndarray:
    """Blotches a few pixels wide."""
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return amplitude * 6 * cv2.GaussianBlur(values, (0, 0), 2.0)


def passing_disc(ramp_pixels: float, speed: float = SPEED, shadow: float = 1.0) -> Scene:
    """`shadow`: what a shadow right below the disc, 12 pixels wide and as soft, leaves of the wall's light."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32) + 0.5
    wall = np.array([90, 150, 110], np.float32) + noise((HEIGHT, WIDTH, 3), 0, 20)
    frames, alphas, motion = [], [], np.tile(np.eye(3), (2, FRAMES, 1, 1))
    for frame in range(FRAMES):
        left = WIDTH / 2 + speed * (frame - FRAMES / 2)
        inside = RADIUS - np.hypot(x - left, y - HEIGHT / 2)
        alpha = np.clip(inside / ramp_pixels + 0.5, 0, 1)
        dark = 1 - (1 - shadow) * np.clip((inside + 12) / 6, 0, 1)
        disc = np.array([190, 90, 60], np.float32) + np.roll(noise((HEIGHT, WIDTH, 3), 1, 15), round(speed * frame), 1)
        frames.append(alpha[..., None] * disc + (1 - alpha[..., None]) * wall * dark[..., None])
        alphas.append(alpha)
        motion[0, frame, 0, 2] = -speed * frame
    return Scene(np.rint(frames).clip(0, 255).astype(np.uint8), np.array(alphas, np.float32), motion)


def mean_error(scene: Scene, coverage: np.ndarray) -> float:
    return float(np.abs(coverage[0] / 255 - scene.alpha)[(scene.alpha > 0) & (scene.alpha < 1)].mean())


@pytest.mark.parametrize("ramp_pixels", [5.0, 8.0, 14.0])
def test_soft_outlines_get_ramps_of_their_width(ramp_pixels: float) -> None:
    scene = passing_disc(ramp_pixels)
    hard = scene.masks()
    found = soften(hard, scene.frames, scene.motion)
    widths = [
        np.mean([ramp_px(image) for image in images]) for images in (found.coverage[0] / np.float32(255), scene.alpha)
    ]
    assert widths[0] == pytest.approx(widths[1], rel=0.3)
    assert mean_error(scene, found.coverage) < 0.4 * mean_error(scene, hard.coverage)
    assert ((found.coverage > 127) != (hard.coverage > 127)).mean() < 1e-3
    assert_array_equal(found.trust, hard.trust)


@pytest.mark.parametrize("shadow", [1.0, 0.5])
def test_hard_outlines_stay_hard(shadow: float) -> None:
    scene = passing_disc(1.0, shadow=shadow)
    assert_array_equal(soften(scene.masks(), scene.frames, scene.motion).coverage, scene.masks().coverage)


def test_nothing_is_said_where_the_background_is_never_seen() -> None:
    scene = passing_disc(8.0, speed=0.0)
    assert_array_equal(soften(scene.masks(), scene.frames, scene.motion).coverage, scene.masks().coverage)


def test_masks_that_are_soft_already_stay_as_they_are() -> None:
    scene = passing_disc(14.0)
    soft = np.rint(255 * np.clip((scene.alpha - 0.5) * 2 + 0.5, 0, 1)).astype(np.uint8)[None]
    given = Masks(("disc",), soft, np.full_like(soft, 255))
    assert soften(given, scene.frames, scene.motion) is given


def test_other_objects_keep_their_pixels() -> None:
    scene = passing_disc(8.0)
    mask = scene.masks().coverage[0]
    left, right = mask.copy(), mask.copy()
    for frame in range(FRAMES):
        middle = round(WIDTH / 2 + SPEED * (frame - FRAMES / 2))
        left[frame, :, middle:] = 0
        right[frame, :, :middle] = 0
    coverage = np.stack([left, right])
    halves = Masks(("left", "right"), coverage, np.full_like(coverage, 255))
    motion = np.concatenate([scene.motion[:1], scene.motion])
    found = soften(halves, scene.frames, motion).coverage.astype(int)
    assert found.sum(0).max() <= 255
    assert_array_equal(found.sum(0)[mask.astype(bool)] > 127, True)
    assert (found != coverage).any((1, 2, 3)).all()
    for own, other in ((0, 1), (1, 0)):
        assert (found[own][coverage[other] > 0] == 0).all()


def test_a_frame_without_the_object_and_a_clip_without_objects() -> None:
    scene = passing_disc(8.0)
    masks = scene.masks()
    masks.coverage[0, 3] = 0
    assert not soften(masks, scene.frames, scene.motion).coverage[0, 3].any()
    none = Masks((), np.zeros((0, *scene.alpha.shape), np.uint8), np.zeros((0, *scene.alpha.shape), np.uint8))
    assert soften(none, scene.frames, scene.motion[1:]) is none


def test_an_object_that_grows_takes_no_more_room_than_the_frame() -> None:
    distances = np.full((1, 4, 60, 100), -1.0, np.float32)
    motion = np.stack([np.diag([zoom, zoom, 1.0]) for zoom in (1, 8, 40, 0.1)])
    footage = _Footage(
        np.zeros((4, 60, 100, 3), np.uint8), distances, np.zeros((4, 60, 100), np.uint8), np.stack([motion, motion])
    )
    cells = _Cells.around(footage, 0)
    assert cells.rows * cells.columns < 2 * (60 / CELL_PIXELS + 3) * (100 / CELL_PIXELS + 3)
    corner = cells.position(2, np.array([[[100.0, 60.0]]], np.float32))[0, 0]
    assert (corner <= (cells.columns - 1, cells.rows - 1)).all()
