"""The figures of `evaluate` as one HTML file that needs nothing else: filmstrips, plots, tables, settings."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.core.atomic import atomic_file
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.edits.document import Background
from layerloom.evaluate import tracks
from layerloom.evaluate.evaluate import render_pattern
from layerloom.evaluate.halos import SCREENS
from layerloom.render.renderer import Renderer
from layerloom.render.stream import render_images

FRAME_LONG_EDGE = 640
TEXTURE_LONG_EDGE = 960
WORST_FRAMES = 4
EVEN_FRAMES = 4
CHECKER_TEXELS = 24
FEWEST_TRACKS = 20
ERROR_GAIN = 8
CHART: Size = (440, 180)
PLOT = ((52.0, 8.0), (434.0, 156.0))
"""Upper left and lower right corner of a chart's lines."""
JPEG_QUALITY = 88
TRACK_KINDS = {"corners": "Shi–Tomasi corners", "sift": "SIFT matches", "given": "given tracks"}
LINE_COLOURS = ("#6ea8fe", "#f2a65a", "#7fd1ae", "#d58fd6", "#e8d174", "#ef7d7d", "#9aa5b8", "#8cc6d9")
EMPTY_GREY = 0.13
"""What lies under a layer that covers nothing."""

Picture = Float32[np.ndarray, "h w 3"]
Series = Mapping[str, Sequence[float | None]]

STYLE = """
:root { color-scheme: dark; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1500px; padding: 40px 36px 80px; background: #15171a; color: #cfd3da;
       font: 14px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 26px; font-weight: 600; color: #f1f3f6; }
h2 { margin: 52px 0 14px; font-size: 17px; font-weight: 600; color: #f1f3f6; }
p { margin: 6px 0 14px; max-width: 90ch; color: #969dab; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 26px 0 0; }
.tile { min-width: 138px; padding: 13px 16px; border-radius: 8px; background: #1e2126; }
.tile b { display: block; font-size: 22px; font-weight: 600; color: #f1f3f6; font-variant-numeric: tabular-nums; }
.tile span { color: #969dab; font-size: 12.5px; }
.strip { display: grid; grid-template-columns: 118px repeat(var(--frames), minmax(170px, 1fr)); gap: 5px;
         overflow-x: auto; align-items: center; }
.strip .head, .strip .name { color: #969dab; font-size: 12.5px; }
.strip .head b { color: #f1f3f6; font-weight: 600; }
.strip .name { position: sticky; left: 0; background: #15171a; padding-right: 8px; height: 100%; display: flex;
               align-items: center; overflow-wrap: anywhere; }
img { display: block; width: 100%; border-radius: 3px; cursor: zoom-in; background: #212429; }
.textures, .charts { display: flex; flex-wrap: wrap; gap: 16px; }
.textures figure { margin: 0; }
.textures img { width: auto; min-width: 260px; max-width: 100%; max-height: 460px; }
figcaption { margin-top: 5px; color: #969dab; font-size: 12.5px; }
.chart { padding: 12px 14px 8px; border-radius: 8px; background: #1e2126; }
.chart .title { color: #f1f3f6; }
.chart span + span { margin-left: 12px; font-size: 12px; }
.chart svg { display: block; }
.chart text { fill: #969dab; font-size: 11px; }
table { margin-bottom: 22px; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 18px 5px 0; border-bottom: 1px solid #262a30; text-align: right; font-weight: 400; }
th { color: #969dab; font-size: 12.5px; vertical-align: bottom; }
th:first-child, td:first-child { min-width: 270px; text-align: left; }
th + th, td + td { min-width: 76px; }
details { margin-top: 14px; }
summary { cursor: pointer; color: #f1f3f6; }
pre { padding: 14px 16px; border-radius: 8px; background: #1e2126; overflow-x: auto; font-size: 12.5px; }
dialog { padding: 0; border: 0; max-width: 96vw; background: none; }
dialog img { width: auto; min-width: 60vw; max-width: 96vw; max-height: 94vh; object-fit: contain; cursor: zoom-out; }
dialog::backdrop { background: #000c; }
"""

SCRIPT = """
const dialog = document.querySelector("dialog"), large = dialog.querySelector("img");
document.body.addEventListener("click", event => {
  if (dialog.open) dialog.close();
  else if (event.target.tagName === "IMG") { large.src = event.target.src; dialog.showModal(); }
});
"""


