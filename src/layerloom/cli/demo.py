"""The demo: a synthetic clip with known truth goes through the whole program, and the result is measured."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from layerloom import media
from layerloom.core.device import choose_device
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.decompose import decompose
from layerloom.edits.canvas import Paint, Texture
from layerloom.edits.document import Edit
from layerloom.evaluate.truth import painted_textures, truth_figures
from layerloom.export.export import export
from layerloom.prepare.prepare import prepare
from layerloom.render.stream import render_images
from layerloom.synthetic.clip import SyntheticClip, make_clip

SIZES: dict[str, tuple[Size, int]] = {"cpu": ((320, 180), 24), "cuda": ((768, 432), 60)}
"""Size and number of frames of the clip, by device: what takes a minute or two there."""
FPS = Fraction(24)
INK, FIELD = (250, 240, 70), (30, 60, 150)
FINER = 4
"""Badges are drawn so much larger, then reduced: smooth outlines."""
CAPTION_ROWS = 22
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
    "background_edit_levels": "of 255; mean error along outlines before green and magenta",
    "light_correlation": "of learned and true lighting along the layer's texels; 1 is perfect",
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
        raise LayerloomError(f"{directory}: exists already and is not empty; remove it or choose another --out")
    started = time.perf_counter()
    directory.mkdir(parents=True, exist_ok=True)
    size, frames = SIZES[choose_device(device)]
    truth = make_clip(size, frames, seed)
    files = {"clip": directory / "clip.mkv", "masks": directory / "masks"}
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
    files["project"] = directory / "clip.loom"
    project = decompose(clip, files["project"], device=device, seed=seed, on_progress=on_progress)

    on_progress(Progress("export", 0.0))
    files["export"] = directory / "export"
    export(project, files["export"], on_progress=on_progress)
    painted_frame = frames // 2
    texture_edits = [_edit_texture(project, number, directory) for number in range(len(project.layers))]
    paint_edit, paint = _paint(truth, painted_frame, directory / "paint.png")
    on_progress(Progress("render", 0.0))
    files["edited"], files["painted"] = directory / "edited.mp4", directory / "painted.mp4"

    def rendered(done: float) -> None:
        on_progress(Progress("render", done))

    edited = _render(project, texture_edits, files["edited"], lambda done: rendered(done / 2))
    painted = _render(project, [paint_edit], files["painted"], lambda done: rendered(0.5 + done / 2))

    on_progress(Progress("measure", 0.0))
    true_painted = truth.render(painted_textures(truth, painted_frame, paint))
    figures = truth_figures(project, truth, painted, true_painted, painted_frame)
    figures = {"seconds": time.perf_counter() - started, **figures}
    files["figures"] = directory / "figures.json"
    files["figures"].write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    files["overview"] = directory / "overview.png"
    rows = {
        "the clip": truth.frames,
        "a badge drawn on each layer's texture": edited,
        f"two badges painted on frame {painted_frame}, carried to all others": painted,
    }
    media.write_image(files["overview"], _overview(rows, [frames // 8, painted_frame, frames - 1 - frames // 8]))
    files["layers"] = directory / "layers.png"
    media.write_image(files["layers"], _learned(project, painted_frame))
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
    centre, room = _widest_place(layer.texture[..., 3] > 0.9)
    colour, cover = _badge(layer.canvas, centre, 0.5 * room, layer.name)
    file = directory / f"texture_{layer.name}.png"
    edited = _lay_over(media.to_float(picture[..., :3]), colour, cover)
    # Untouched texels stay as exported to the last bit: the edit is where the two differ.
    media.write_image(file, np.dstack([media.quantise(edited, 8), picture[..., 3]]))
    return Texture(layer.name, file)


def _paint(truth: SyntheticClip, frame: int, file: Path) -> tuple[Paint, Float32[np.ndarray, "h w 4"]]:
    """Two badges painted on one frame: one on the object, one on the background beside it."""
    on_object = truth.alpha[0, frame] > 0.5
    image = np.zeros((*on_object.shape, 4), np.float32)
    for text, place, share in (("loom", on_object, 0.7), ("layer", truth.alpha[-1, frame] > 0.99, 0.45)):
        centre, room = _widest_place(place)
        colour, cover = _badge(truth.size, centre, share * room, text)
        image = np.where(cover[..., None] > 0, np.dstack([colour, cover]), image)
    media.write_image(file, media.quantise(image, 8))
    return Paint(frame, file), media.to_float(media.quantise(image, 8))


def _widest_place(mask: Bool[np.ndarray, "h w"]) -> tuple[tuple[float, float], float]:
    """Centre (x, y) and radius of the largest disc that fits into a mask."""
    framed = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return (float(column) + 0.5, float(row) + 0.5), float(distance.max())


def _badge(
    size: Size, centre: tuple[float, float], radius: float, text: str
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """A disc with a ring and a word in it: its colour (straight, everywhere) and its cover."""
    width, height = size
    picture = np.full((FINER * height, FINER * width, 3), FIELD, np.uint8)
    cover = np.zeros(picture.shape[:2], np.uint8)
    middle = round(FINER * centre[0]), round(FINER * centre[1])
    reach = FINER * radius
    cv2.circle(cover, middle, round(reach), 255, -1, cv2.LINE_AA)
    cv2.circle(picture, middle, round(0.86 * reach), INK, max(1, round(0.09 * reach)), cv2.LINE_AA)
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1, 1)
    scale = min(1.4 * reach / wide, 0.6 * reach / high)
    word = np.zeros_like(cover)
    start = round(middle[0] - scale * wide / 2), round(middle[1] + scale * high / 2)
    cv2.putText(word, text, start, cv2.FONT_HERSHEY_DUPLEX, scale, (255,), max(1, round(2.2 * scale)), cv2.LINE_AA)
    # The text's announced size is not quite that of its ink, which is moved to the middle.
    left, top, inked_width, inked_height = cv2.boundingRect(word)
    shift = middle[0] - left - inked_width // 2, middle[1] - top - inked_height // 2
    word = np.roll(word, shift[::-1], (0, 1))
    picture[word > 0] = INK
    small = [cv2.resize(part, size, interpolation=cv2.INTER_AREA) for part in (picture, cover)]
    return media.to_float(small[0]), media.to_float(small[1])


def _lay_over(
    below: Float32[np.ndarray, "h w 3"], colour: Float32[np.ndarray, "h w 3"], cover: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    return below + cover[..., None] * (colour - below)


def _overview(rows: Mapping[str, UInt8[np.ndarray, "t h w 3"]], numbers: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
    """A strip of frames for each row, with its caption above."""
    parts: list[np.ndarray] = []
    for caption, frames in rows.items():
        strip = np.concatenate([frames[number] for number in numbers], 1)
        bar = np.full((CAPTION_ROWS, strip.shape[1], 3), 24, np.uint8)
        cv2.putText(bar, caption, (6, 15), cv2.FONT_HERSHEY_DUPLEX, 0.45, (225, 225, 225), 1, cv2.LINE_AA)
        parts += [bar, strip]
    return np.concatenate(parts)


def _learned(project: Project, frame: int) -> UInt8[np.ndarray, "H W 3"]:
    """A row for each layer: its texture (dark where unseen); its matte and lighting (middle grey is 1) in a frame."""
    height = project.source.size[1]
    shares = mattes(project, frame)
    rows: list[np.ndarray] = []
    for number, layer in enumerate(project.layers):
        seen = layer.texture[..., :3] * layer.texture[..., 3:]
        texture = cv2.resize(
            seen, (round(seen.shape[1] * height / seen.shape[0]), height), interpolation=cv2.INTER_AREA
        )
        matte = np.repeat(shares[number][..., None], 3, 2)
        light = np.clip(project.lighting(number, frame) / 2, 0, 1)
        rows.append(media.quantise(np.concatenate([texture, matte, light], 1), 8))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
