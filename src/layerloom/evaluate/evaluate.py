"""How good a decomposition is: figures of a project against its source. docs/evaluation.md defines each one.

Everything is measured at source size on the frames that `render` gives, except what is said to be at training size
and what is measured on frames whose longer side is at most `observations.SMALL_LONG_EDGE`.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Int8

from layerloom.data.clip import Masks
from layerloom.data.project import Project
from layerloom.evaluate import davis, tapvid, tracks
from layerloom.evaluate.figures import (
    Evaluation,
    Figure,
    LayerEdit,
    LayerLight,
    LayerTracks,
    Mattes,
    Reconstruction,
    Survival,
    mean_or_none,
    none_if_not_finite,
)
from layerloom.evaluate.observations import Given, Observations, observe
from layerloom.evaluate.spool import FrameSpool
from layerloom.evaluate.stability import stability
from layerloom.evaluate.tracks import Tracks, UvMap, project_uv

SIFT_STEP = 8
WATCHED_PERCENT, CARRIED_PERCENT, EDITED_PERCENT = 60, 70, 80
"""How much of the time has passed, about, when the frames were gone through, tracks carried, and edits tracked."""

Progress = Callable[[int, int], None]
"""Is told how much is done, of how much."""
Owner = Int8[np.ndarray, "h w"]


def evaluate(
    project: Project,
    masks: Masks | None = None,
    track_file: Path | None = None,
    lpips_weights: Path | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """All figures that need no truth; None where there was nothing to measure.

    masks: given ones at source size, for the project's frames; objects are matched by name, or by overlap where names
    differ. track_file: tracks of the source in TAP-Vid's format. lpips_weights: a state dict of AlexNet or VGG16,
    which LPIPS needs. LayerloomError if the source is gone, or masks, tracks or weights do not fit.
    """
    tell: Progress = progress or (lambda done, total: None)
    size = project.source.size
    given_tracks = None if track_file is None else tapvid.read_tapvid(track_file, size, project.source.frames)
    given = Given(project, masks, lpips_weights)
    seen = observe(project, given, lambda done, total: tell(WATCHED_PERCENT * done // total, 100))
    corners = tracks.track_corners(seen.grey_source)
    carried = _track_figures(project, seen, corners, given_tracks)
    tell(CARRIED_PERCENT, 100)
    edit = _edit_figures(project, seen, corners)
    tell(EDITED_PERCENT, 100)
    names = tuple(layer.name for layer in project.layers)
    warp = stability(seen, names)
    tell(100, 100)
    return Evaluation(
        size=size,
        training_size=project.training_size,
        frames=project.source.frames,
        layers=names,
        reconstruction=_reconstruction(seen.per_frame),
        mattes=_mattes(project, seen.per_frame, given),
        light=_light(names, seen),
        tracks=carried,
        tapvid=None if given_tracks is None else tapvid.judge_as_tracker(project, given_tracks),
        edit=edit,
        warp=warp,
        per_frame={name: [none_if_not_finite(value) for value in values] for name, values in seen.per_frame.items()},
    )


def _reconstruction(per_frame: dict[str, list[float]]) -> Reconstruction:
    def mean(name: str) -> Figure:
        return mean_or_none(per_frame.get(name, ()))

    return Reconstruction(
        psnr_db=mean("psnr"),
        psnr_training_size_db=mean("psnr_training_size"),
        psnr_unlit_db=mean("psnr_unlit"),
        ssim=mean("ssim"),
        ssim_unlit=mean("ssim_unlit"),
        lpips=mean("lpips"),
        lpips_unlit=mean("lpips_unlit"),
    )


def _mattes(project: Project, per_frame: dict[str, list[float]], given: Given) -> Mattes:
    def of_each(figure: str, names: Sequence[str]) -> dict[str, Figure]:
        return {name: mean_or_none(per_frame[f"{figure}/{name}"]) for name in names}

    masked = list(given.layer_of)
    layers = {name: None if number is None else project.layers[number].name for name, number in given.layer_of.items()}
    return Mattes(
        undecided=mean_or_none(per_frame["undecided"]),
        halo_px=mean_or_none(per_frame["halo_px"]),
        ramp_px=of_each("ramp_px", [layer.name for layer in project.layers if layer.kind == "object"]),
        iou=of_each("iou", masked),
        boundary_f=of_each("boundary_f", masked),
        davis={
            name: davis.agreement(layers[name], per_frame[f"iou/{name}"], per_frame[f"boundary_f/{name}"])
            for name in masked
        },
    )


def _light(names: Sequence[str], seen: Observations) -> dict[str, LayerLight]:
    return {
        name: LayerLight(
            fine=none_if_not_finite(lit.rms),
            follows_texture=none_if_not_finite(lit.share),
            ghost_levels=none_if_not_finite(255 * card.following_rms),
        )
        for name, lit, card in zip(names, seen.lights, seen.cards, strict=True)
    }


def _track_figures(
    project: Project, seen: Observations, corners: Tracks, given: Tracks | None
) -> dict[str, dict[str, LayerTracks]]:
    """How far each layer's uv map carries tracks of the source from where they are, and how uv wanders along them."""
    sift = tracks.match_sift(seen.grey_source, SIFT_STEP)
    found = {
        "corners": (corners, _owners_of(corners, seen.owner, interior_owner)),
        "sift": (sift, _owners_of(sift, seen.owner)),
    }
    if given is not None:
        found["given"] = (given, _owners_of(given, seen.owner))
    return {
        kind: {
            layer.name: _carried(project_uv(project, number), some.within(owner == number))
            for number, layer in enumerate(project.layers)
        }
        for kind, (some, owner) in found.items()
    }


