"""The demo: a synthetic clip with known truth goes through the whole program, and the result is measured."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from layerloom import media
from layerloom.conventions import Size
from layerloom.edits import Edit, PaintEdit, TextureEdit
from layerloom.errors import UserError
from layerloom.export import export
from layerloom.pipeline import decompose, prepare
from layerloom.progress import OnReport, Report
from layerloom.project import Project
from layerloom.render import render
from layerloom.synthetic import SyntheticClip, make_clip
from layerloom.truth import painted_textures, truth_figures

SIZES: dict[str, tuple[Size, int]] = {"cpu": ((320, 180), 24), "cuda": ((768, 432), 60)}
"""Size and number of frames of the clip, by device: what takes a minute or two there."""
FPS = Fraction(24)
INK = (250, 240, 70)


@dataclass(frozen=True)
class Demo:
    """What the demo left: figures against the truth, and its files by what they show."""

    figures: dict[str, Any]
    files: dict[str, Path]


def run_demo(directory: Path, device: torch.device, seed: int = 0, on_report: OnReport = lambda report: None) -> Demo:
    """Make a clip, learn its layers, edit textures, paint on a frame, render, export and measure. Fills `directory`."""
    if directory.exists() and any(directory.iterdir()):
        raise UserError(f"{directory}: exists already and is not empty; remove it or choose another --out")
    started = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    size, frames = SIZES[device.type]
    truth = make_clip(size, frames, seed)
    files = {"clip": directory / "clip.mkv", "masks": directory / "masks"}
    _write_clip(truth, files["clip"], files["masks"])

    clip = prepare(files["clip"], masks=files["masks"], long_edge=max(size), device=device, on_report=on_report)
    files["project"] = directory / "clip.loom"
    project = decompose(clip, files["project"], quality="draft", device=device, seed=seed, on_report=on_report)

    on_report(Report("export", 0.0))
    files["export"] = directory / "export"
    export(project, files["export"])
    painted_frame = frames // 2
    texture_edits = [_edit_texture(project, number, directory) for number in range(len(project.layers))]
    paint_edit, paint = _paint(truth, painted_frame, directory / "paint.png")
    on_report(Report("render", 0.0))
    files["edited"], files["painted"] = directory / "edited.mp4", directory / "painted.mp4"
    edited = _render(project, texture_edits, files["edited"])
    painted = _render(project, [paint_edit], files["painted"])

    on_report(Report("measure", 0.0))
    true_painted = truth.render(painted_textures(truth, painted_frame, paint))
    figures = truth_figures(project, truth, painted, true_painted, painted_frame)
    figures = {"seconds": time.perf_counter() - started, **figures}
    files["figures"] = directory / "figures.json"
    files["figures"].write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    files["overview"] = directory / "overview.png"
    media.write_image(files["overview"], _overview([truth.frames, edited, painted], [2, frames // 2, frames - 3]))
    return Demo(figures, files)


def _write_clip(truth: SyntheticClip, clip: Path, masks: Path) -> None:
    _write_video(clip, truth.frames, "ffv1")
    for name, planes in zip(truth.names, truth.masks, strict=False):
        (masks / name).mkdir(parents=True)
        for number, mask in enumerate(planes):
            media.write_image(masks / name / f"{number:05d}.png", mask)


def _write_video(path: Path, frames: UInt8[np.ndarray, "t h w 3"], codec: str | None = None) -> None:
    size = frames.shape[2], frames.shape[1]
    times = [number / FPS for number in range(len(frames))]
    with media.open_writer(path, size, times, FPS, codec) as writer:
        for picture in frames:
            writer.write(picture)


def _render(project: Project, edits: Sequence[Edit], path: Path) -> UInt8[np.ndarray, "t h w 3"]:
    frames = np.stack(list(render(project, edits)))
    _write_video(path, frames)
    return frames


def _edit_texture(project: Project, number: int, directory: Path) -> TextureEdit:
    """An exported texture with a badge and its layer's name drawn into the middle of what was seen."""
    layer = project.layers[number]
    texture = layer.texture
    rows, columns = np.nonzero(texture[..., 3] > 0.9)
    centre = int(np.median(columns)), int(np.median(rows))
    radius = max(8, int(0.22 * min(np.ptp(rows), np.ptp(columns))))
    picture = np.ascontiguousarray(media.quantise(texture, 8))
    colour = picture[..., :3].copy()
    _draw_badge(colour, centre, radius, layer.name)
    file = directory / f"texture_{layer.name}.png"
    media.write_image(file, np.dstack([colour, picture[..., 3]]))
    return TextureEdit(layer.name, file)


def _paint(truth: SyntheticClip, frame: int, file: Path) -> tuple[PaintEdit, Float32[np.ndarray, "h w 4"]]:
    """A badge painted where object and background meet in one frame."""
    height, width = truth.frames.shape[1:3]
    rows, columns = np.nonzero(truth.alpha[0, frame] > 0.5)
    centre = int(columns.max()) - width // 40, int(np.median(rows))
    picture, cover = np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)
    radius = height // 7
    _draw_badge(picture, centre, radius, "loom")
    cv2.circle(cover, centre, radius, (255, 255, 255), -1, cv2.LINE_AA)
    image = np.dstack([picture, cover[..., 0]])
    media.write_image(file, image)
    return PaintEdit(frame, file), media.to_float(image)


def _draw_badge(picture: UInt8[np.ndarray, "h w 3"], centre: tuple[int, int], radius: int, text: str) -> None:
    # Drawn a little wider than the paint's cover, so that its edge has the badge's colour and no black.
    cv2.circle(picture, centre, radius + 3, (30, 60, 150), -1, cv2.LINE_AA)
    cv2.circle(picture, centre, round(radius * 0.85), INK, max(1, radius // 12), cv2.LINE_AA)
    scale = 1.5 * radius / 12 / max(len(text), 4)
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
    corner = centre[0] - wide // 2, centre[1] + high // 2
    cv2.putText(picture, text, corner, cv2.FONT_HERSHEY_DUPLEX, scale, INK, max(1, radius // 30), cv2.LINE_AA)


def _overview(rows: Sequence[UInt8[np.ndarray, "t h w 3"]], numbers: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
    """Source, texture edit and painting from top to bottom, at some frames from left to right."""
    return np.concatenate([np.concatenate([frames[number] for number in numbers], 1) for frames in rows])
