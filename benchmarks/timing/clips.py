"""Clips made up for timing: discs that cross a picture under a panning camera, with flow and motion as they are."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from layerloom.core.geometry import Size, fit_long_edge
from layerloom.data.clip import Clip, FlowField, FlowFields, Masks, SourceReference
from layerloom.prepare.flow.compute import FIELD_LONG_EDGE

PAN = (3.0, 1.0)
"""Pixels a frame, as are the discs' own movements."""


def moving_discs(size: Size, frames: int, objects: int) -> Clip:
    """A clip of `objects` discs and a background, ready to be learned."""
    width, height = size
    radius = height / 8
    picture = _picture((width + round(PAN[0] * frames) + 1, height + round(PAN[1] * frames) + 1), seed=0)
    images = np.stack([_window(picture, size, t) for t in range(frames)])
    coverage = np.zeros((objects, frames, height, width), np.uint8)
    movements = np.array([[4 - 2 * index, (-1) ** index] for index in range(objects)], float).reshape(-1, 2)
    starts = np.array([[width * (index + 1) / (objects + 1), height / 2] for index in range(objects)]).reshape(-1, 2)
    skin = _picture((4 * round(radius), 4 * round(radius)), seed=1)
    for index, t in np.ndindex(objects, frames):
        centre = starts[index] + movements[index] * (t - frames / 2)
        cv2.circle(coverage[index, t], tuple(np.round(centre).astype(int).tolist()), round(radius), 255, -1)
        coverage[index, t][coverage[:index, t].any(0)] = 0
        _paint(images[t], coverage[index, t], skin, centre, index)
    masks = Masks(tuple(f"disc{index + 1}" for index in range(objects)), coverage, np.full_like(coverage, 255))
    motions = [*movements, -np.array(PAN)]
    matrices = np.tile(np.eye(3), (objects + 1, frames, 1, 1))
    for index, movement in enumerate(motions):
        matrices[index, :, :2, 2] = -movement * (np.arange(frames)[:, None] - frames // 2)
    flow = tuple(_flow(masks, motions, size, step) for step in (1, 2, 4, 8) if step < frames)
    times = tuple(Fraction(t, 24) for t in range(frames))
    source = SourceReference(Path("moving-discs"), "none", size, 0, frames, Fraction(24), times)
    return Clip(images, masks, FlowFields.of(flow, frames), matrices, source)


def _picture(size: Size, seed: int) -> np.ndarray:
    """Detail at many scales."""
    generator = np.random.default_rng(seed)
    picture = np.full((size[1], size[0], 3), 128, np.float32)
    for cell in (4, 8, 16, 32, 64, 128):
        coarse = generator.normal(0, 18, (size[1] // cell + 2, size[0] // cell + 2, 3)).astype(np.float32)
        picture += cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _window(picture: np.ndarray, size: Size, t: int) -> np.ndarray:
    left, top = round(PAN[0] * t), round(PAN[1] * t)
    return picture[top : top + size[1], left : left + size[0]]


def _paint(image: np.ndarray, mask: np.ndarray, skin: np.ndarray, centre: np.ndarray, index: int) -> None:
    """The disc carries its own picture along."""
    rows, columns = np.nonzero(mask)
    x, y = (np.round(centre).astype(int) - skin.shape[0] // 2).tolist()
    image[rows, columns] = np.roll(skin, index, 2)[
        (rows - y).clip(0, len(skin) - 1), (columns - x).clip(0, len(skin) - 1)
    ]


def _flow(masks: Masks, motions: list[np.ndarray], size: Size, step: int) -> FlowField:
    field_size = fit_long_edge(size, FIELD_LONG_EDGE)
    scale = np.array(field_size) / size
    small = [np.stack([cv2.resize(image, field_size) > 127 for image in mask]) for mask in masks.coverage]
    ways: list[np.ndarray] = []
    for frames, sign in ((slice(None, -step), 1), (slice(step, None), -1)):
        vectors = np.empty((len(masks.coverage[0]) - step, field_size[1], field_size[0], 2), np.float16)
        vectors[:] = sign * step * scale * motions[-1]
        for inside, movement in zip(small, motions, strict=False):
            vectors[inside[frames]] = sign * step * scale * movement
        ways.append(vectors)
    sure = np.full(ways[0].shape[:3], 255, np.uint8)
    return FlowField(step, ways[0], ways[1], sure, sure.copy())
