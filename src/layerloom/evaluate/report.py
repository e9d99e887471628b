"""The figures of `evaluate` as one HTML file that needs nothing else: filmstrips, plots, tables, settings."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerloom.core.atomic import atomic_file
from layerloom.core.geometry import Size
from layerloom.data.project import Project
from layerloom.evaluate import tracks
from layerloom.evaluate.charts import Chart, Series, line_chart
from layerloom.evaluate.figures import Agreement, Evaluation, Figure, LayerTracks, Region, Stability
from layerloom.evaluate.report_pictures import (
    CHECKER_TEXELS,
    ERROR_GAIN,
    EncodedPicture,
    frame_pictures,
    texture_picture,
)
from layerloom.render.renderer import Renderer

WORST_FRAMES = 4
EVEN_FRAMES = 4
WORST_MASKS = 5
"""Frames of each object, by J, that are listed."""
FEWEST_TRACKS = 20
TRACK_KINDS = {"corners": "Shi–Tomasi corners", "sift": "SIFT matches", "given": "given tracks"}

Table = tuple[list[str], list[list[str]]]
"""Heads and rows."""


@dataclass(frozen=True)
class Column:
    """A frame of the filmstrip. number: the source's. why: what it is shown for, if anything."""

    number: int
    psnr_db: Figure
    why: str
    pictures: list[EncodedPicture]


def write_report(path: Path, project: Project, figures: Evaluation) -> None:
    """Write the report of what `evaluate` gave for a project; whole or not at all. An older report is replaced."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    page = environment.get_template("report.html.j2").render(
        title=project.path.stem,
        subtitle=_subtitle(project),
        tiles=headlines(figures),
        error_gain=ERROR_GAIN,
        checker_texels=CHECKER_TEXELS,
        columns=_columns(project, figures),
        textures=[
            {
                "picture": texture_picture(layer.texture, layer.name),
                "caption": f"{layer.name} · {_times(layer.canvas)} texels",
            }
            for layer in project.layers
        ],
        time_charts=_time_charts(figures.per_frame),
        object_heads=["object", "found as", *(f"{kind} {part}" for kind in "JF" for part in Region.__struct_fields__)],
        objects=_objects(figures),
        worst_masks=_worst_masks(project, figures),
        light=_light(figures),
        tracks=[_agreement_table(kind, _by_length(layers)) for kind, layers in figures.tracks.items()],
        edits=_edit_tables(figures),
        stability=_stability_tables(figures.warp),
        learning_charts=_learning_charts(project.figures.get("history", [])),
        details=_details(project, figures),
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def frames_to_show(per_frame: Series) -> dict[int, str]:
    """The worst frames first, by PSNR and then by each object's J, then some spread evenly; with why each is shown."""
    psnr = per_frame["psnr"]
    shown = dict.fromkeys(_worst(psnr)[:WORST_FRAMES], "worst")
    for key, values in per_frame.items():
        if key.startswith("iou/") and (worst := _worst(values)):
            shown.setdefault(worst[0], f"worst matte of {key[4:]}")
    even = np.linspace(0, len(psnr) - 1, min(EVEN_FRAMES, len(psnr))).round().astype(int).tolist()
    return shown | {frame: "" for frame in even if frame not in shown}


def headlines(figures: Evaluation) -> list[tuple[str, str]]:
    """The few figures that say most, as (value, caption)."""
    reconstruction, found = figures.reconstruction, figures.mattes
    tiles = [
        (_number(reconstruction.psnr_db, 2, " dB"), "reconstruction PSNR"),
        (_number(reconstruction.psnr_unlit_db, 2, " dB"), "PSNR without lighting"),
        (_number(reconstruction.ssim, 4), "reconstruction SSIM"),
        (_share(found.undecided), "undecided pixels"),
    ]
    if found.halo_px is not None:
        tiles.append((_number(found.halo_px, 2, " px"), "halo of the old background"))
    if reconstruction.lpips is not None:
        tiles.insert(3, (_number(reconstruction.lpips, 4), "reconstruction LPIPS"))
    tiles += [(_number(value, 3), f"matte IoU, {name}") for name, value in found.iou.items()]
    tiles += [
        (_number(light.ghost_levels, 1, " levels"), f"ghost on a grey card, {name}")
        for name, light in figures.light.items()
    ]
    return tiles + [_track_tile(name, layer) for name, layer in figures.tracks["corners"].items()]


def _track_tile(name: str, layer: LayerTracks) -> tuple[str, str]:
    """The longest tracks of which there are enough to say something, else all."""
    lengths = [key for key, found in layer.by_length.items() if key.isdigit() and found.count >= FEWEST_TRACKS]
    figure = layer.by_length[lengths[-1] if lengths else "all"]
    caption = f"{lengths[-1]}-frame tracks" if lengths else "points of tracks"
    return f"{_share(figure.within['2'])} of {figure.count}", f"{caption} within 2 px, {name}"


def _subtitle(project: Project) -> str:
    source = project.source
    learned = "" if project.training_size == source.size else f", learned at {_times(project.training_size)}"
    return (
        f"{source.path.name} · {_times(source.size)}{learned} · {source.frames} frames · {float(source.fps):.4g} fps ·"
        f" {len(project.layers)} layers, front to back: {', '.join(layer.name for layer in project.layers)}"
    )


def _worst(values: Sequence[Figure]) -> list[int]:
    """Frames by a figure, the lowest first; without those that have none."""
    known = {frame: value for frame, value in enumerate(values) if value is not None}
    return sorted(known, key=known.__getitem__)


