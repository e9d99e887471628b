"""Edits that show what an edit does: a rich pattern, grey cards; and a frame without its light."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.data.layer_store import Layer
from layerloom.data.project import Project
from layerloom.edits.canvas import Overlay
from layerloom.render.renderer import Renderer
from layerloom.render.stream import render_images
from layerloom.synthetic.textures import BACKGROUND_PALETTE, OBJECT_PALETTES, make_texture

PATTERN_CEILING = 0.6
"""Brightest colour of the pattern: what is lit by up to 1.6 stays below white."""
CARD_GREY = 0.5


def render_pattern(
    project: Project, frames: range | None = None, renderer: Renderer | None = None
) -> Iterator[np.ndarray]:
    """The source with every texture covered by a rich pattern, always the same: what edits are measured on."""
    covers = [_pattern(layer, number) for number, layer in enumerate(project.layers)]
    return _render_covered(project, covers, frames, renderer)


def render_cards(
    project: Project, frames: range | None = None, renderer: Renderer | None = None
) -> Iterator[np.ndarray]:
    """The source with an opaque grey card of CARD_GREY laid on all of every layer."""
    cards = [np.full((*layer.canvas[::-1], 3), CARD_GREY, np.float32) for layer in project.layers]
    return _render_covered(project, cards, frames, renderer)


def render_unlit(project: Project, frame: int, shares: Float32[np.ndarray, "l h w"]) -> Float32[np.ndarray, "h w 3"]:
    """Σ α T: a frame (counted from the project's first) without its lighting."""
    picture = np.zeros((*shares.shape[1:], 3), np.float32)
    for number, layer in enumerate(project.layers):
        picture += shares[number][..., None] * layer.look_up(project.uv(number, frame))
    return picture


def _pattern(layer: Layer, number: int) -> Float32[np.ndarray, "h w 3"]:
    palette = BACKGROUND_PALETTE if layer.kind == "background" else OBJECT_PALETTES[number % len(OBJECT_PALETTES)]
    return make_texture(np.random.default_rng(number), layer.canvas, palette, PATTERN_CEILING)


def _render_covered(
    project: Project, covers: list[Float32[np.ndarray, "_ _ 3"]], frames: range | None, renderer: Renderer | None
) -> Iterator[np.ndarray]:
    with tempfile.TemporaryDirectory() as folder:
        edits: list[Overlay] = []
        for layer, cover in zip(project.layers, covers, strict=True):
            file = Path(folder) / f"{layer.name}.png"
            media.write_image(file, media.quantise(np.dstack([cover, np.ones_like(cover[..., :1])]), 8))
            edits.append(Overlay(layer.name, file))
        yield from render_images(project, edits, frames, renderer=renderer)
