"""A picture of the background behind what moves, for every frame, and how far the frame departs from it.

Frames from all over the clip are brought into each frame by the background's own motion: its homography, and what is
left of the flow outside of moving things, smoothed, which follows parallax. What most of them show there, leaving out
what moves in them, is the background. A departure from it has the outlines of the objects themselves, unlike flow,
which swells over them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from layerloom.core.geometry import Size, pixel_centres, transform_points
from layerloom.core.imaging import masked_mean, resize, warp
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField, Masks
from layerloom.prepare.flow.dis import dis_flow
from layerloom.prepare.motion import estimate_motion

SAMPLES = 8
"""Frames over the whole clip that are looked at, beside some near ones."""
NEAR_FRAMES = (4, 8)
LEAST_OVERLAP = 0.1
FARTHEST_REST_PIXELS = 8.0
"""What the homography leaves of the flow is at most this; more is an object or a mistake."""
AGREEING_LAB = (1e6, 30.0, 15.0, 8.0)
"""How far samples of the background may be off what is usual, in CIELAB, round after round."""
DARKEST_SHADE = 0.4
"""A shadow leaves at least this share of the light."""

Video = UInt8[np.ndarray, "t h w 3"]
Maps = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]
Colour = Float32[np.ndarray, "h w 3"]


def departures(frames: Video, moving: Maps, flow: Sequence[FlowField]) -> tuple[Maps, Maps]:
    """How far each pixel departs from the background behind it, and how far even if a shadow fell there.

    Distances in CIELAB, forgiving shifts of a pixel. `moving` is 0…1: what to leave out of the background. Both are 0
    where no frame shows it.
    """
    coverage = np.round(255 * np.clip(moving, 0, 1)).astype(np.uint8)[None]
    motion = estimate_motion(flow, Masks(("moving",), coverage, np.full_like(coverage, 255)))[-1]
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))
    still = 1 - np.stack([cv2.dilate(image, disc) for image in np.clip(moving, 0, 1)])
    labs = [_lab(frame.astype(np.float32) / 255) for frame in frames]
    greys = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]

    def departure(t: int) -> tuple[Map, Map]:
        background, support = _clean_plate(t, labs, greys, still, motion)
        visible = np.minimum(support, 1)
        shaded = _shaded(frames[t], background)
        return visible * _distance(labs[t], background), visible * _distance(labs[t], shaded)

    both = list(in_threads(departure, range(len(frames))))
    return np.stack([d for d, _ in both]), np.stack([s for _, s in both])


def _clean_plate(
    t: int,
    labs: Sequence[Colour],
    greys: Sequence[UInt8[np.ndarray, "h w"]],
    still: Maps,
    motion: Float64[np.ndarray, "t 3 3"],
) -> tuple[Colour, Map]:
    """Background colours of frame `t`, and the summed weight of the frames that show them."""
    samples: list[tuple[Colour, Map]] = []
    size = (labs[t].shape[1], labs[t].shape[0])
    centres = pixel_centres(size)
    for other in frames_to_look_at(t, len(labs), NEAR_FRAMES):
        way = np.linalg.inv(motion[other]) @ motion[t]
        position = _target(way, centres)
        if _inside(position, size).mean() >= LEAST_OVERLAP:
            position = _target(way, centres + _rest(position, t, other, greys, still))
            weight = _read(still[other], position) ** 2 * _inside(position, size)
            samples.append((_read(labs[other], position), weight + np.float32(1e-4)))
    if not samples:
        return labs[t], np.zeros_like(still[t])
    return agreed_colour(samples, AGREEING_LAB).colour, np.sum([weight for _, weight in samples], 0)


def frames_to_look_at(t: int, frames: int, near: Sequence[int]) -> list[int]:
    """Frames that may show what frame `t` hides: over the whole clip, and some `near` ones, not the next."""
    chosen = set(np.round(np.linspace(0, frames - 1, SAMPLES)).astype(int).tolist())
    chosen |= {t + sign * distance for distance in near for sign in (-1, 1)}
    apart = min(3, frames // 4)
    return sorted(other for other in chosen if 0 <= other < frames and abs(other - t) >= max(apart, 1))


def _target(way: Float64[np.ndarray, "3 3"], points: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
    """Where the way leads points to, as `warp` counts."""
    return transform_points(way.astype(np.float32), points) - np.float32(0.5)


def _inside(position: Float32[np.ndarray, "h w 2"], size: Size) -> Map:
    x, y = position[..., 0], position[..., 1]
    return ((x >= 0) & (y >= 0) & (x <= size[0] - 1) & (y <= size[1] - 1)).astype(np.float32)


def _read(image: np.ndarray, position: Float32[np.ndarray, "h w 2"]) -> np.ndarray:
    x, y = cv2.split(position)
    return warp(image, x, y)


def _rest(
    position: Float32[np.ndarray, "h w 2"],
    t: int,
    other: int,
    greys: Sequence[UInt8[np.ndarray, "h w"]],
    still: Maps,
) -> Float32[np.ndarray, "h w 2"]:
    """What the homography, which leads to `position`, leaves of the background's motion: flow at half size, smoothed
    over what moves."""
    height, width = greys[t].shape
    half = max(width // 2, 1), max(height // 2, 1)
    flow = dis_flow(resize(greys[t], half), resize(_read(greys[other], position), half), fast=True)
    weight = still[t] * _read(still[other], position) * _inside(position, (width, height))
    weight = resize(weight, half) * (np.hypot(*cv2.split(flow)) < FARTHEST_REST_PIXELS / 2) + np.float32(1e-4)
    (near, near_weight), (far, _) = (masked_mean(flow, weight, sigma) for sigma in (3.0, 12.0))
    share = (near_weight / (near_weight + np.float32(0.1)))[..., None]
    return 2 * resize(far + share * (near - far), (width, height))


class Agreement(NamedTuple):
    """What most samples of each pixel agree on; their mean squared distance from it, and what weight they have left."""

    colour: Colour
    spread: Map
    weight: Map


def agreed_colour(samples: Sequence[tuple[Colour, Map]], scales: Sequence[float]) -> Agreement:
    """A mean of weighted samples in which those that are off count ever less (Geman–McClure, its scale falling).

    The first scale should be beyond all colours. Where nothing has any weight the colour is 0.
    """
    usual = np.zeros_like(samples[0][0])
    spread, weights = np.zeros_like(samples[0][1]), np.zeros_like(samples[0][1])
    for scale in scales:
        total, spread, weights = np.zeros_like(usual), np.zeros_like(spread), np.zeros_like(weights)
        for colour, weight in samples:
            off = colour - usual
            square = cv2.transform(off * off, np.ones((1, 3), np.float32))
            share = weight / np.square(1 + square * np.float32(scale**-2))
            total += share[..., None] * colour
            spread += share * square
            weights += share
        known = np.maximum(weights, np.float32(1e-6))
        usual, spread = total / known[..., None], spread / known
    return Agreement(usual, spread, weights)


def _lab(colour: Colour) -> Colour:
    return cv2.cvtColor(colour, cv2.COLOR_RGB2LAB)


def _distance(colour: Colour, background: Colour) -> Map:
    """From the background's colours within a pixel."""
    box = np.ones((3, 3), np.uint8)
    off = np.maximum(np.maximum(cv2.erode(background, box) - colour, colour - cv2.dilate(background, box)), 0)
    return np.sqrt(np.square(off).sum(-1))


def _shaded(frame: UInt8[np.ndarray, "h w 3"], background: Colour) -> Colour:
    """The background darkened as a shadow would that makes it most like the frame."""
    light = np.clip(cv2.cvtColor(background, cv2.COLOR_LAB2RGB), 0, 1) ** np.float32(2.2)
    visible = (frame.astype(np.float32) / 255) ** np.float32(2.2)
    shade = (light * visible).sum(-1) / np.maximum((light * light).sum(-1), 1e-5)
    return _lab((light * np.clip(shade, DARKEST_SHADE, 1)[..., None]) ** np.float32(1 / 2.2))
