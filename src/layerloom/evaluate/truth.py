"""Figures of a project against the truth of the synthetic clip it was learned from. docs/evaluation.md defines them."""

from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8

from layerloom import media
from layerloom.core.geometry import pixel_centres
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.evaluate import halos, measures, tracks
from layerloom.evaluate.tracks import Tracks, project_uv
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip

TRACKS_PER_ANCHOR = 150
INSIDE_ALPHA = 0.9
FRACTIONS_PX = ("1", "2", "4", "8")
EDIT_LEVELS = 2.0
"""A pixel lies in an edit where the true edit changes it by more than this many 8-bit levels."""
EDIT_MARGIN_PX = 8
"""Pixels farther than this, in x or y, from all that the true edit changes at all lie outside it."""


def truth_figures(
    project: Project,
    clip: SyntheticClip,
    edited: UInt8[np.ndarray, "t h w 3"],
    edited_truth: Float32[np.ndarray, "t h w 3"],
    painted_frame: int,
) -> dict[str, Any]:
    """All figures against the truth; layers by name.

    project: learned from `clip` at the clip's own size and over all its frames. edited: a `detail` render;
    edited_truth: what they should be (`clip.render` of `painted_textures`). painted_frame: where the edit was painted,
    which is left out of its PSNR.
    """
    layers = {name: project.layer_index(name) for name in clip.names}
    tracked = {name: _track_figures(project, clip, number, layers[name]) for number, name in enumerate(clip.names)}
    return {
        "psnr": _mean_psnr(project, clip),
        "track_px": {name: figures["median_px"] for name, figures in tracked.items()},
        "track_fraction": {name: figures["fraction"] for name, figures in tracked.items()},
        "iou": dict(zip(clip.names, _matte_overlap(project, clip, list(layers.values())), strict=True)),
        "light_correlation": {
            name: light_correlation(project, clip, number, layers[name]) for number, name in enumerate(clip.names)
        },
        **_outline_figures(project, clip, list(layers.values())),
        **edit_figures(clip.render(), edited_truth, clip.frames, edited, painted_frame),
    }


def edit_figures(
    unedited_truth: Float32[np.ndarray, "t h w 3"],
    edited_truth: Float32[np.ndarray, "t h w 3"],
    source: UInt8[np.ndarray, "t h w 3"],
    edited: UInt8[np.ndarray, "t h w 3"],
    painted_frame: int,
) -> dict[str, Any]:
    """PSNR against the true edit inside of it, and whether the source is untouched outside."""
    true_change = np.abs(edited_truth - unedited_truth).max(-1)
    inside = true_change > EDIT_LEVELS / 255
    side = 2 * EDIT_MARGIN_PX + 1
    near = (
        np.stack([cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) for mask in true_change > 0]) > 0
    )
    changed = (edited != source).any(-1) & ~near
    carried = np.arange(len(source)) != painted_frame
    return {
        "edit_psnr_inside": measures.psnr(media.to_float(edited)[carried], edited_truth[carried], inside[carried]),
        "edit_identical_outside": not changed.any(),
        "edit_changed_outside": float(changed.sum() / max((~near).sum(), 1)),
    }


def painted_textures(
    clip: SyntheticClip, frame: int, paint: Float32[np.ndarray, "h w 4"]
) -> tuple[Float32[np.ndarray, "_ _ 3"], ...]:
    """The clip's textures after painting on what one frame shows; `clip.render` of them is the truth of the painting.

    paint: straight RGBA. Each painted pixel goes to the layer with the largest share there, the light divided out.
    """
    owner = clip.alpha[:, frame].argmax(0)
    return tuple(
        _painted_texture(clip, layer, frame, np.dstack([paint[..., :3], paint[..., 3] * (owner == layer)]))
        for layer in range(len(clip.names))
    )


def light_correlation(project: Project, clip: SyntheticClip, true_layer: int, layer: int) -> float:
    """Pearson correlation of learned and true log lighting over all true tracks, each track's own mean taken off both.

    What is constant along a texel's track could as well be the texture's colour, so no method can tell it.
    """
    learned: list[np.ndarray] = []
    true: list[np.ndarray] = []
    for followed in _true_tracks(clip, true_layer):
        log_learned, log_true = (np.zeros((*followed.seen.shape, 3)) for _ in range(2))
        for frame in range(len(clip.frames)):
            points = followed.points[:, frame]
            uv = project.uv_at(layer, frame, points[None])
            log_learned[:, frame] = np.log(np.maximum(project.lighting(layer, frame, uv=uv)[0], 1e-3))
            log_true[:, frame] = np.log(clip.lighting_at(true_layer, points, frame))
        learned.append(_without_mean(log_learned, followed.seen))
        true.append(_without_mean(log_true, followed.seen))
    return measures.correlation(np.concatenate(learned), np.concatenate(true))