def write_report(path: Path, project: Project, figures: Mapping[str, Any]) -> None:
    """Write the report of what `evaluate` gave for a project; whole or not at all. An older report is replaced."""
    frames = frames_to_show(figures["per_frame"]["psnr"])
    body = "\n".join(
        [
            _title(project),
            _tiles(figures),
            _filmstrip(project, frames, figures["per_frame"]["psnr"]),
            _textures(project),
            _time_charts(figures["per_frame"]),
            _tables(figures),
            _learning_charts(project.figures.get("history", [])),
            _settings(project, figures),
        ]
    )
    title = f"{html.escape(project.path.stem)} · layerloom"
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style><body>{body}<dialog><img alt=''></dialog><script>{SCRIPT}</script></body></html>\n"
    )
    with atomic_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def frames_to_show(psnr: Sequence[float | None]) -> list[int]:
    """The worst frames first, then some spread evenly over the clip."""
    by_quality = sorted(range(len(psnr)), key=lambda frame: psnr[frame] or 0.0)
    worst = by_quality[:WORST_FRAMES]
    even = np.linspace(0, len(psnr) - 1, min(EVEN_FRAMES, len(psnr))).round().astype(int).tolist()
    return worst + [frame for frame in even if frame not in worst]


def _title(project: Project) -> str:
    source = project.source
    width, height = source.size
    learned = "" if project.training_size == source.size else f", learned at {_times(project.training_size)}"
    return (
        f"<h1>{html.escape(project.path.stem)}</h1><p>{html.escape(source.path.name)} · {width} × {height}{learned} ·"
        f" {source.frames} frames · {float(source.fps):.4g} fps · {len(project.layers)} layers, front to back:"
        f" {html.escape(', '.join(layer.name for layer in project.layers))}</p>"
    )


