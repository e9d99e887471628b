"""The demo: a synthetic clip with known truth goes through the whole program, and the result is measured."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from layerloom import media
from layerloom.cli.demo_pictures import badge, lay_over, learned, overview, widest_place
from layerloom.core.device import choose_device
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.data.project import Project
from layerloom.decompose import decompose
from layerloom.edits.canvas import Paint, Texture
from layerloom.edits.document import Edit
from layerloom.evaluate.truth import truth_figures
from layerloom.evaluate.truth_edits import edit_figures, painted_textures
from layerloom.export.export import export
from layerloom.prepare.prepare import prepare
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip, make_clip

SIZES: dict[str, tuple[Size, int]] = {"cpu": ((320, 180), 24), "cuda": ((768, 432), 60)}
"""Size and number of frames of the clip, by device: what takes a minute or two there."""
FPS = Fraction(24)
FILES = {
    "clip": "clip.mkv",
    "masks": "masks",
    "project": "clip.loom",
    "export": "export",
    "edited": "edited.mp4",
    "painted": "painted.mp4",
    "figures": "figures.json",
    "overview": "overview.png",
    "layers": "layers.png",
}
MEANINGS = {
    "seconds": "all of this, from making the clip to this table",
    "psnr": "dB; the layers alone against the clip's frames",
    "track_px": "pixels; how far the layer carries a point from its true place (median)",
    "track_fraction": "the same as the mean of the shares within 1, 2, 4 and 8 pixels",
    "iou": "overlap of the layer's matte with the true one; 1 is perfect",
    "matte_mad": "along the object's outline: mean absolute error of its matte",
    "matte_mse": "the same, squared",
    "matte_sad": "its absolute error summed over a frame, in thousands",
    "matte_gradient": "the squared errors of its gradient likewise",
    "matte_ramp_px": "pixels; how wide its ramp from 0 to 1 is",
    "true_ramp_px": "pixels; how wide the true one is",
    "matting": "its matte over whole frames, in the units of papers on video matting",
    "hidden": "dB; the object hidden, against the true clean plate",
    "background_edit_levels": "of 255; mean error along outlines before green and magenta",
    "light_correlation": "of learned and true lighting along the layer's texels; 1 is perfect",
    "light_slope": "how strong the learned light's changes are beside the true ones'; 1 is perfect",
    "edit_psnr_inside": "dB; what was painted on one frame, in all others, against the true result",
    "edit_identical_outside": "whether every pixel away from the painting is the clip's own",
    "edit_changed_outside": "share of those pixels that are not",
}
CONTENTS = {
    "clip": "the clip that was made",
    "masks": "its object's masks, as a user would give them",
    "project": "what was learned; try layerloom info, render, export, evaluate on it",
    "export": "textures, mattes, ST maps and lighting for other programs",
    "edited": "WATCH: a badge drawn on each layer's texture",
    "painted": "WATCH: two badges painted on one frame, carried to all others",
    "figures": "the figures above",
    "overview": "LOOK: frames of all three",
    "layers": "LOOK: textures as learned, then matte and lighting of the painted frame",
}


@dataclass(frozen=True)
class Demo:
    """What the demo left: figures against the truth, and its files by what they show."""

    figures: dict[str, Any]
    files: dict[str, Path]


def run_demo(directory: Path, device: str = "auto", seed: int = 0, on_progress: OnProgress = silent) -> Demo:
    """Make a clip, learn its layers, edit textures, paint on a frame, render, export and measure. Fills `directory`."""
    if directory.exists() and any(directory.iterdir()):
        raise LayerloomError(f"{directory}: exists already and is not empty; remove it or choose another folder")
    started = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    files = {name: directory / file for name, file in FILES.items()}
    size, frames = SIZES[choose_device(device)]
    truth = make_clip(size, frames, seed)
    _write_video(files["clip"], truth.frames, "ffv1")
    write_masks(truth, files["masks"])

    clip = prepare(
        files["clip"],
        masks=files["masks"],
        quality="draft",
        long_edge=max(size),
        device=device,
        on_progress=on_progress,
    )
    project = decompose(clip, files["project"], device=device, seed=seed, on_progress=on_progress)
    export(project, files["export"], on_progress=on_progress)

    painted_frame = frames // 2
    paint_edit, paint = _paint(truth, painted_frame, directory / "paint.png")
    texture_edits = [_edit_texture(project, number, directory) for number in range(len(project.layers))]

    def rendered(done: float) -> None:
        on_progress(Progress("render", done))

    edited = _render(project, texture_edits, files["edited"], lambda done: rendered(done / 2))
    painted = _render(project, [paint_edit], files["painted"], lambda done: rendered(0.5 + done / 2))

    on_progress(Progress("measure", 0.0))
    true_painted = truth.render(painted_textures(truth, painted_frame, paint))
    edit = edit_figures(truth.render(), true_painted, truth.frames, painted, painted_frame)
    measured = truth_figures(project, truth, edit).to_json()
    figures = {"seconds": time.perf_counter() - started, **measured}
    files["figures"].write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    rows = {
        "the clip": truth.frames,
        "a badge drawn on each layer's texture": edited,
        f"two badges painted on frame {painted_frame}, carried to all others": painted,
    }
    shown = [frames // 8, painted_frame, frames - 1 - frames // 8]
    media.write_image(files["overview"], overview(rows, shown))
    media.write_image(files["layers"], learned(project, painted_frame))
    return Demo(figures, files)


def write_masks(truth: SyntheticClip, folder: Path) -> None:
    """A folder of images for each object, as a user would give them."""
    for name, planes in zip(truth.names[:-1], truth.masks, strict=True):
        (folder / name).mkdir(parents=True)
        for number, mask in enumerate(planes):
            media.write_image(folder / name / f"{number:05d}.png", mask)


def _write_video(path: Path, frames: UInt8[np.ndarray, "t h w 3"], codec: str | None = None) -> None:
    size = frames.shape[2], frames.shape[1]
    times = [number / FPS for number in range(len(frames))]
    with media.open_writer(path, size, times, FPS, codec) as writer:
        for picture in frames:
            writer.write(picture)


def _render(
    project: Project, edits: Sequence[Edit], path: Path, progress: Callable[[float], None]
) -> UInt8[np.ndarray, "t h w 3"]:
    frames: list[np.ndarray] = []
    for picture in render_images(project, edits):
        frames.append(picture)
        progress(len(frames) / project.source.frames)
    _write_video(path, np.stack(frames))
    return np.stack(frames)


def _edit_texture(project: Project, number: int, directory: Path) -> Texture:
    """An exported texture with a badge of its layer's name where it has most room among the texels that were seen."""
    layer = project.layers[number]
    picture = media.quantise(layer.texture, 8)
    centre, room = widest_place(layer.texture[..., 3] > 0.9)
    colour, cover = badge(layer.canvas, centre, 0.5 * room, layer.name)
    file = directory / f"texture_{layer.name}.png"
    edited = lay_over(media.to_float(picture[..., :3]), colour, cover)
    # Untouched texels stay as exported to the last bit: the edit is where the two differ.
    media.write_image(file, np.dstack([media.quantise(edited, 8), picture[..., 3]]))
    return Texture(layer.name, file)


def _paint(truth: SyntheticClip, frame: int, file: Path) -> tuple[Paint, Float32[np.ndarray, "h w 4"]]:
    """Two badges painted on one frame: one on the object, one on the background beside it."""
    on_object = truth.alpha[0, frame] > 0.5
    image = np.zeros((*on_object.shape, 4), np.float32)
    for text, place, share in (("loom", on_object, 0.7), ("layer", truth.alpha[-1, frame] > 0.99, 0.45)):
        centre, room = widest_place(place)
        colour, cover = badge(truth.size, centre, share * room, text)
        image = np.where(cover[..., None] > 0, np.dstack([colour, cover]), image)
    media.write_image(file, media.quantise(image, 8))
    return Paint(frame, file), media.to_float(media.quantise(image, 8))
