"""Figures of a project against the truth of the synthetic clip it was learned from. docs/evaluation.md defines them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, TypeVar

import numpy as np
from jaxtyping import Bool, Float64

from layerloom import media
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.evaluate import halos, light, matting, measures, tracks
from layerloom.evaluate.figures import EditAgreement, Figure, Matting, TruthFigures, mean_or_none, none_if_not_finite
from layerloom.evaluate.tracks import Tracks, project_uv
from layerloom.evaluate.truth_edits import hidden_figures
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip

TRACKS_PER_ANCHOR = 150
INSIDE_ALPHA = 0.9
FRACTIONS_PX = ("1", "2", "4", "8")
OUTLINE_KINDS = ("matte_mad", "matte_mse", "matte_sad", "matte_gradient", "matte_ramp_px", "true_ramp_px")

Value = TypeVar("Value")


def truth_figures(project: Project, clip: SyntheticClip, edit: EditAgreement | None = None) -> TruthFigures:
    """All figures against the truth; layers by name.

    project: learned from `clip` at the clip's own size and over all its frames. edit: of an edit, where one was made
    (`truth_edits.edit_figures`).
    """
    layers = [project.layer_index(name) for name in clip.names]
    pairs = list(enumerate(layers))
    carried = [_track_figures(project, clip, *pair) for pair in pairs]
    lights = [light_against_truth(project, clip, *pair) for pair in pairs]
    mattes_of_objects, background_edit_levels = _outline_figures(project, clip, layers)

    def by_name(values: Iterable[Value]) -> dict[str, Value]:
        return dict(zip(clip.names, values, strict=True))

    return TruthFigures(
        psnr_db=_mean_psnr(project, clip),
        track_px=by_name(median for median, _ in carried),
        track_fraction=by_name(fraction for _, fraction in carried),
        iou=by_name(_matte_overlap(project, clip, layers)),
        light_correlation=by_name(none_if_not_finite(found.correlation) for found in lights),
        light_slope=by_name(none_if_not_finite(found.slope) for found in lights),
        **mattes_of_objects,
        matting=_matting(project, clip, layers),
        background_edit_levels=background_edit_levels,
        hidden=hidden_figures(project, clip),
        edit=edit,
    )


class LightAgreement(NamedTuple):
    """How learned log lighting goes with the true one. At slope 1 it is as strong; at 0.5 half as strong."""

    correlation: float
    slope: float


def light_against_truth(project: Project, clip: SyntheticClip, true_layer: int, layer: int) -> LightAgreement:
    """Pearson correlation and slope (least squares, learned over true) of log lighting over all true tracks.

    Each track's own mean is taken off both: what is constant along a texel's track could as well be the texture's
    colour, so no method can tell it. NaN where the true light does not change.
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
    values = np.concatenate(learned), np.concatenate(true)
    return LightAgreement(measures.correlation(*values), light.slope(*values))


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


def _track_figures(project: Project, clip: SyntheticClip, true_layer: int, layer: int) -> tuple[Figure, Figure]:
    """Median error in pixels, and the mean of the shares within 1, 2, 4 and 8 px, over all true tracks and frames."""
    found = [tracks.carry_errors(project_uv(project, layer), followed) for followed in _true_tracks(clip, true_layer)]
    figures = tracks.agreement(np.concatenate([errors.ravel() for errors in found]) if found else np.zeros(0))
    shares = [figures.within[limit] or 0.0 for limit in FRACTIONS_PX]
    return figures.median_px, float(np.mean(shares)) if figures.count else None


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


def _outline_figures(
    project: Project, clip: SyntheticClip, layers: list[int]
) -> tuple[dict[str, dict[str, Figure]], Figure]:
    """Along the true outlines: errors of the objects' mattes, by object, and of frames before other backgrounds."""
    noted = {kind: {name: list[float]() for name in clip.names[:-1]} for kind in OUTLINE_KINDS}
    edits: list[float] = []
    true_foregrounds = clip.render((*clip.textures[:-1], np.zeros_like(clip.textures[-1])))
    for frame, (picture, cutout) in enumerate(zip(clip.frames, halos.cut_out(project), strict=True)):
        shares = mattes(project, frame, picture)
        for name, layer, true in zip(clip.names[:-1], layers, clip.alpha[:, frame], strict=False):
            errors = matting.band_errors(shares[layer], true, halos.outline_band(true))
            errors |= {"matte_ramp_px": measures.ramp_px(shares[layer]), "true_ramp_px": measures.ramp_px(true)}
            for kind, error in errors.items():
                noted[kind][name].append(error)
        truth = halos.Cutout(1 - clip.alpha[-1, frame], true_foregrounds[frame])
        edits.append(halos.edit_error(cutout, truth))
    means = {kind: {name: mean_or_none(found) for name, found in of.items()} for kind, of in noted.items()}
    return means, mean_or_none(edits)


def _matting(project: Project, clip: SyntheticClip, layers: list[int]) -> dict[str, Matting]:
    """Each object's matte over whole frames, as papers report it."""
    noted = {name: dict[str, list[float]]() for name in clip.names[:-1]}
    before: dict[str, np.ndarray] = {}
    for frame, picture in enumerate(clip.frames):
        shares = mattes(project, frame, picture)
        for name, layer, true in zip(clip.names[:-1], layers, clip.alpha[:, frame], strict=False):
            errors = matting.frame_errors(shares[layer], true)
            if frame:
                true_before = clip.alpha[clip.names.index(name), frame - 1]
                errors["dtssd"] = matting.dtssd(before[name], shares[layer], true_before, true)
            before[name] = shares[layer]
            for kind, error in errors.items():
                noted[name].setdefault(kind, []).append(error)
    return {
        name: Matting(**{kind: mean_or_none(found.get(kind, ())) for kind in Matting.__struct_fields__})
        for name, found in noted.items()
    }
