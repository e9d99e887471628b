"""How good a decomposition is: figures of a project against its source. docs/evaluation.md defines each one.

Everything is measured at source size on the frames that `render` gives, except what is said to be at training size
and the warp errors, which are measured on frames whose longer side is at most WARP_LONG_EDGE.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int8, UInt8

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import fit_long_edge
from layerloom.data.clip import Masks
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.edits.canvas import Overlay
from layerloom.evaluate import halos, measures, tracks
from layerloom.evaluate.tracks import Tracks, UvMap, project_uv
from layerloom.render.renderer import Renderer
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import BACKGROUND_PALETTE, OBJECT_PALETTES, make_texture

INSIDE_ALPHA = 0.9
"""A track belongs to a layer while the layer's share of the pixel is above this."""
SIFT_STEP = 8
LONG_STEP = 8
WARP_LONG_EDGE = 640
PATTERN_CEILING = 0.6
"""Brightest colour of the pattern: what is lit by up to 1.6 stays below white."""

WATCHED_PERCENT, CARRIED_PERCENT, EDITED_PERCENT = 60, 70, 80
"""How much of the time has passed, about, when the frames were gone through, tracks carried, and edits tracked."""

Picture = Float32[np.ndarray, "h w 3"]
Progress = Callable[[int, int], None]
"""Is told how much is done, of how much."""
Perceive = Callable[[Picture, Sequence[Picture]], list[float]]
"""How far pictures look from a first one."""


@dataclass(frozen=True)
class _Watched:
    """The clip as the measures need it: the source, the layers' own picture of it, and the pattern-edited one.

    owner: number of the layer whose share is above INSIDE_ALPHA, −1 where there is none. Grey and owner are at source
    size, pictures and shares at most WARP_LONG_EDGE long.
    """

    grey_source: UInt8[np.ndarray, "t h w"]
    grey_edited: UInt8[np.ndarray, "t h w"]
    owner: Int8[np.ndarray, "t h w"]
    source: UInt8[np.ndarray, "t sh sw 3"]
    rebuilt: UInt8[np.ndarray, "t sh sw 3"]
    edited: UInt8[np.ndarray, "t sh sw 3"]
    shares: UInt8[np.ndarray, "t l sh sw"]
    per_frame: dict[str, list[float]]