def _carried(uv_map: UvMap, some: Tracks) -> LayerTracks:
    errors, wander = tracks.carry_errors(uv_map, some), tracks.uv_wander(uv_map, some)
    return LayerTracks(
        tracks=len(some.points),
        uv_wander_texels=float(np.median(wander)) if len(wander) else None,
        by_length=tracks.agreement_by_length(errors, some),
    )


def _edit_figures(project: Project, seen: Observations, corners: Tracks) -> dict[str, LayerEdit]:
    """Per layer: the source's corners tracked on the edited video, and the latter's SIFT matches on the source."""
    matched = tracks.match_sift(seen.grey_edited, SIFT_STEP)
    interior, owner = _owners_of(corners, seen.owner, interior_owner), _owners_of(matched, seen.owner)
    figures: dict[str, LayerEdit] = {}
    for number, layer in enumerate(project.layers):
        inside = corners.within(interior == number)
        followed = tracks.follow(seen.grey_edited, inside)
        ends = matched.within(owner == number)
        figures[layer.name] = LayerEdit(
            corners=tracks.agreement_by_length(_apart(inside, followed), inside),
            survival=_survival(inside, followed),
            sift=tracks.agreement(_apart(ends, tracks.follow(seen.grey_source, ends))),
        )
    return figures


def interior_owner(owner: Owner) -> Owner:
    """The owner, or −1 where the window of the corner tracker would reach another owner: outlines drag tracks along."""
    window = np.ones((tracks.WINDOW_PX, tracks.WINDOW_PX), np.uint8)
    owners = owner.astype(np.int16)
    highest = cv2.dilate(owners, window)
    lowest = cv2.erode(np.where(owners < 0, np.int16(128), owners), window)
    return np.where(highest == lowest, owners, np.int16(-1)).astype(np.int8)


def _owners_of(
    some: Tracks, owner: FrameSpool, view: Callable[[Owner], Owner] = lambda owner: owner
) -> Int8[np.ndarray, "n t"]:
    """The layer that has the pixel under each point, as a view of a frame's owners tells it; −1 for none."""
    column, row = some.points.astype(np.int64).transpose(2, 0, 1)
    found = np.empty(some.seen.shape, np.int8)
    for frame, stored in enumerate(owner):
        owners = view(stored)
        height, width = owners.shape
        found[:, frame] = owners[row[:, frame].clip(0, height - 1), column[:, frame].clip(0, width - 1)]
    return found


def _apart(first: Tracks, second: Tracks) -> np.ndarray:
    """Distance in pixels where both are seen, after the anchor; else NaN."""
    distance = np.linalg.norm(first.points.astype(np.float64) - second.points, axis=-1)
    after = np.arange(first.seen.shape[1]) > first.anchor[:, None]
    both: Bool[np.ndarray, "n t"] = first.seen & second.seen & after
    return np.where(both, distance, np.nan)


def _survival(source: Tracks, followed: Tracks) -> Survival:
    """Mean frames that a track lasts on the source, and on the edited video up to there."""
    lasts = [mean_or_none(some.length.astype(float).tolist()) for some in (source, followed)]
    return Survival(source_frames=lasts[0], edited_frames=lasts[1])
