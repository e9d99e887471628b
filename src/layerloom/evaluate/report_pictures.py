"""The pictures of the report: what a frame is made of, and what edits make of it."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.core.geometry import Size, fit_long_edge
from layerloom.core.imaging import resize
from layerloom.data.mattes import mattes
from layerloom.data.project import Project
from layerloom.edits.document import Background
from layerloom.evaluate.halos import SCREENS
from layerloom.evaluate.probes import render_cards, render_pattern
from layerloom.render.renderer import Renderer
from layerloom.render.stream import render_images

FRAME_LONG_EDGE = 640
TEXTURE_LONG_EDGE = 960
CHECKER_TEXELS = 24
ERROR_GAIN = 8
JPEG_QUALITY = 88
EMPTY_GREY = 0.13
"""What lies under a layer that covers nothing."""

Picture = Float32[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class EncodedPicture:
    """data: a JPEG in base64."""

    caption: str
    data: str


def frame_pictures(project: Project, frame: int, renderer: Renderer) -> list[EncodedPicture]:
    """All pictures of one frame, counted from the project's first."""
    return [encode(picture, FRAME_LONG_EDGE, caption) for caption, picture in _pictures(project, frame, renderer)]


def texture_picture(texture: Float32[np.ndarray, "h w 4"], caption: str) -> EncodedPicture:
    """A texture, dark where it was not seen."""
    return encode(_over_empty(texture[..., :3], texture[..., 3:]), TEXTURE_LONG_EDGE, caption)


def _pictures(project: Project, frame: int, renderer: Renderer) -> Iterator[tuple[str, Picture]]:
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
    yield "grey cards", media.to_float(next(render_cards(project, used, renderer)))
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


def encode(picture: Picture, long_edge: int, caption: str) -> EncodedPicture:
    """At most `long_edge` pixels long."""
    small = resize(picture, fit_long_edge((picture.shape[1], picture.shape[0]), long_edge))
    pixels = cv2.cvtColor(media.quantise(small, 8), cv2.COLOR_RGB2BGR)
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    return EncodedPicture(caption, base64.b64encode(data).decode())