def _columns(project: Project, figures: Evaluation) -> list[Column]:
    psnr, first, renderer = figures.per_frame["psnr"], project.source.first_frame, Renderer(project)
    return [
        Column(first + frame, psnr[frame], why, frame_pictures(project, frame, renderer))
        for frame, why in frames_to_show(figures.per_frame).items()
    ]


def _time_charts(per_frame: Series) -> list[Chart]:
    groups: dict[str, dict[str, str]] = {
        "PSNR, dB": {"psnr": "with lighting", "psnr_unlit": "without"},
        "SSIM": {"ssim": "with lighting", "ssim_unlit": "without"},
        "LPIPS": {"lpips": "with lighting", "lpips_unlit": "without"} if "lpips" in per_frame else {},
        "Undecided pixels": {"undecided": "share"},
        "Halo of the old background, px": {"halo_px": "width"},
        "Outline's softness, px": {key: key[8:] for key in per_frame if key.startswith("ramp_px/")},
        "Matte IoU": {key: key[4:] for key in per_frame if key.startswith("iou/")},
        "Boundary F": {key: key[11:] for key in per_frame if key.startswith("boundary_f/")},
    }
    charts = [
        line_chart(title, {label: per_frame[key] for key, label in keys.items()}, "frame")
        for title, keys in groups.items()
    ]
    return [chart for chart in charts if chart is not None]


def _learning_charts(history: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Curves of training, where the project holds them."""
    if len(history) < 2:
        return []
    steps = [entry["step"] for entry in history]
    charts = [line_chart("Training PSNR, dB", {"": [entry["psnr"] for entry in history]}, "step", steps)]
    for name in history[-1]["terms"]:
        values = [entry["terms"].get(name) for entry in history]
        charts.append(line_chart(f"Loss: {name}", {"": values}, "step", steps))
    return [chart for chart in charts if chart is not None]


def _objects(figures: Evaluation) -> list[list[str]]:
    """J and F of each object that has a given mask."""
    return [
        [name, found.layer or "not found"]
        + [_number(getattr(region, part), 3) for region in (found.j, found.f) for part in Region.__struct_fields__]
        for name, found in figures.mattes.davis.items()
    ]


def _worst_masks(project: Project, figures: Evaluation) -> list[list[str]]:
    """Frames of each object, the worst ones first."""
    rows: list[list[str]] = []
    for name in figures.mattes.davis:
        j, f = figures.per_frame[f"iou/{name}"], figures.per_frame[f"boundary_f/{name}"]
        rows += [
            [f"{name}, frame {project.source.first_frame + frame}", _number(j[frame], 3), _number(f[frame], 3)]
            for frame in _worst(j)[:WORST_MASKS]
        ]
    return rows


def _light(figures: Evaluation) -> list[list[str]]:
    return [
        [name, _number(light.fine, 4), _share(light.follows_texture), _number(light.ghost_levels, 2)]
        for name, light in figures.light.items()
    ]


def _by_length(layers: Mapping[str, LayerTracks]) -> dict[str, Mapping[str, Agreement]]:
    return {name: layer.by_length for name, layer in layers.items()}


def _edit_tables(figures: Evaluation) -> list[Table]:
    return [
        _agreement_table("corners", {name: layer.corners for name, layer in figures.edit.items()}),
        _agreement_table("sift", {name: {"all": layer.sift} for name, layer in figures.edit.items()}),
    ]


def _agreement_table(kind: str, layers: Mapping[str, Mapping[str, Agreement]]) -> Table:
    """A row for each layer and track length."""
    rows = [
        [
            f"{name}, {'all frames' if key == 'all' else f'frame {key} of a track'}",
            f"{entry.count}",
            _number(entry.median_px, 2),
            _number(entry.mean_px, 2),
            *(_share(share) for share in entry.within.values()),
        ]
        for name, layer in layers.items()
        for key, entry in layer.items()
    ]
    limits = [f"≤ {limit} px" for limit in tracks.THRESHOLDS_PX]
    return [TRACK_KINDS[kind], "points", "median px", "mean px", *limits], rows


def _stability_tables(warp: Stability) -> list[Table]:
    names = {"source": "source", "rebuilt": "reconstruction", "edited": "pattern edit"}
    rows = [
        [
            caption,
            _number(getattr(warp.short, name), 2),
            _number(getattr(warp.long, name), 2),
            _number(getattr(warp.flicker, name, None), 2),
        ]
        for name, caption in names.items()
    ]
    heads = ["8-bit levels", "warp error, 1 frame", f"warp error, {warp.long.step} frames", "flicker"]
    mattes_changed = [[name, _number(value, 4)] for name, value in warp.matte_instability.items()]
    return [(heads, rows), (["matte", "change along the flow"], mattes_changed)]


def _details(project: Project, figures: Evaluation) -> list[tuple[str, str]]:
    stored = {"settings": project.settings, "provenance": project.provenance}
    parts = {"How it was made": stored, "All figures": figures.to_json()}
    return [(title, json.dumps(values, indent=1, ensure_ascii=False)) for title, values in parts.items()]


def _times(size: Size) -> str:
    return f"{size[0]} × {size[1]}"


def _number(value: Figure, digits: int, unit: str = "") -> str:
    return "–" if value is None else f"{value:.{digits}f}{unit}"


def _share(value: Figure) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
