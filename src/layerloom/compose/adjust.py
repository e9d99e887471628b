"""Adjusted layers: other colours of a texture, and stronger or weaker light.

A colour X is its luma Y = w · X in grey and the chroma X − Y that is left. With the chroma turned by the hue's angle,
in the plane in which red, green and blue lie 120 degrees apart, and its luma kept at 0,

    X' = contrast (Y + saturation · turned (X − Y)) + (1 − contrast) / 2 + brightness        w: Rec. 709

It is affine: X' = A X + b, where A scales luma by a number and chroma by a complex one. So adjustments one after the
other are one, and where a region holds a share m of it, X + m (A X + b − X) is of the same kind. A texel's adjustment
is four numbers: what is added to the luma's factor, to the chroma's (real and imaginary part), and to the colour.

The texture becomes A T + b, and what the layers cannot explain of the source A e: the light R acts on both sides alike,
so detail, grain and shadows stay. Light becomes R to the power of its strength: never negative, flat at 0, twice the
stops at 2, and two strengths multiply; a straight line through 1 would turn deep shadows below black.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32

from layerloom import media
from layerloom.compose.blend import resize
from layerloom.compose.edited_texture import check_shape
from layerloom.data.project import Layer, Project
from layerloom.edits.adjust import Adjust
from layerloom.media.layered_documents import read_picture

LUMA = np.array([0.2126, 0.7152, 0.0722])
_TO_PLANE = np.array([[1, -0.5, -0.5], [0, math.sqrt(0.75), -math.sqrt(0.75)]])
_FROM_PLANE = np.array([[2 / 3, 0], [-1 / 3, math.sqrt(1 / 3)], [-1 / 3, -math.sqrt(1 / 3)]])
_TURN = _FROM_PLANE @ np.array([[0, -1], [1, 0]]) @ _TO_PLANE
QUARTER_TURN: Float[np.ndarray, "3 3"] = _TURN - np.outer(np.ones(3), LUMA @ _TURN)
"""Turns chroma by 90 degrees, luma kept at 0; of grey nothing is left."""

ColourField = Float32[np.ndarray, "#h #w 4"]
"""By texel, or one for all: what is added to luma's factor, to chroma's (real, imaginary), and to the colour."""


@dataclass(frozen=True, eq=False)
class Adjustment:
    """All that is done to a layer's colours, None where nothing is, and how strong its light is."""

    field: ColourField | None
    light: float = 1.0

    def at(self, uv: Float32[np.ndarray, "h w 2"]) -> ColourField | None:
        """The colours' adjustment at texel positions, bilinear."""
        if self.field is None or self.field.shape[:2] == (1, 1):
            return self.field
        x, y = cv2.split(uv - np.float32(0.5))
        return cv2.remap(self.field, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def make_adjustment(layer: Layer, edits: Sequence[Adjust]) -> Adjustment:
    """Of one layer's edits, the first made first. LayerloomError for a region that cannot be read, or of another
    shape than the canvas."""
    total: ColourField | None = None
    for edit in edits:
        field = _field_of(edit)
        if field is not None and edit.region is not None:
            field = field * _region(layer, edit.region)[..., None]
        if field is not None:
            total = field if total is None else _after(total, field)
    return Adjustment(total, math.prod(edit.light for edit in edits))


def adjust_layers(project: Project, adjustments: Sequence[Adjustment | None]) -> Project:
    """The project with its layers adjusted: the same object if none is."""
    if not any(adjustments):
        return project
    pairs = zip(project.layers, adjustments, strict=True)
    return project.with_layers([layer if one is None else _adjusted(layer, one) for layer, one in pairs])


def change_of(
    field: ColourField, colours: Float32[np.ndarray, "h w 3"], *, adds: bool = True
) -> Float32[np.ndarray, "h w 3"]:
    """What an adjustment changes of colours. adds: False for differences of colours, to which nothing is added."""
    luma = colours @ LUMA.astype(np.float32)
    chroma = colours - luma[..., None]
    change = field[..., :1] * luma[..., None] + field[..., 1:2] * chroma
    if field[..., 2].any():
        change += field[..., 2:3] * (chroma @ QUARTER_TURN.T.astype(np.float32))
    return change + field[..., 3:] if adds else change


def _adjusted(layer: Layer, adjustment: Adjustment) -> Layer:
    field, strength = adjustment.field, np.float32(adjustment.light)

    def recolour(texture: Float32[np.ndarray, "H W 4"]) -> Float32[np.ndarray, "H W 4"]:
        assert field is not None
        return np.dstack([texture[..., :3] + change_of(field, texture[..., :3]), texture[..., 3:]])

    return layer.changed(
        None if field is None else recolour,
        None if strength == 1 else lambda light: np.power(np.maximum(light, 0), strength),
    )


def _field_of(edit: Adjust) -> ColourField | None:
    angle = math.radians(edit.hue % 360)
    if (angle, edit.saturation, edit.brightness, edit.contrast) == (0, 1, 0, 1):
        return None
    chroma = edit.contrast * edit.saturation
    added = (1 - edit.contrast) / 2 + edit.brightness
    values = edit.contrast - 1, chroma * math.cos(angle) - 1, chroma * math.sin(angle), added
    return np.array(values, np.float32).reshape(1, 1, 4)


def _after(first: ColourField, second: ColourField) -> ColourField:
    """Both, one after the other."""
    (luma, real, turn, added), (luma2, real2, turn2, added2) = (
        np.moveaxis(field.astype(np.float32) + np.array([1, 1, 0, 0], np.float32), -1, 0) for field in (first, second)
    )
    values = luma2 * luma - 1, real2 * real - turn2 * turn - 1, real2 * turn + turn2 * real, luma2 * added + added2
    return np.stack(np.broadcast_arrays(*values), -1).astype(np.float32)


def _region(layer: Layer, path: Path) -> Float32[np.ndarray, "H W"]:
    picture = media.to_float(read_picture(path))
    check_shape(layer, path, (picture.shape[1], picture.shape[0]), "a region")
    has_alpha = picture.shape[2] in (2, 4)
    share = picture[..., -1] if has_alpha or picture.shape[2] == 1 else picture @ LUMA.astype(np.float32)
    return np.clip(resize(np.ascontiguousarray(share), layer.canvas), 0, 1)
