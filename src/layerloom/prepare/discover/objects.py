"""Masks where the user gives none: what moves against the camera, departs from the background and looks like it.

    flow ──► evidence of motion ──► background behind it ──► departure from it ─┐
                       │                                                        ├─► likelihood ──► objects ──► outlines
                       ├──► the appearance of what moves and departs ───────────┤
                       └──► what stands out around it ──────────────────────────┘

It works on small frames (WORK_LONG_EDGE); the net for what stands out sees them as large as they come. The sum of the
witnesses is cut where the cut lies on the picture's own edges, neighbours in the picture and along the flow then agree,
and the whole is done once more from what was found.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from layerloom.core.geometry import Size, fit_long_edge, rescale_positions
from layerloom.core.imaging import resize, resize_all
from layerloom.data.clip import FlowField, Masks
from layerloom.prepare.clean_plate import departures
from layerloom.prepare.discover.agreement import agreed, level_on_edges, sigmoid
from layerloom.prepare.discover.appearance import appearance_features, appearance_log_odds
from layerloom.prepare.discover.evidence import motion_evidence
from layerloom.prepare.discover.regions import SMALLEST_SHARE, separate_objects, without_holes
from layerloom.prepare.discover.salience import salience
from layerloom.prepare.discover.witnesses import Testimony
from layerloom.prepare.masks.colours import settle_by_colour
from layerloom.prepare.masks.outlines import signed_distance
from layerloom.prepare.masks.repair import complete_masks

WORK_LONG_EDGE = 320
EVIDENT = 0.25
"""Evidence of motion from which a pixel may be part of an object."""
DISCOVERED_TRUST = 160
DENIES = 4.0
"""Log odds by which the net says that something that moves (a wake, a shadow) is no object."""
NOTHING = -50.0
"""Log odds that no other witness outvotes."""
ERROR_PIXELS = 3.0
"""By which a found outline may be wrong, at the working size."""

Video = UInt8[np.ndarray, "t h w 3"]
Maps = Float32[np.ndarray, "t h w"]


class Discovery(NamedTuple):
    """Found objects, the share (0…1) of what surely moves and departs from the background that lies in them (but for
    what the net surely takes for no object), and how sure each object is: the share of the four witnesses that speak
    for its pixels."""

    masks: Masks
    explained: float
    sureness: tuple[float, ...]


def discover_masks(frames: UInt8[np.ndarray, "t h w 3"], flow: Sequence[FlowField], device: str = "cpu") -> Discovery:
    """Find the objects that move against the camera: `object1`, … (largest first, at most four), or none at all.

    Objects that touch or nearly touch at any time are one. `coverage` has no objects (shape (0, t, h, w)) when nothing
    moves against the camera. Trust is at most 160 of 255, less along outlines and where neighbouring frames disagree.
    """
    size = (frames.shape[2], frames.shape[1])
    work_size = fit_long_edge(size, WORK_LONG_EDGE)
    small = resize_all(frames, work_size)
    objects, explained, sureness = _find_objects(
        frames, small, [resized_field(field, work_size) for field in flow], device
    )
    coverage = np.zeros((len(objects), *frames.shape[:3]), np.uint8)
    if objects:
        distances = [[signed_distance(without_holes(image > 0.5)) for image in mask] for mask in objects]
        shares = settle_by_colour(small, np.array(distances), ERROR_PIXELS, roughness=1.0)
        for index in np.ndindex(shares.shape[:2]):
            coverage[index] = np.round(255 * np.clip(resize(shares[index], size), 0, 1))
    names = tuple(f"object{i + 1}" for i in range(len(objects)))
    found = Masks(names, coverage, np.full_like(coverage, DISCOVERED_TRUST))
    return Discovery(complete_masks(found, frames, flow), explained, sureness)


def resized_field(field: FlowField, size: Size) -> FlowField:
    """Flow of frames that are resized."""

    def vectors(fields: np.ndarray) -> np.ndarray:
        return rescale_positions(resize_all(fields, size), field.size, size).astype(np.float16)

    return FlowField(
        field.step,
        vectors(field.forward),
        vectors(field.backward),
        resize_all(field.forward_confidence, size),
        resize_all(field.backward_confidence, size),
    )


def _find_objects(
    frames: Video, small: Video, flow: Sequence[FlowField], device: str
) -> tuple[list[Maps], float, tuple[float, ...]]:
    """How likely each object is at each pixel, largest object first; the rest as Discovery has it."""
    evidence = motion_evidence(small, flow)
    evident = evidence[evidence > EVIDENT]
    if evident.size < SMALLEST_SHARE * evidence.size:
        return [], 1.0, ()
    moving = (evidence / np.quantile(evident, 0.9)).astype(np.float32)
    features = appearance_features(small)
    testimony = Testimony(moving, *departures(small, np.clip(1.5 * moving, 0, 1), flow))
    score = _appearance(features, *testimony.examples()) + testimony.log_odds()
    standing_out = salience(frames, sigmoid(score - level_on_edges(small, score)), flow, device).log_odds
    likelihood = _agreed(score + standing_out, small, flow)
    testimony = Testimony(moving, *departures(small, likelihood, flow))
    appearance = _appearance(features, likelihood > 0.5, np.abs(2 * likelihood - 1))
    likelihood = _agreed(appearance + testimony.log_odds() + standing_out, small, flow)
    objects = separate_objects(likelihood, flow)
    surely = testimony.surely & (standing_out > -DENIES)
    covered = np.max(objects, 0) > 0.5 if objects else np.zeros_like(surely)
    votes = moving > 0.5, testimony.log_odds() > 0, appearance > 0, standing_out > 0
    sureness = tuple(float(np.mean([vote[mask > 0.5].mean() for vote in votes])) for mask in objects)
    return objects, float((surely & covered).sum() / max(surely.sum(), 1)), sureness


def _appearance(
    features: Float32[np.ndarray, "t h w features"], objects: Bool[np.ndarray, "t h w"], weights: Maps
) -> Maps:
    """Log odds of an object by its look, learned from examples; against one everywhere if there are none."""
    if not (weights[objects].any() and weights[~objects].any()):
        return np.full(objects.shape, NOTHING, np.float32)
    return appearance_log_odds(features, objects, weights)


def _agreed(score: Maps, small: Video, flow: Sequence[FlowField]) -> Maps:
    """0…1, of any object, from the sum of the witnesses."""
    return agreed(score - level_on_edges(small, score), small, flow)