def headlines(figures: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The few figures that say most, as (value, caption)."""
    reconstruction = figures["reconstruction"]
    tiles = [
        (_number(reconstruction["psnr"], 2, " dB"), "reconstruction PSNR"),
        (_number(reconstruction["psnr_unlit"], 2, " dB"), "PSNR without lighting"),
        (_number(reconstruction["ssim"], 4), "reconstruction SSIM"),
        (_share(figures["mattes"]["undecided"]), "undecided pixels"),
    ]
    if figures["mattes"]["halo_px"] is not None:
        tiles.append((_number(figures["mattes"]["halo_px"], 2, " px"), "halo of the old background"))
    if reconstruction["lpips"] is not None:
        tiles.insert(3, (_number(reconstruction["lpips"], 4), "reconstruction LPIPS"))
    tiles += [(_number(value, 3), f"matte IoU, {name}") for name, value in figures["mattes"]["iou"].items()]
    tiles += [_track_tile(name, layer) for name, layer in figures["tracks"]["corners"].items()]
    return tiles


def _track_tile(name: str, layer: Mapping[str, Any]) -> tuple[str, str]:
    """The longest tracks of which there are enough to say something, else all."""
    lengths = [key for key in layer if key.isdigit() and layer[key]["count"] >= FEWEST_TRACKS]
    figure = layer[lengths[-1] if lengths else "all"]
    caption = f"{lengths[-1]}-frame tracks" if lengths else "points of tracks"
    return f"{_share(figure['within']['2'])} of {figure['count']}", f"{caption} within 2 px, {name}"


def _tiles(figures: Mapping[str, Any]) -> str:
    cells = (
        f'<div class="tile"><b>{value}</b><span>{html.escape(caption)}</span></div>'
        for value, caption in headlines(figures)
    )
    return f'<div class="tiles">{"".join(cells)}</div>'


def _filmstrip(project: Project, frames: Sequence[int], psnr: Sequence[float | None]) -> str:
    """A grid: a column for each frame, a row for each kind of picture."""
    renderer = Renderer(project)
    columns = [dict(_pictures(project, frame, renderer)) for frame in frames]
    heads = [
        f'<div class="head"><b>frame {project.source.first_frame + frame}</b> · {_number(psnr[frame], 2, " dB")}'
        f"{' · worst' if position < WORST_FRAMES else ''}</div>"
        for position, frame in enumerate(frames)
    ]
    rows = ["<div></div>", *heads]
    for name in columns[0]:
        rows.append(f'<div class="name">{html.escape(name)}</div>')
        rows += [_image(column[name], FRAME_LONG_EDGE, name) for column in columns]
    return (
        "<h2>Frames, the worst ones first</h2>"
        f"<p>The error is shown {ERROR_GAIN} times as strong. Cells of the uv checkerboard are {CHECKER_TEXELS} texels"
        " wide and should stick to what they lie on. Middle grey is light that changes nothing."
        " Before green and magenta no rim of the old background should show."
        " The last row is what the edit figures are measured on.</p>"
        f'<div class="strip" style="--frames: {len(frames)}">{"".join(rows)}</div>'
    )


def _pictures(project: Project, frame: int, renderer: Renderer) -> Iterator[tuple[str, Picture]]:
    """All pictures of one frame (counted from the project's first), by caption."""
    used = range(project.source.first_frame + frame, project.source.first_frame + frame + 1)
    stored = next(iter(project.read_source(used)))
    source = media.to_float(stored)
    rebuilt = media.to_float(next(render_images(project, (), used, "synthesis", renderer=renderer)))
    yield "source", source
    yield "reconstruction", rebuilt
    yield "error", np.abs(rebuilt - source) * ERROR_GAIN
    shares = mattes(project, frame, stored)
    for number, layer in enumerate(project.layers):
        uv, light = project.uv(number, frame), project.lighting(number, frame)
        share = shares[number][..., None]
        yield f"{layer.name}: layer", _over_empty(layer.look_up(uv) * light, share)
        yield f"{layer.name}: matte", np.repeat(share, 3, 2)
        yield f"{layer.name}: uv", _over_empty(checkerboard(uv, layer.canvas), share)
        yield f"{layer.name}: lighting", _over_empty(light * 0.5, share)
    for name, screen in zip(("on green", "on magenta"), SCREENS, strict=True):
        yield name, media.to_float(next(render_images(project, [Background(screen)], used, renderer=renderer)))
    yield "pattern edit", media.to_float(next(render_pattern(project, used, renderer)))


def checkerboard(uv: Float32[np.ndarray, "h w 2"], canvas: Size) -> Picture:
    """Cells of CHECKER_TEXELS; their hue tells where on the canvas they are."""
    cell = np.floor(uv / CHECKER_TEXELS)
    bright = np.where(cell.sum(-1) % 2 == 0, 1.0, 0.45)
    place = np.clip((cell + 0.5) * CHECKER_TEXELS / np.array(canvas), 0, 1)
    colour = np.stack([0.25 + 0.7 * place[..., 0], 0.3 + 0.6 * place[..., 1], 0.9 - 0.6 * place[..., 0]], -1)
    return (colour * bright[..., None]).astype(np.float32)


def _over_empty(picture: Picture, share: Float32[np.ndarray, "h w 1"]) -> Picture:
    return picture * share + np.float32(EMPTY_GREY) * (1 - share)


def _textures(project: Project) -> str:
    figures = [
        f"<figure>{_image(_texture_picture(layer.texture), TEXTURE_LONG_EDGE, layer.name)}<figcaption>"
        f"{html.escape(layer.name)} · {_times(layer.canvas)} texels</figcaption></figure>"
        for layer in project.layers
    ]
    return f'<h2>Textures</h2><p>Dark where no frame saw them.</p><div class="textures">{"".join(figures)}</div>'


def _texture_picture(texture: Float32[np.ndarray, "h w 4"]) -> Picture:
    return _over_empty(texture[..., :3], texture[..., 3:])


def _time_charts(per_frame: Series) -> str:
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
        if keys
    ]
    return f'<h2>Over time</h2><div class="charts">{"".join(charts)}</div>'


def _learning_charts(history: Sequence[Mapping[str, Any]]) -> str:
    """Curves of training, where the project holds them."""
    if len(history) < 2:
        return ""
    steps = [entry["step"] for entry in history]
    charts = [line_chart("Training PSNR, dB", {"": [entry["psnr"] for entry in history]}, "step", steps)]
    for name in history[-1]["terms"]:
        values = [entry["terms"].get(name) for entry in history]
        charts.append(line_chart(f"Loss: {name}", {"": values}, "step", steps))
    return f'<h2>Learning</h2><div class="charts">{"".join(charts)}</div>'


def line_chart(title: str, series: Series, x_label: str, x_values: Sequence[int] | None = None) -> str:
    """An inline SVG of lines over `x_values` (0, 1, … by default). Missing values interrupt a line; none gives ""."""
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return ""
    spread = (max(known) - min(known)) or max(abs(known[0]), 1e-6)
    low, high = min(known) - 0.06 * spread, max(known) + 0.06 * spread
    along = [float(x) for x in x_values or range(max(len(values) for values in series.values()))]
    coloured = list(zip(series.items(), LINE_COLOURS, strict=False))
    lines = "".join(
        f'<path d="{_path(along, values, low, high)}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
        for (_, values), colour in coloured
    )
    keys = "".join(f'<span style="color: {colour}">{html.escape(name)}</span>' for (name, _), colour in coloured)
    return (
        f'<div class="chart"><span class="title">{html.escape(title)}</span>{keys}'
        f'<svg width="{CHART[0]}" height="{CHART[1]}">{_axes(low, high, along, x_label)}{lines}</svg></div>'
    )


def _path(along: Sequence[float], values: Sequence[float | None], low: float, high: float) -> str:
    (left, top), (right, bottom) = PLOT
    points: list[str] = []
    broken = True
    for x, value in zip(along, values, strict=True):
        if value is not None:
            across = left + (right - left) * (x - along[0]) / max(along[-1] - along[0], 1e-9)
            down = top + (bottom - top) * (high - value) / (high - low)
            points.append(f"{'M' if broken else 'L'}{across:.1f} {down:.1f}")
        broken = value is None
    return "".join(points)


def _axes(low: float, high: float, along: Sequence[float], x_label: str) -> str:
    (left, top), (right, bottom) = PLOT
    parts: list[str] = []
    for share in (0.0, 0.5, 1.0):
        down = bottom + share * (top - bottom)
        parts.append(f'<path d="M{left} {down:.1f}H{right}" stroke="#2c3138"/>')
        parts.append(_label(left - 6, down + 4, _short(low + share * (high - low)), "end"))
    parts.append(_label(left, bottom + 16, f"{along[0]:g}", "start"))
    parts.append(_label((left + right) / 2, bottom + 16, x_label, "middle"))
    parts.append(_label(right, bottom + 16, f"{along[-1]:g}", "end"))
    return "".join(parts)


def _short(value: float) -> str:
    """Three digits, or what fits beside a plot."""
    text = f"{value:.3g}"
    return f"{value:.0e}" if "e" in text else text


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _tables(figures: Mapping[str, Any]) -> str:
    edited = {name: {"all": layer["sift"]} for name, layer in figures["edit"].items()}
    parts = ["<h2>Tracks of the source, carried by the uv maps</h2>"]
    parts += [_agreement_table(kind, layers) for kind, layers in figures["tracks"].items()]
    parts += [
        "<h2>Tracks of the pattern edit, against those of the source</h2>",
        _agreement_table("corners", {name: layer["corners"] for name, layer in figures["edit"].items()}),
        _agreement_table("sift", edited),
        "<h2>Stability</h2>",
        _stability_table(figures["warp"]),
    ]
    return "".join(parts)


def _agreement_table(kind: str, layers: Mapping[str, Any]) -> str:
    """A row for each layer and track length."""
    rows = [
        [
            f"{name}, {'all frames' if key == 'all' else f'frame {key} of a track'}",
            f"{entry['count']}",
            _number(entry["median_px"], 2),
            _number(entry["mean_px"], 2),
            *(_share(share) for share in entry["within"].values()),
        ]
        for name, layer in layers.items()
        for key, entry in layer.items()
        if isinstance(entry, dict)
    ]
    limits = [f"≤ {limit} px" for limit in tracks.THRESHOLDS_PX]
    return _table([TRACK_KINDS[kind], "points", "median px", "mean px", *limits], rows)


def _stability_table(warp: Mapping[str, Any]) -> str:
    names = {"source": "source", "rebuilt": "reconstruction", "edited": "pattern edit"}
    rows = [
        [
            caption,
            _number(warp["short"][name], 2),
            _number(warp["long"][name], 2),
            _number(warp["flicker"].get(name), 2),
        ]
        for name, caption in names.items()
    ]
    heads = ["8-bit levels", "warp error, 1 frame", f"warp error, {warp['long']['step']} frames", "flicker"]
    mattes_changed = [[name, _number(value, 4)] for name, value in warp["matte_instability"].items()]
    return _table(heads, rows) + _table(["matte", "change along the flow"], mattes_changed)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _settings(project: Project, figures: Mapping[str, Any]) -> str:
    stored = {"settings": project.settings, "provenance": project.provenance}
    parts = [("How it was made", stored), ("All figures", figures)]
    return "<h2>Settings</h2>" + "".join(
        f"<details><summary>{title}</summary><pre>"
        f"{html.escape(json.dumps(values, indent=1, ensure_ascii=False))}</pre></details>"
        for title, values in parts
    )


def _image(picture: Picture, long_edge: int, caption: str) -> str:
    height, width = picture.shape[:2]
    size = fit_long_edge((width, height), long_edge)
    small = picture if size == (width, height) else cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    pixels = cv2.cvtColor(media.quantise(small, 8), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return f'<img alt="{html.escape(caption)}" src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'


def _times(size: Size) -> str:
    return f"{size[0]} × {size[1]}"


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "–" if value is None else f"{value:.{digits}f}{unit}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
