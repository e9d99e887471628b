"""A clip as objects are looked for in it: small frames, and what can be told of them before there is any hint."""

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from layerloom.core.geometry import Size, fit_long_edge
from layerloom.core.imaging import resize, resize_all
from layerloom.data.clip import FlowField
from layerloom.prepare.clean_plate import departures
from layerloom.prepare.discover.appearance import frame_features
from layerloom.prepare.discover.evidence import motion_evidence
from layerloom.prepare.discover.objects import EVIDENT, resized_field
from layerloom.prepare.discover.regions import SMALLEST_SHARE
from layerloom.prepare.discover.witnesses import Testimony
from layerloom.prepare.flow.compute import compute_flow
from layerloom.prepare.flow.links import Link, links_of
from layerloom.prepare.saliency.u2net import saliency

WORK_LONG_EDGE = 480
"""Masks are made at this size."""
EVIDENCE_LONG_EDGE = 320
FLOW_STEPS = (1, 2, 4, 8)
LARGEST_EVIDENCE = 4.0
"""Log odds."""
FEATURE_MARGIN = 24
"""Pixels beyond a window that its features look at."""
DEPARTURE_UNIT = 10.0
"""Distance in CIELAB that is about as much as one unit of the other features."""

Video = UInt8[np.ndarray, "t h w 3"]
Maps = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]
Window = tuple[slice, slice]


class Evidence(NamedTuple):
    """What moves against the camera and departs from the background behind it; small maps, one a frame.

    moving: 1 for what surely moves. departs, shaded: distances in CIELAB from the background, and from it in a shadow.
    """

    moving: Maps
    departs: Maps
    shaded: Maps

    def logit(self, t: int) -> Map:
        """Log odds of frame `t`'s pixels being an object's."""
        (logit,) = Testimony(*(maps[t : t + 1] for maps in self)).log_odds()
        return np.clip(logit, -LARGEST_EVIDENCE, LARGEST_EVIDENCE)

    def features(self, t: int) -> Float32[np.ndarray, "h w 3"]:
        """As a network takes them, about unit variance."""
        far = (self.departs[t] / DEPARTURE_UNIT, self.shaded[t] / DEPARTURE_UNIT)
        return np.stack([self.moving[t], *far], -1).astype(np.float32)


class Footage:
    """Frames of one clip at the working size. Flow and evidence are made when first asked for, once, by one thread."""

    def __init__(self, frames: Video, flow: Sequence[FlowField] | None = None, device: str = "cpu") -> None:
        """flow: of steps 1, 2, …, of any size; computed where it is not given. device: where the network runs."""
        self.work_size: Size = fit_long_edge((frames.shape[2], frames.shape[1]), WORK_LONG_EDGE)
        self.small = resize_all(frames, self.work_size)
        self._flow = None if flow is None else tuple(flow)
        self._evidence: Evidence | None = None
        self._lock = threading.RLock()
        self._device = torch.device(device)

    def __len__(self) -> int:
        return len(self.small)

    @property
    def flow(self) -> tuple[FlowField, ...]:
        """Between the frames; what is computed here is of the working size."""
        with self._lock:
            if self._flow is None:
                self._flow = compute_flow(self.small, FLOW_STEPS)
            return self._flow

    @property
    def evidence(self) -> Evidence:
        """Of all frames, at EVIDENCE_LONG_EDGE."""
        with self._lock:
            if self._evidence is None:
                self._evidence = _find_evidence(self.small, self.flow)
            return self._evidence

    @property
    def known_evidence(self) -> Evidence | None:
        """The evidence if it has been found already; nobody waits for it."""
        return self._evidence

    def links(self, t: int, wanted: Callable[[int], bool]) -> list[Link]:
        """Where the wanted frames show what frame `t` shows, by all flow there is."""
        return list(links_of(t, self.flow, self.work_size, wanted))

    def features(self, t: int, window: Window) -> Float32[np.ndarray, "h w features"]:
        """Colour around each pixel of the window, and the evidence."""
        rows, columns = window
        top, left = max(rows.start - FEATURE_MARGIN, 0), max(columns.start - FEATURE_MARGIN, 0)
        around = self.small[t, top : rows.stop + FEATURE_MARGIN, left : columns.stop + FEATURE_MARGIN]
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        colours = frame_features(np.ascontiguousarray(around))[inner]
        evidence = resize(self.evidence.features(t), self.work_size)[window]
        return np.concatenate([colours, evidence], -1)

    def evidence_logit(self, t: int) -> Map | None:
        """Log odds of being an object's by motion and departure; None if that is not known yet."""
        known = self.known_evidence
        return None if known is None else resize(known.logit(t), self.work_size)

    def net_logit(self, t: int, window: Window, side: int) -> Map:
        """Log odds of standing out in the window, by the network shown it as a square of `side` pixels."""
        rows, columns = window
        size = (columns.stop - columns.start, rows.stop - rows.start)
        (likely,) = saliency([np.ascontiguousarray(self.small[t][window])], self._device, side)
        logit = np.log((likely + 1e-3) / (1 - likely + 1e-3))
        return cv2.resize(logit, size, interpolation=cv2.INTER_LINEAR)


def _find_evidence(frames: Video, flow: Sequence[FlowField]) -> Evidence:
    size = fit_long_edge((frames.shape[2], frames.shape[1]), EVIDENCE_LONG_EDGE)
    small, fields = resize_all(frames, size), [resized_field(field, size) for field in flow]
    moving = motion_evidence(small, fields)
    evident = moving[moving > EVIDENT]
    if evident.size < SMALLEST_SHARE * moving.size:
        nothing = np.zeros_like(moving)
        return Evidence(nothing, nothing, nothing)
    moving = (moving / np.quantile(evident, 0.9)).astype(np.float32)
    return Evidence(moving, *departures(small, np.clip(1.5 * moving, 0, 1), fields))