def evaluate(
    project: Project,
    masks: Masks | None = None,
    track_file: Path | None = None,
    lpips_weights: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """All figures that need no truth, as plain data for JSON; None where there was nothing to measure.

    masks: given ones at source size, for the project's frames; objects are matched by name. track_file: tracks of the
    source in TAP-Vid's format. lpips_weights: a state dict of AlexNet or VGG16, which LPIPS needs. LayerloomError if
    the source is gone, or masks, tracks or weights do not fit.
    """
    width, height = project.source.size
    if masks is not None:
        _check_masks(project, masks)
    perceive = None if lpips_weights is None else _load_lpips(lpips_weights, project)
    given = None
    if track_file is not None:
        given = tracks.read_tapvid(track_file, (width, height), project.source.frames)
    tell: Progress = progress or (lambda done, total: None)
    watched = _watch(project, masks, perceive, lambda done, total: tell(WATCHED_PERCENT * done // total, 100))
    corners = tracks.track_corners(watched.grey_source)
    interior = interior_owner(watched.owner)
    carried = _track_figures(project, watched, interior, corners, given)
    tell(CARRIED_PERCENT, 100)
    edit = _edit_figures(project, watched, interior, corners)
    tell(EDITED_PERCENT, 100)
    warp = _warp_figures(project, watched)
    tell(100, 100)
    return {
        "size": [width, height],
        "training_size": list(project.training_size),
        "frames": project.source.frames,
        "layers": [layer.name for layer in project.layers],
        **_frame_figures(project, watched.per_frame, masks),
        "tracks": carried,
        "edit": edit,
        "warp": warp,
    }


def render_pattern(
    project: Project, frames: range | None = None, renderer: Renderer | None = None
) -> Iterator[np.ndarray]:
    """The source with every texture covered by a rich pattern, always the same: what edits are measured on."""
    with tempfile.TemporaryDirectory() as folder:
        edits = [_pattern_edit(project, number, Path(folder)) for number in range(len(project.layers))]
        yield from render_images(project, edits, frames, renderer=renderer)


def _pattern_edit(project: Project, number: int, folder: Path) -> Overlay:
    layer = project.layers[number]
    palette = BACKGROUND_PALETTE if layer.kind == "background" else OBJECT_PALETTES[number % len(OBJECT_PALETTES)]
    texture = make_texture(np.random.default_rng(number), layer.canvas, palette, PATTERN_CEILING)
    file = folder / f"{number}.png"
    media.write_image(file, media.quantise(np.dstack([texture, np.ones_like(texture[..., :1])]), 8))
    return Overlay(layer.name, file)


def render_unlit(project: Project, frame: int, shares: Float32[np.ndarray, "l h w"]) -> Picture:
    """Σ α T: a frame (counted from the project's first) without its lighting."""
    picture = np.zeros((*shares.shape[1:], 3), np.float32)
    for number, layer in enumerate(project.layers):
        picture += shares[number][..., None] * layer.look_up(project.uv(number, frame))
    return picture


def _check_masks(project: Project, masks: Masks) -> None:
    width, height = project.source.size
    if masks.coverage.shape[1:] != (project.source.frames, height, width):
        raise LayerloomError(
            f"masks are {masks.coverage.shape[1:]} (frames, height, width); {project.path} has"
            f" {(project.source.frames, height, width)}"
        )
    for name in masks.names:
        project.layer_index(name)


def _load_lpips(weights: Path, project: Project) -> Perceive:
    """PyTorch, which nothing else here needs, is imported for it."""
    from layerloom.evaluate.lpips import SMALLEST_SIDE, Lpips

    width, height = project.source.size
    if min(width, height) < SMALLEST_SIDE:
        raise LayerloomError(f"{project.source.path} is {width}x{height}; LPIPS needs {SMALLEST_SIDE} pixels each way")
    return Lpips(weights).distances


def _watch(project: Project, masks: Masks | None, perceive: Perceive | None, progress: Progress) -> _Watched:
    """One pass over the frames: the figures of single frames, and what the other measures need of them."""
    size, small = project.source.size, fit_long_edge(project.source.size, WARP_LONG_EDGE)
    count, layers = project.source.frames, len(project.layers)
    full, reduced = (count, size[1], size[0]), (count, small[1], small[0])
    watched = _Watched(
        grey_source=np.empty(full, np.uint8),
        grey_edited=np.empty(full, np.uint8),
        owner=np.empty(full, np.int8),
        source=np.empty((*reduced, 3), np.uint8),
        rebuilt=np.empty((*reduced, 3), np.uint8),
        edited=np.empty((*reduced, 3), np.uint8),
        shares=np.empty((count, layers, *reduced[1:]), np.uint8),
        per_frame={},
    )
    renderer = Renderer(project)
    pictures = zip(
        project.read_source(project.source_range),
        render_images(project, mode="synthesis", renderer=renderer),
        render_pattern(project, renderer=renderer),
        halos.cut_out(project, renderer),
        strict=True,
    )
    for frame, (*trio, cutout) in enumerate(pictures):
        source, rebuilt, edited = (media.to_float(picture) for picture in trio)
        shares = mattes(project, frame, trio[0])
        _note(watched.per_frame, _compare(project, frame, source, rebuilt, shares, perceive))
        _note(watched.per_frame, _judge_outlines(project, frame, source, shares, cutout))
        if masks is not None:
            _note(watched.per_frame, _compare_masks(project, frame, shares, masks))
        watched.grey_source[frame], watched.grey_edited[frame] = measures.grey(source), measures.grey(edited)
        watched.owner[frame] = np.where(shares.max(0) > INSIDE_ALPHA, shares.argmax(0), -1)
        for target, picture in ((watched.source, source), (watched.rebuilt, rebuilt), (watched.edited, edited)):
            target[frame] = media.quantise(_shrink(picture, small), 8)
        watched.shares[frame] = media.quantise(np.stack([_shrink(share, small) for share in shares]), 8)
        progress(frame + 1, count)
    return watched


def _note(per_frame: dict[str, list[float]], values: dict[str, float]) -> None:
    for name, value in values.items():
        per_frame.setdefault(name, []).append(value)


def _shrink(image: Float32[np.ndarray, "h w *c"], size: tuple[int, int]) -> Float32[np.ndarray, "sh sw *c"]:
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _compare(
    project: Project,
    frame: int,
    source: Picture,
    rebuilt: Picture,
    shares: Float32[np.ndarray, "l h w"],
    perceive: Perceive | None,
) -> dict[str, float]:
    unlit = render_unlit(project, frame, shares)
    training = project.training_size
    perceived: dict[str, float] = {}
    if perceive is not None:
        perceived["lpips"], perceived["lpips_unlit"] = perceive(source, [rebuilt, unlit])
    return {
        "psnr": measures.psnr(rebuilt, source),
        "psnr_training_size": measures.psnr(_shrink(rebuilt, training), _shrink(source, training)),
        "psnr_unlit": measures.psnr(unlit, source),
        "ssim": measures.ssim(rebuilt, source),
        "ssim_unlit": measures.ssim(unlit, source),
        **perceived,
        "undecided": measures.undecided_share(shares),
    }


def _judge_outlines(
    project: Project, frame: int, source: Picture, shares: Float32[np.ndarray, "l h w"], cutout: halos.Cutout
) -> dict[str, float]:
    """NaN where no object has an outline."""
    last = len(project.layers) - 1
    uv = project.uv(last, frame)
    background = project.layers[last].look_up(uv) * project.lighting(last, frame, uv=uv)
    ramps = {
        f"ramp_px/{layer.name}": measures.ramp_px(share)
        for layer, share in zip(project.layers, shares, strict=True)
        if layer.kind == "object"
    }
    return {"halo_px": halos.halo_px(source, background, cutout), **ramps}


def _compare_masks(
    project: Project, frame: int, shares: Float32[np.ndarray, "l h w"], masks: Masks
) -> dict[str, float]:
    """NaN where the frame has no mask of the object."""
    values: dict[str, float] = {}
    for number, name in enumerate(masks.names):
        matte = shares[project.layer_index(name)] > 0.5
        mask = masks.coverage[number, frame] > 127
        known = masks.trust[number, frame].any()
        values[f"iou/{name}"] = measures.intersection_over_union(matte, mask) if known else float("nan")
        values[f"boundary_f/{name}"] = measures.boundary_f(matte, mask) if known else float("nan")
    return values


def _frame_figures(project: Project, per_frame: dict[str, list[float]], masks: Masks | None) -> dict[str, Any]:
    mean = {name: mean_or_none(values) for name, values in per_frame.items()}
    series = {name: [none_if_not_finite(value) for value in values] for name, values in per_frame.items()}
    names = ("psnr", "psnr_training_size", "psnr_unlit", "ssim", "ssim_unlit", "lpips", "lpips_unlit")
    given = masks.names if masks is not None else ()
    return {
        "reconstruction": {name: mean.get(name) for name in names},
        "mattes": {
            "undecided": mean["undecided"],
            "halo_px": mean["halo_px"],
            "ramp_px": {
                layer.name: mean[f"ramp_px/{layer.name}"] for layer in project.layers if layer.kind == "object"
            },
            "iou": {name: mean[f"iou/{name}"] for name in given},
            "boundary_f": {name: mean[f"boundary_f/{name}"] for name in given},
        },
        "per_frame": series,
    }


def _track_figures(
    project: Project,
    watched: _Watched,
    interior: Int8[np.ndarray, "t h w"],
    corners: Tracks,
    given: Tracks | None,
) -> dict[str, Any]:
    """How far each layer's uv map carries tracks of the source from where they are, and how uv wanders along them."""
    found = {
        "corners": (corners, interior),
        "sift": (tracks.match_sift(watched.grey_source, SIFT_STEP), watched.owner),
    }
    if given is not None:
        found["given"] = (given, watched.owner)
    return {
        kind: {
            layer.name: _carried(project_uv(project, number), some.within(_inside(owner, some, number)))
            for number, layer in enumerate(project.layers)
        }
        for kind, (some, owner) in found.items()
    }


def _carried(uv_map: UvMap, some: Tracks) -> dict[str, Any]:
    errors, wander = tracks.carry_errors(uv_map, some), tracks.uv_wander(uv_map, some)
    return {
        "tracks": len(some.points),
        "uv_wander_texels": float(np.median(wander)) if len(wander) else None,
        **tracks.agreement_by_length(errors, some),
    }


def _edit_figures(
    project: Project, watched: _Watched, interior: Int8[np.ndarray, "t h w"], corners: Tracks
) -> dict[str, Any]:
    """Per layer: the source's corners tracked on the edited video, and the latter's SIFT matches on the source."""
    matched = tracks.match_sift(watched.grey_edited, SIFT_STEP)
    figures: dict[str, Any] = {}
    for number, layer in enumerate(project.layers):
        inside = corners.within(_inside(interior, corners, number))
        followed = tracks.follow(watched.grey_edited, inside)
        ends = matched.within(_inside(watched.owner, matched, number))
        figures[layer.name] = {
            "corners": tracks.agreement_by_length(_apart(inside, followed), inside),
            "survival": _survival(inside, followed),
            "sift": tracks.agreement(_apart(ends, tracks.follow(watched.grey_source, ends))),
        }
    return figures


def interior_owner(owner: Int8[np.ndarray, "t h w"]) -> Int8[np.ndarray, "t h w"]:
    """The owner, or −1 where the window of the corner tracker would reach another owner: outlines drag tracks along."""
    window = np.ones((tracks.WINDOW_PX, tracks.WINDOW_PX), np.uint8)
    interior = np.empty_like(owner)
    for frame, owners in enumerate(owner.astype(np.int16)):
        highest = cv2.dilate(owners, window)
        lowest = cv2.erode(np.where(owners < 0, np.int16(128), owners), window)
        interior[frame] = np.where(highest == lowest, owners, np.int16(-1))
    return interior


def _inside(owner: Int8[np.ndarray, "t h w"], some: Tracks, layer: int) -> Bool[np.ndarray, "n t"]:
    """Which points lie where a layer has more than INSIDE_ALPHA of the pixel."""
    frames, height, width = owner.shape
    column, row = some.points.astype(np.int64).transpose(2, 0, 1)
    return owner[np.arange(frames), row.clip(0, height - 1), column.clip(0, width - 1)] == layer


def _apart(first: Tracks, second: Tracks) -> np.ndarray:
    """Distance in pixels where both are seen, after the anchor; else NaN."""
    distance = np.linalg.norm(first.points.astype(np.float64) - second.points, axis=-1)
    after = np.arange(first.seen.shape[1]) > first.anchor[:, None]
    return np.where(first.seen & second.seen & after, distance, np.nan)


def _survival(source: Tracks, followed: Tracks) -> dict[str, float | None]:
    """Mean frames that a track lasts on the source, and on the edited video up to there."""
    lasts = [mean_or_none(some.length.astype(float).tolist()) for some in (source, followed)]
    return {"source_frames": lasts[0], "edited_frames": lasts[1]}


def _warp_figures(project: Project, watched: _Watched) -> dict[str, Any]:
    """Warp errors between neighbours and over LONG_STEP frames; flicker and mattes' changes between neighbours."""
    long_step = min(LONG_STEP, len(watched.source) - 1)
    short, long = _warp_errors(project, watched, 1), _warp_errors(project, watched, long_step)
    stability = {layer.name: short[f"matte/{layer.name}"] for layer in project.layers}
    pictures = ("source", "rebuilt", "edited")
    return {
        "short": {"step": 1, **{name: short[name] for name in pictures}},
        "long": {"step": long_step, **{name: long[name] for name in pictures}},
        "flicker": {name: short[f"flicker/{name}"] for name in pictures[1:]},
        "matte_instability": stability,
    }


def _warp_errors(project: Project, watched: _Watched, step: int) -> dict[str, float | None]:
    """Means over all pairs of frames `step` apart."""
    noted: dict[str, list[float]] = {}
    pictures = {"source": watched.source, "rebuilt": watched.rebuilt, "edited": watched.edited}
    for first in range(len(watched.source) - step):
        pair = {name: media.to_float(video[[first, first + step]]) for name, video in pictures.items()}
        shares = media.to_float(watched.shares[[first, first + step]])
        before, after = pair["source"]
        flow = measures.pair_flow(measures.grey(before), measures.grey(after))
        values = {name: measures.warp_error(two[0], two[1], flow) for name, two in pair.items()}
        for name in ("rebuilt", "edited"):
            values[f"flicker/{name}"] = measures.flicker(pair[name][0], pair[name][1], before, after, flow)
        for number, layer in enumerate(project.layers):
            values[f"matte/{layer.name}"] = measures.matte_instability(shares[0, number], shares[1, number], flow)
        _note(noted, values)
    return {name: mean_or_none(values) for name, values in noted.items()}


def none_if_not_finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def mean_or_none(values: Sequence[float]) -> float | None:
    """Mean of the finite ones."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else None
