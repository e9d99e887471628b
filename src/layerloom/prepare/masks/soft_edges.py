"""How soft the outlines of hard masks are, measured against the background that is known behind them.

Behind an outline the background B is known from frames in which the object is elsewhere, and the object's colour F
from farther inside. In between, a pixel is α F + (1 − α) B (matting with a known background). Pixel by pixel that says
as little as F is exact; so all pixels of a stretch of outline, over some frames, are asked for one number: how wide α's
ramp is. The stretches lie on the object's own canvas, where a soft outline stays in its place.

    frames, masks, motion ──► costs of each width, by stretch ──► widths ──► masks with ramps
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from layerloom.core.geometry import Size, fit_long_edge, pixel_centres, transform_points
from layerloom.core.imaging import Window, masked_mean, resize_all, window_around
from layerloom.core.parallel import do_in_threads, in_threads
from layerloom.data.clip import Masks
from layerloom.prepare.clean_plate import agreed_colour, frames_to_look_at
from layerloom.prepare.masks.outlines import signed_distance, signed_distances

WORK_LONG_EDGE = 960
"""Softness is measured on frames this small."""
REACHES_PIXELS = (5, 10)
"""How far from an outline its ramp may reach either way, at the working size; beyond, a pixel shows one layer alone.
The nearer that is, the better is known what that layer would show along the outline; the wider of the two answers
counts."""
FARTHEST_REACH = max(REACHES_PIXELS)
HARD_PIXELS = 2.0
"""The width that hard masks come to whose outlines are right to a pixel."""
WIDTHS = 14
"""How many widths there are to choose from."""
NEARBY = 0.7
"""Standard deviation of the window for colours beside an outline, as a share of the reach."""
NOTABLE_PIXELS = 2.5
"""Narrower ramps are left as the mask has them."""
CELL_PIXELS = 8
STEPS_PIXELS = 1.5
"""Standard deviation by which distances from a mask's outline, which goes in steps of pixels, are smoothed."""
STRETCH_PIXELS, STRETCH_FRAMES = 12.0, 4.0
"""Standard deviations of the window that makes a stretch."""
SURROUNDINGS, SURROUNDINGS_WEIGHT = 3, 0.3
"""A window so many times as wide has a say, too, by this weight: it decides where a stretch itself tells little."""
LEAST_EXPLAINED = 0.15
"""A ramp must explain this share of how the picture departs from the background outside of a hard mask."""
MOST_OUTSIDE, MOST_INSIDE = 0.15, 0.6
"""And leave less than this unexplained, of the squared difference between object and background: else the picture shows
something else than these two. Inside there is the object's texture, too."""
SAMPLES = 8
"""How many frames say whether a mask is soft already."""
NEAR_FRAMES = (4, 8, 16, 32)
"""Beside frames over the whole clip, those which the background is read from."""
AGREEING_LEVELS = (1e6, 40.0, 15.0)
"""How far samples of the background may be off what is usual, of 255, round after round."""
MOST_LIGHT = 0.5
"""How much darker or brighter than at other times the background may be, in log colour: where a deep shadow lies, it
is not even beside the outline."""
UNSURE_LEVELS = 20.0
"""Where samples of the background spread by this much (of 255) they count half."""
SOFT_ALREADY = 1.2
"""Undecided pixels for each pixel along the outline: more of them than anti-aliasing makes."""

Video = UInt8[np.ndarray, "t h w 3"]
Map = Float32[np.ndarray, "h w"]
Colour = Float32[np.ndarray, "h w 3"]
Matrices = Float64[np.ndarray, "t 3 3"]


def soften(masks: Masks, frames: Video, motion: Float[np.ndarray, "layers t 3 3"]) -> Masks:
    """Masks whose outlines are ramps where the clip shows that the objects' outlines are soft; where they cross one
    half stays. Trust is as it was. `motion` is `estimate_motion`'s.

    A stretch of outline is left as it is where a ramp does not explain the picture better, outside of the mask and
    inside of it; where the background behind it is never seen; and near other objects. So are objects whose masks are
    soft already.
    """
    hard = [i for i, mask in enumerate(masks.coverage) if mask.any() and not _soft_already(mask)]
    if not hard:
        return masks
    size = fit_long_edge((frames.shape[2], frames.shape[1]), WORK_LONG_EDGE)
    to_work = np.diag([size[0] / frames.shape[2], size[1] / frames.shape[1], 1.0])
    distances = signed_distances(masks.coverage, size)
    empty = np.where((distances < -FARTHEST_REACH).all(0), np.uint8(255), np.uint8(0))
    clip = _Footage(resize_all(frames, size), distances, empty, to_work @ motion @ np.linalg.inv(to_work))
    coverage = masks.coverage.copy()
    for i in hard:
        cells = _Cells.around(clip, i)
        widths = _widths(clip, i, cells)
        if (widths > NOTABLE_PIXELS).any():
            _draw_ramps(coverage[i], np.delete(masks.coverage, i, 0), widths, cells, to_work)
    return Masks(masks.names, coverage, masks.trust)


