"""Halos: what a new background leaves of the old one along the objects' outlines. docs/evaluation.md has the formulas.

Before two plain colours the edited frames tell exactly what `render` takes for the objects: with B₁ and B₂ behind it,
C₁ − C₂ = (1 − α) (B₁ − B₂) (Smith and Blinn, "Blue Screen Matting", SIGGRAPH 1996: triangulation).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float32

from layerloom import media
from layerloom.data.project import Project
from layerloom.edits.canvas import parse_colour
from layerloom.edits.document import Background
from layerloom.evaluate import measures
from layerloom.render.renderer import Renderer
from layerloom.render.stream import render_images

SCREENS = ("#00ff00", "#ff00ff")
"""Green and magenta, which add up to white."""
COLOURS = tuple(parse_colour(screen) for screen in SCREENS)
SURE = 0.02
"""A matte nearer than this to 0 or 1 is sure."""
BAND_SHARE, NARROWEST_BAND_PX = 0.004, 3
"""How far beyond what is unsure the band along an outline reaches: this share of the picture's diagonal."""
LEAST_WEIGHT = 1e-3
"""A mean of what is nearby wants this much of its Gaussian window."""

Plane = Float32[np.ndarray, "h w"]
Picture = Float32[np.ndarray, "h w 3"]
Where = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Cutout:
    """The objects of a frame as edits of the background show them: their matte, and their colour times it."""

    alpha: Plane
    foreground: Picture


def cut_out(project: Project, renderer: Renderer | None = None) -> Iterator[Cutout]:
    """Of every frame, from renders before both screens."""
    renderer = renderer or Renderer(project)
    screens = [render_images(project, [Background(colour)], renderer=renderer) for colour in SCREENS]
    for green, magenta in zip(*screens, strict=True):
        yield triangulate(media.to_float(green), media.to_float(magenta))


def triangulate(on_green: Picture, on_magenta: Picture) -> Cutout:
    """The matte and the foreground that give both pictures."""
    left = ((on_green - on_magenta) @ np.array([-1, 1, -1], np.float32)) / 3
    return Cutout(1 - left, (on_green + on_magenta - left[..., None]) / 2)


def outline_band(alpha: Plane) -> Where:
    """What lies within the band's reach of pixels where a matte is unsure, or jumps."""
    window = np.ones((3, 3), np.uint8)
    jumps = cv2.dilate(alpha, window) - cv2.erode(alpha, window) > 0.5
    return _around(((alpha > SURE) & (alpha < 1 - SURE)) | jumps, _reach(alpha))


def halo_px(source: Picture, background: Picture, cutout: Cutout) -> float:
    """Width of the old background that goes along with the objects, mean over their outline; NaN without one.

    background: what the background's layer shows, lit. A colour X has the likeness m(X) = 1 − |X − B| / c to it, in
    [0, 1], c being how far the object's own colours nearby are from it. q₁ and q₀ are the likeness of the source on
    either side of the band. A foreground of likeness m is then the old background to the share (m − q₀) / (q₁ − q₀);
    α times this, summed across the outline, is a width, and ∫ |∇α| is the outline's length. Both are weighted by
    (q₁ − q₀)²: where the two sides look alike, nothing can be told, nor seen.
    """
    alpha, reach = cutout.alpha.clip(0, 1), _reach(cutout.alpha)
    band = outline_band(alpha)
    beside = _around(band, 2 * reach) & ~band
    inside, outside = beside & (alpha > 0.5), beside & (alpha <= 0.5)
    distance = np.linalg.norm(source - background, axis=-1)
    scale, _ = _mean_near(distance, inside, reach)

    def likeness(from_background: Plane) -> Plane:
        return np.clip(1 - from_background / np.maximum(scale, 1 / 255), 0, 1)

    (least, knows_object), (most, knows_background) = (
        _mean_near(likeness(distance), side, reach) for side in (inside, outside)
    )
    contrast = np.where(band & knows_object & knows_background, np.maximum(most - least, 0), 0)
    shown = cutout.foreground / np.maximum(alpha, 1 / 255)[..., None]
    kept = alpha * (likeness(np.linalg.norm(shown - background, axis=-1)) - least) * contrast
    length = float((measures.gradient(alpha) * np.square(contrast)).sum(dtype=np.float64))
    return float(kept.sum(dtype=np.float64)) / length if length > 0 else float("nan")


def edit_error(cutout: Cutout, truth: Cutout) -> float:
    """Mean absolute error of the pictures before both screens along the true outline, in 8-bit levels; NaN without one.

    Before the screen B a pixel is off by ΔG − Δα B.
    """
    band = outline_band(truth.alpha)
    if not band.any():
        return float("nan")
    foreground = (cutout.foreground - truth.foreground)[band]
    left = (truth.alpha - cutout.alpha)[band][:, None]
    errors = [np.abs(foreground + left * np.array(screen, np.float32)) for screen in COLOURS]
    return 255 * float(np.mean(errors, dtype=np.float64))


def _mean_near(values: Plane, where: Where, reach: int) -> tuple[Plane, Where]:
    """At each pixel, the mean over those nearby that count, and whether there are any."""
    counts = where.astype(np.float32)
    weight, total = (cv2.GaussianBlur(plane, (0, 0), 2 * reach) for plane in (counts, values * counts))
    return total / np.maximum(weight, LEAST_WEIGHT), weight > LEAST_WEIGHT


def _around(where: Where, reach: int) -> Where:
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate(where.astype(np.uint8), disk) > 0


def _reach(alpha: Plane) -> int:
    return max(NARROWEST_BAND_PX, round(BAND_SHARE * float(np.hypot(*alpha.shape))))
