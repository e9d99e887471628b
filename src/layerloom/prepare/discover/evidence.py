"""Evidence that a pixel moves against the camera, from every flow field near and far.

Two questions are asked of every pixel and field: does the flow disagree with the camera's motion, by much against what
is usual in this pair of frames (so mild parallax and noise count little); and does the picture itself contradict the
camera's motion there, which it does not where a flat region's flow was only guessed. Water and leaves answer yes now
and then, an object in most fields. Where a field says little, what is around says it: by the frame's own edges (guided
filter), and along the flow.

Parts of the scene that are nearer than its main plane also leave the camera's motion: they go its way, only faster.
What does so counts less.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, Float64, UInt8

from layerloom.core.geometry import pixel_centres, transform_points
from layerloom.core.imaging import GuidedFilter
from layerloom.core.parallel import in_threads
from layerloom.data.clip import FlowField
from layerloom.prepare.discover.agreement import share_in_time
from layerloom.prepare.flow.links import Link, links_of

PARALLAX_DISCOUNT = 0.7
CERTAINTY = 0.5
"""Flow confidence from which a vector has a say in the camera's motion."""
SAYS_LEAST = 0.15
"""Weight of a field that leaves the camera's motion although the picture does not contradict it: a flat inside."""

Video = UInt8[np.ndarray, "t h w 3"]
Maps = Float32[np.ndarray, "t h w"]
Map = Float32[np.ndarray, "h w"]


def motion_evidence(frames: Video, flow: Sequence[FlowField]) -> Maps:
    """How surely each pixel moves against the camera, 0…1: the mean over all frames that the flow connects it with."""
    blurred = [cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 1.0) for frame in frames]
    parts = np.stack(list(in_threads(lambda t: _parts(t, blurred, flow), range(len(frames)))), 1)
    total, weights = (share_in_time(maps, flow) for maps in parts)

    def evidence(t: int) -> Map:
        guided = GuidedFilter(cv2.cvtColor(frames[t], cv2.COLOR_RGB2GRAY).astype(np.float32) / 255, 3, 1e-3)
        return np.clip(guided.smooth(total[t]) / np.maximum(guided.smooth(weights[t]), 0.05), 0, 1)

    return np.stack(list(in_threads(evidence, range(len(frames)))))


def _parts(
    frame: int, blurred: Sequence[Float32[np.ndarray, "h w 3"]], flow: Sequence[FlowField]
) -> Float32[np.ndarray, "2 h w"]:
    """Weighted sum and weights over all links."""
    height, width = blurred[frame].shape[:2]
    total, weights = np.zeros((height, width), np.float32), np.full((height, width), 1e-3, np.float32)
    for link in links_of(frame, flow, (width, height)):
        if (camera := _camera_motion(link)) is not None:
            moves, contradicted = _against_camera(link, camera, blurred[frame], blurred[link.frame])
            beyond = moves * (1 - PARALLAX_DISCOUNT * _like_parallax(link, camera))
            reach = np.float32(min(link.distance, 4) ** 0.5)
            says = SAYS_LEAST + (1 - SAYS_LEAST) * np.maximum(contradicted, 1 - moves)
            total += reach * link.confidence * beyond * contradicted
            weights += reach * (link.confidence + np.float32(0.2)) * says
    return np.stack([total, weights])


def _camera_motion(link: Link) -> Float64[np.ndarray, "3 3"] | None:
    """The homography most vectors agree on (MAGSAC++, Barath et al. 2020); none where too few are certain."""
    sparse = np.s_[::6, ::6]
    certain = link.confidence[sparse] > CERTAINTY
    if certain.sum() < 20:
        return None
    height, width = link.x.shape
    start = (pixel_centres((width, height)) - 0.5)[sparse][certain]
    end = np.dstack([link.x, link.y])[sparse][certain]
    homography, _ = cv2.findHomography(start, end, cv2.USAC_MAGSAC, 1.0, maxIters=300, confidence=0.999)
    return homography


def _against_camera(
    link: Link,
    camera: Float64[np.ndarray, "3 3"],
    here: Float32[np.ndarray, "h w 3"],
    there: Float32[np.ndarray, "h w 3"],
) -> tuple[Map, Map]:
    """0…1 each: does the flow leave the camera's motion, and does the picture contradict the camera's motion?"""
    height, width = link.x.shape
    x, y = cv2.split(transform_points(camera.astype(np.float32), pixel_centres((width, height)) - 0.5))
    residual = np.hypot(link.x - x, link.y - y)
    by_camera = Link(link.frame, link.distance, x, y, link.confidence)
    camera_error, flow_error = (_largest_difference(way.bring(there), here) for way in (by_camera, link))
    visible = (link.confidence > CERTAINTY) & (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)
    if not visible.any():
        return np.zeros_like(residual), np.zeros_like(residual)
    usual_residual = 0.6 + 4.0 * np.median(residual[visible])
    usual_error = 2.0 + 2.0 * np.median(camera_error[visible])
    contradiction = cv2.blur(np.maximum(camera_error - flow_error, 0), (5, 5))
    return 1 - np.exp(-((residual / usual_residual) ** 2)), 1 - np.exp(-((contradiction / usual_error) ** 2))


def _like_parallax(link: Link, camera: Float64[np.ndarray, "3 3"]) -> Map:
    """0…1: does what is left of the flow go the way that the camera's motion goes there?"""
    height, width = link.x.shape
    start = pixel_centres((width, height)) - 0.5
    by_camera = transform_points(camera.astype(np.float32), start)
    way, rest = by_camera - start, np.dstack([link.x, link.y]) - by_camera
    length = np.linalg.norm(way, axis=-1)
    cosine = (way * rest).sum(-1) / (length * np.linalg.norm(rest, axis=-1) + 1e-6)
    return np.clip((cosine - 0.6) / 0.3, 0, 1) * np.clip((length - 1) / 2, 0, 1)


def _largest_difference(one: Float32[np.ndarray, "h w 3"], other: Float32[np.ndarray, "h w 3"]) -> Map:
    """Of the three channels'."""
    red, green, blue = cv2.split(cv2.absdiff(one, other))
    return cv2.max(cv2.max(red, green), blue)
