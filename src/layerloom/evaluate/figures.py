"""The figures of a project as values; docs/evaluation.md defines each one, by its name in the JSON that is made here.

None stands where there was nothing to measure. Layers, objects and kinds of tracks go by name.
"""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

Figure = float | None


def _without_db(name: str) -> str:
    """Names in the JSON are older than units in names."""
    return name.removesuffix("_db")


class Reconstruction(msgspec.Struct, frozen=True, kw_only=True, rename=_without_db):
    """How near the layers alone come to the source. Means over the frames."""

    psnr_db: Figure
    psnr_training_size_db: Figure
    psnr_unlit_db: Figure
    ssim: Figure
    ssim_unlit: Figure
    lpips: Figure = None
    lpips_unlit: Figure = None


class Region(msgspec.Struct, frozen=True, kw_only=True):
    """J or F of an object over the frames that have a mask, as DAVIS sums them up."""

    mean: Figure
    recall: Figure
    """Share of the frames above one half."""
    decay: Figure
    """Mean of the first quarter less that of the last."""


class MaskAgreement(msgspec.Struct, frozen=True, kw_only=True):
    """An object against its given mask."""

    layer: str | None
    """What was found of it; None where nothing was, which scores 0."""
    j: Region
    f: Region


class Mattes(msgspec.Struct, frozen=True, kw_only=True):
    """What needs no truth, then what was measured against given masks."""

    undecided: Figure
    halo_px: Figure
    ramp_px: dict[str, Figure]
    iou: dict[str, Figure]
    boundary_f: dict[str, Figure]
    davis: dict[str, MaskAgreement]


class LayerLight(msgspec.Struct, frozen=True, kw_only=True):
    """How much fine light a layer has, and how much of it is the texture's."""

    fine: Figure
    follows_texture: Figure
    ghost_levels: Figure


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Distances in pixels between points that should be one."""

    count: int
    median_px: Figure
    mean_px: Figure
    within: dict[str, Figure]


class LayerTracks(msgspec.Struct, frozen=True, kw_only=True):
    """Tracks of the source on one layer, carried by its uv map."""

    tracks: int
    uv_wander_texels: Figure
    by_length: dict[str, Agreement]
    """"all", then lengths in frames."""


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """Mean frames that a track lasts."""

    source_frames: Figure
    edited_frames: Figure


class LayerEdit(msgspec.Struct, frozen=True, kw_only=True):
    """What trackers see of an edit on one layer."""

    corners: dict[str, Agreement]
    survival: Survival
    sift: Agreement


class TapVid(msgspec.Struct, frozen=True, kw_only=True):
    """The layers taken for a point tracker, judged as TAP-Vid judges one; shares."""

    average_jaccard: Figure
    delta_average: Figure
    occlusion_accuracy: Figure


class WarpError(msgspec.Struct, frozen=True, kw_only=True):
    """In 8-bit levels along the flow, over `step` frames."""

    step: int
    source: Figure
    rebuilt: Figure
    edited: Figure


class Flicker(msgspec.Struct, frozen=True, kw_only=True):
    """Change that the source does not have, in 8-bit levels."""

    rebuilt: Figure
    edited: Figure


class Stability(msgspec.Struct, frozen=True, kw_only=True):
    """What changes along the flow."""

    short: WarpError
    long: WarpError
    flicker: Flicker
    matte_instability: dict[str, Figure]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of a project that need no truth."""

    size: tuple[int, int]
    training_size: tuple[int, int]
    frames: int
    layers: tuple[str, ...]
    reconstruction: Reconstruction
    mattes: Mattes
    light: dict[str, LayerLight]
    tracks: dict[str, dict[str, LayerTracks]]
    tapvid: TapVid | None
    edit: dict[str, LayerEdit]
    warp: Stability
    per_frame: dict[str, list[Figure]]

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; None for what is not finite."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        for layers in plain["tracks"].values():
            for layer in layers.values():
                layer |= layer.pop("by_length")
        return plain


class EditAgreement(msgspec.Struct, frozen=True, kw_only=True, rename=lambda name: f"edit_{_without_db(name)}"):
    """An edit against what it should be."""

    psnr_inside_db: Figure
    identical_outside: bool
    changed_outside: float


class HiddenAgreement(msgspec.Struct, frozen=True, kw_only=True, rename=_without_db):
    """Hidden objects against the true clean plate: where they were, and in their contact shadows."""

    psnr_covered_db: Figure
    psnr_contact_db: Figure


class Matting(msgspec.Struct, frozen=True, kw_only=True):
    """A matte against the true one over whole frames, in the units of papers on video matting."""

    mad: Figure
    mse: Figure
    grad: Figure
    conn: Figure
    dtssd: Figure


class TruthFigures(msgspec.Struct, frozen=True, kw_only=True, rename=_without_db):
    """All figures against the truth of a synthetic clip, by layer or object."""

    psnr_db: Figure
    track_px: dict[str, Figure]
    track_fraction: dict[str, Figure]
    iou: dict[str, Figure]
    light_correlation: dict[str, Figure]
    light_slope: dict[str, Figure]
    matte_mad: dict[str, Figure]
    matte_mse: dict[str, Figure]
    matte_sad: dict[str, Figure]
    matte_gradient: dict[str, Figure]
    matte_ramp_px: dict[str, Figure]
    true_ramp_px: dict[str, Figure]
    matting: dict[str, Matting]
    background_edit_levels: Figure
    hidden: HiddenAgreement
    edit: EditAgreement | None
    """None where nothing was edited."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for a JSON file; the edit's figures lie beside the others."""
        plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return plain | (plain.pop("edit") or {})


def none_if_not_finite(value: float) -> Figure:
    """The value, or None for NaN and infinity."""
    return float(value) if math.isfinite(value) else None


def mean_or_none(values: Sequence[float]) -> Figure:
    """Mean of the finite ones."""
    finite = [value for value in values if math.isfinite(value)]
    return float(np.mean(finite)) if finite else None