@dataclass(frozen=True)
class _Footage:
    """A clip at the working size: frames, signed distances from its objects' outlines, motion, and 255 where no object
    reaches, however soft, else 0."""

    frames: Video
    distances: Float32[np.ndarray, "objects t h w"]
    empty: UInt8[np.ndarray, "t h w"]
    motion: Float64[np.ndarray, "layers t 3 3"]

    @property
    def size(self) -> Size:
        return self.frames.shape[2], self.frames.shape[1]


@dataclass(frozen=True)
class _Cells:
    """A grid over an object's canvas. `motion[t]` takes pixels of frame t, at the working size, to cells."""

    motion: Matrices
    rows: int
    columns: int

    @staticmethod
    def around(clip: _Footage, index: int) -> "_Cells":
        """All that the object's outline, with its reach, covers in any frame."""
        corners: list[np.ndarray] = []
        for distance, matrix in zip(clip.distances[index], clip.motion[index], strict=True):
            left, top, width, height = cv2.boundingRect((np.abs(distance) < FARTHEST_REACH).astype(np.uint8))
            box = np.array([[left, top], [left + width, top], [left, top + height], [left + width, top + height]])
            corners.append(transform_points(matrix, box.astype(np.float64))[: 4 if width else 0])
        points = np.concatenate(corners) if any(map(len, corners)) else np.zeros((1, 2))
        extent = np.ptp(points, axis=0)
        # On a canvas that is larger than the frame, as of an object that comes near, cells are larger, too.
        cell = CELL_PIXELS * max(1, np.sqrt(extent.prod() / np.prod(clip.size)))
        low, high = points.min(0) - cell, points.max(0) + cell
        columns, rows = (int(side) + 1 for side in np.ceil((high - low) / cell))
        scale = 1 / cell
        to_cells = np.array([[scale, 0, -low[0] * scale], [0, scale, -low[1] * scale], [0, 0, 1]])
        return _Cells(to_cells @ clip.motion[index], rows, columns)

    def position(self, t: int, centres: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
        return transform_points(self.motion[t].astype(np.float32), centres)

    def add_up(
        self, position: Float32[np.ndarray, "n 2"], kind: np.ndarray, kinds: int, values: Sequence[np.ndarray]
    ) -> Float32[np.ndarray, "rows columns kinds values"]:
        """Sums of values by cell and kind."""
        column, row = np.rint(position).astype(int).clip(0, (self.columns - 1, self.rows - 1)).T
        place = (row * self.columns + column) * kinds + kind
        sums = [np.bincount(place, value, self.rows * self.columns * kinds) for value in values]
        return np.stack(sums, -1).astype(np.float32).reshape(self.rows, self.columns, kinds, len(values))


def _widths(clip: _Footage, index: int, cells: _Cells) -> Float32[np.ndarray, "t rows columns"]:
    """The width of the ramp in pixels at each place of the object's canvas, HARD_PIXELS where it is hard or unknown."""
    every = list(in_threads(lambda t: _costs(clip, index, t, cells), range(len(clip.frames))))
    by_reach = (np.stack(costs) for costs in zip(*every, strict=True))
    return np.max(
        [
            _best_widths(_blur_over_time(costs), _choices(reach))
            for reach, costs in zip(REACHES_PIXELS, by_reach, strict=True)
        ],
        0,
    )


def _choices(reach: int) -> Float64[np.ndarray, " widths"]:
    return np.geomspace(HARD_PIXELS, 2 * reach, WIDTHS)


def _best_widths(
    costs: Float32[np.ndarray, "t rows columns costs"], choices: Float64[np.ndarray, " widths"]
) -> Float32[np.ndarray, "t rows columns"]:
    """The width that explains the picture best outside of the mask, where it is better than HARD_PIXELS inside, too."""
    outside, inside, contrast = costs[..., :WIDTHS], costs[..., WIDTHS:-1], costs[..., -1]
    best = outside.argmin(-1)
    outside_best, inside_best = (np.take_along_axis(c, best[..., None], -1)[..., 0] for c in (outside, inside))
    explained = outside_best < np.minimum((1 - LEAST_EXPLAINED) * outside[..., 0], MOST_OUTSIDE * contrast)
    agreed = inside_best < np.minimum(inside[..., 0], MOST_INSIDE * contrast)
    widths = np.log(np.where(explained & agreed, choices[best], HARD_PIXELS)).astype(np.float32)
    # Between cells by how much each of them knows.
    known = contrast + np.float32(1e-3)
    blurred = (cv2.GaussianBlur(np.dstack([w * k, k]), (0, 0), 1.0) for w, k in zip(widths, known, strict=True))
    return np.stack([np.exp(image[..., 0] / image[..., 1]) for image in blurred])


def _blur_over_time(costs: Float32[np.ndarray, "t *rest"]) -> Float32[np.ndarray, "t *rest"]:
    window = cv2.getGaussianKernel(2 * round(3 * STRETCH_FRAMES) + 1, STRETCH_FRAMES)
    flat = costs.reshape(len(costs), -1)
    return cv2.sepFilter2D(flat, -1, np.ones(1), window, borderType=cv2.BORDER_CONSTANT).reshape(costs.shape)


def _costs(clip: _Footage, index: int, t: int, cells: _Cells) -> list[Float32[np.ndarray, "rows columns costs"]]:
    """For each reach, how badly each of its widths explains frame t around each cell: Σ ‖I − α F − (1 − α) B‖² outside
    of the mask, for each width; the same inside; and Σ ‖F − B‖² inside."""
    window = window_around(np.abs(clip.distances[index, t]) < FARTHEST_REACH, 2 * FARTHEST_REACH)
    if clip.distances[index, t][window].size == 0:
        nothing = np.zeros((cells.rows, cells.columns, 2 * WIDTHS + 1), np.float32)
        return [nothing for _ in REACHES_PIXELS]
    background, sureness = _background(clip, t, window)
    others = np.delete(clip.distances[:, t], index, 0).max(0, initial=-np.inf)[window]
    place = cells.position(t, pixel_centres(clip.size)[window])
    look = _Look(
        clip.distances[index, t][window],
        clip.frames[t][window].astype(np.float32),
        background,
        sureness * (others < -FARTHEST_REACH),
    )
    return [_costs_within(reach, look, place, cells) for reach in REACHES_PIXELS]


@dataclass(frozen=True)
class _Look:
    """A frame around an outline: signed distance, colour, the background's colour behind it and how sure that is (0…1;
    0 near other objects). Colours in levels of 255."""

    distance: Map
    colour: Colour
    background: Colour
    sureness: Map


def _costs_within(
    reach: int, look: _Look, place: Float32[np.ndarray, "h w 2"], cells: _Cells
) -> Float32[np.ndarray, "rows columns costs"]:
    inner, background, known = _both_sides(reach, look)
    valid = (np.abs(look.distance) < reach) & known & (look.sureness > 0)
    off, contrast = (look.colour - background)[valid], (inner - background)[valid]
    pairs = ((off, off), (off, contrast), (contrast, contrast))
    products = [look.sureness[valid] * np.einsum("nc,nc->n", *pair) for pair in pairs]
    step = np.floor(look.distance[valid] + reach).astype(int)
    square, product, norm = np.moveaxis(cells.add_up(place[valid], step, 2 * reach, products), -1, 0)
    alpha = _ramp((np.arange(2 * reach) - reach + 0.5)[:, None] / _choices(reach)).astype(np.float32)
    costs = [
        square[..., side].sum(-1, keepdims=True)
        - 2 * product[..., side] @ alpha[side]
        + norm[..., side] @ np.square(alpha[side])
        for side in (slice(reach), slice(reach, 2 * reach))
    ]
    stacked = np.concatenate([*costs, norm[..., reach:].sum(-1, keepdims=True)], -1)
    near, around = (
        cv2.GaussianBlur(stacked, (0, 0), width * STRETCH_PIXELS / CELL_PIXELS, borderType=cv2.BORDER_CONSTANT)
        for width in (1, SURROUNDINGS)
    )
    return near + np.float32(SURROUNDINGS_WEIGHT * SURROUNDINGS**2) * around


def _both_sides(reach: int, look: _Look) -> tuple[Colour, Colour, Bool[np.ndarray, "h w"]]:
    """What the object and the background would show around the outline if either were alone, and where that is known.

    The object's colour is that of its inside; the background is brought into the light of what is beside the object.
    """
    inner, near_inside = masked_mean(look.colour, (look.distance > reach).astype(np.float32), NEARBY * reach)
    beside = (look.distance < -reach) & (look.sureness > 0)
    darkest = np.float32(4)
    gain = np.log(np.maximum(look.colour, darkest) / np.maximum(look.background, darkest))
    light, near_outside = masked_mean(gain, (beside).astype(np.float32), NEARBY * reach)
    same_light = np.abs(light).max(-1) < MOST_LIGHT
    return inner, look.background * np.exp(light), (np.minimum(near_inside, near_outside) > 0.01) & same_light


def _background(
    clip: _Footage, t: int, window: Window
) -> tuple[Float32[np.ndarray, "rows columns 3"], Float32[np.ndarray, "rows columns"]]:
    """What most other frames show behind the objects, brought here by the background's motion, and how sure it is."""
    motion = clip.motion[-1]
    rows, columns = window
    samples: list[tuple[Colour, Map]] = []
    for other in frames_to_look_at(t, len(clip.frames), NEAR_FRAMES):
        way = np.linalg.inv(motion[other]) @ motion[t]
        colour = _look_through(clip.frames[other], way, rows, columns, cv2.BORDER_REPLICATE)
        weight = _look_through(clip.empty[other], way, rows, columns, cv2.BORDER_CONSTANT)
        samples.append((colour.astype(np.float32), np.square(weight / np.float32(255))))
    if not samples:
        nothing = np.zeros(clip.frames[t][window].shape, np.float32)
        return nothing, nothing[..., 0]
    colour, spread, weight = agreed_colour(samples, AGREEING_LEVELS)
    return colour, (weight > 0.5) / (1 + spread * np.float32(UNSURE_LEVELS**-2))


def _look_through(
    image: np.ndarray, way: Float64[np.ndarray, "3 3"], rows: slice, columns: slice, border: int
) -> np.ndarray:
    """The part of the image that the way leads a window's pixels to."""
    size = columns.stop - columns.start, rows.stop - rows.start
    # OpenCV's pixel centres are at whole numbers.
    to_window = np.array([[1, 0, columns.start + 0.5], [0, 1, rows.start + 0.5], [0, 0, 1]])
    from_centres = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(image, from_centres @ way @ to_window, size, flags=flags, borderMode=border)


def _draw_ramps(
    coverage: UInt8[np.ndarray, "t h w"],
    others: UInt8[np.ndarray, "_ t h w"],
    widths: Float32[np.ndarray, "t rows columns"],
    cells: _Cells,
    to_work: Float64[np.ndarray, "3 3"],
) -> None:
    """Put ramps on the outlines, in place, but not towards other objects."""
    centres = pixel_centres((coverage.shape[2], coverage.shape[1]))
    scale = 1 / to_work[0, 0]
    farthest = 2 * FARTHEST_REACH * scale

    def draw(t: int) -> None:
        inside = coverage[t] > 127
        window = window_around(inside, round(farthest))
        if inside[window].size == 0:
            return
        place = transform_points((cells.motion[t] @ to_work).astype(np.float32), centres[window])
        x, y = cv2.split(place)
        ramp = cv2.remap(widths[t], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        soft = ramp > NOTABLE_PIXELS
        if soft.any():
            ramp *= scale
            smooth = cv2.GaussianBlur(signed_distance(inside[window], farthest), (0, 0), STEPS_PIXELS)
            alpha = _ramp(smooth / ramp)
            if others.size:
                soft &= signed_distance(others[(slice(None), t, *window)].max(0) > 0, farthest) < -ramp
            coverage[t][window][soft] = np.rint(255 * alpha[soft])

    do_in_threads(draw, range(len(coverage)))


def _ramp(distance: np.ndarray) -> np.ndarray:
    """From 0 at −½ to 1 at ½."""
    share = np.clip(distance + 0.5, 0, 1)
    return share * share * (3 - 2 * share)


def _soft_already(mask: UInt8[np.ndarray, "t h w"]) -> bool:
    some = mask[:: -(-len(mask) // SAMPLES)]
    undecided = ((some > 12) & (some < 243)).sum()
    window = np.ones((3, 3), np.uint8)
    inside = (some > 127).astype(np.uint8)
    along = sum(int((cv2.dilate(image, window) > cv2.erode(image, window)).sum()) for image in inside)
    return bool(undecided > SOFT_ALREADY * along)