def _without_mean(values: Float64[np.ndarray, "n t 3"], seen: Bool[np.ndarray, "n t"]) -> Float64[np.ndarray, "m"]:
    """Values of the frames that see a track, less their mean over them."""
    weight = seen[..., None] / seen.sum(1)[:, None, None]
    return (values - (values * weight).sum(1, keepdims=True))[seen].ravel()


def _true_tracks(clip: SyntheticClip, layer: int) -> Iterator[Tracks]:
    """Exact tracks of points inside a layer's matte in the first, the middle or the last frame."""
    frames = len(clip.frames)
    for anchor in sorted({0, frames // 2, frames - 1}):
        rows, columns = np.nonzero(clip.alpha[layer, anchor] > INSIDE_ALPHA)
        pick = np.random.default_rng(anchor).permutation(len(rows))[:TRACKS_PER_ANCHOR]
        xy, seen = clip.tracks(layer, np.stack([columns[pick], rows[pick]], -1) + 0.5, anchor)
        if len(pick):
            yield Tracks(xy.transpose(1, 0, 2).astype(np.float32), np.ascontiguousarray(seen.T))


def _track_figures(project: Project, clip: SyntheticClip, true_layer: int, layer: int) -> dict[str, Any]:
    """Median error in pixels, and the mean of the shares within 1, 2, 4 and 8 px, over all true tracks and frames."""
    found = [tracks.carry_errors(project_uv(project, layer), followed) for followed in _true_tracks(clip, true_layer)]
    figures = tracks.agreement(np.concatenate([errors.ravel() for errors in found]) if found else np.zeros(0))
    shares = [figures["within"][limit] for limit in FRACTIONS_PX]
    return {"median_px": figures["median_px"], "fraction": float(np.mean(shares)) if figures["count"] else None}


def _mean_psnr(project: Project, clip: SyntheticClip) -> float:
    rebuilt = render_images(project, (), mode="synthesis")
    scores = [
        measures.psnr(media.to_float(frame), media.to_float(truth))
        for frame, truth in zip(rebuilt, clip.frames, strict=True)
    ]
    return float(np.mean(scores))


def _matte_overlap(project: Project, clip: SyntheticClip, layers: list[int]) -> list[float]:
    """Mean over the frames of each layer's IoU with the truth, both cut at one half."""
    scores: list[list[float]] = []
    for frame, picture in enumerate(clip.frames):
        shares = mattes(project, frame, picture)
        scores.append(
            [
                measures.intersection_over_union(shares[layer] > 0.5, true > 0.5)
                for layer, true in zip(layers, clip.alpha[:, frame], strict=True)
            ]
        )
    return np.mean(scores, 0).tolist()


def _outline_figures(project: Project, clip: SyntheticClip, layers: list[int]) -> dict[str, Any]:
    """Along the true outlines: errors of the objects' mattes, by object, and of frames before other backgrounds."""
    noted: dict[str, dict[str, list[float]]] = {}
    edits: list[float] = []
    true_foregrounds = clip.render((*clip.textures[:-1], np.zeros_like(clip.textures[-1])))
    for frame, (picture, cutout) in enumerate(zip(clip.frames, halos.cut_out(project), strict=True)):
        shares = mattes(project, frame, picture)
        for name, layer, true in zip(clip.names[:-1], layers, clip.alpha[:, frame], strict=False):
            errors = measures.matte_errors(shares[layer], true, halos.outline_band(true))
            errors |= {"matte_ramp_px": measures.ramp_px(shares[layer]), "true_ramp_px": measures.ramp_px(true)}
            for kind, error in errors.items():
                noted.setdefault(kind, {}).setdefault(name, []).append(error)
        truth = halos.Cutout(1 - clip.alpha[-1, frame], true_foregrounds[frame])
        edits.append(halos.edit_error(cutout, truth))
    means = {kind: {name: float(np.nanmean(found)) for name, found in of.items()} for kind, of in noted.items()}
    return {**means, "background_edit_levels": float(np.nanmean(edits)) if noted else None}


def _painted_texture(
    clip: SyntheticClip, layer: int, frame: int, paint: Float32[np.ndarray, "h w 4"]
) -> Float32[np.ndarray, "H W 3"]:
    texture = clip.textures[layer]
    size = texture.shape[1], texture.shape[0]
    xy = clip.find_uv(layer, pixel_centres(size).reshape(-1, 2).astype(np.float64), frame)
    light = clip.lighting_at(layer, xy, frame).reshape(texture.shape)
    premultiplied = np.dstack([paint[..., :3] * paint[..., 3:], paint[..., 3]]).astype(np.float32)
    at = (xy.reshape(*texture.shape[:2], 2) - 0.5).astype(np.float32)
    # Beyond the frame's border there is no paint.
    laid = cv2.remap(premultiplied, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    return (texture * (1 - laid[..., 3:]) + laid[..., :3] / light).astype(np.float32)
