"""Clips with exact truth: textures, uv maps, alpha, lighting and the edited result. The demo's and the tests' input.

A textured, non-rigidly moving object (or two that cross) with a soft shadow, over a background under a moving camera,
in moving, tinted light. Every map is a smooth formula, so a track's true position is known to machine precision.
Frames are rendered with the model's own equation: colour = Σ alpha · texture(uv) · lighting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from layerloom.core.geometry import Size, pixel_centres
from layerloom.data.clip import BACKGROUND
from layerloom.synthetic.scene import Colours, Conditions, Points, Scene, make_scene
from layerloom.synthetic.textures import (
    BACKGROUND_PALETTE,
    OBJECT_PALETTES,
    make_texture,
    photo_texture,
    sample_texture,
)


@dataclass(frozen=True)
class SyntheticClip:
    """Frames and the exact truth behind them. Layers are the objects front to back, then the background.

    textures: per layer, colours in [0, 1]. uv: texels of the layer's texture, defined all over the frame, also where
    the layer is hidden. alpha: as composited, sums to one over the layers. lighting: multiplier of the texture colour.
    """

    frames: UInt8[np.ndarray, "t h w 3"]
    names: tuple[str, ...]
    textures: tuple[Float32[np.ndarray, "_ _ 3"], ...]
    uv: Float32[np.ndarray, "l t h w 2"]
    alpha: Float32[np.ndarray, "l t h w"]
    lighting: Float32[np.ndarray, "l t h w 3"]
    scene: Scene

    @property
    def size(self) -> Size:
        return self.frames.shape[2], self.frames.shape[1]

    @property
    def masks(self) -> UInt8[np.ndarray, "objects t h w"]:
        """Hard masks as a user would give them: 255 where the object covers more than half of the pixel."""
        return np.where(self.alpha[:-1] > 0.5, np.uint8(255), np.uint8(0))

    def render(
        self, textures: Sequence[Float32[np.ndarray, "_ _ 3"]] | None = None, lit: bool = True
    ) -> Float32[np.ndarray, "t h w 3"]:
        """The clip with these textures (its own when None) through the exact maps: the truth of a texture edit.

        Textures must have the sizes of the clip's own. `lit=False` leaves the lighting away. Not quantised.
        """
        return _render(textures or self.textures, self.uv, self.alpha, self.lighting if lit else None)

    def clean_plate(self, frame: int) -> Float32[np.ndarray, "h w 3"]:
        """The background alone as if no object touched it: in the frame's light, without contact shadows."""
        last, time = len(self.names) - 1, self._time(frame)
        light = self.scene.lighting(last, pixel_centres(self.size).astype(np.float64), time, contact=False)
        everywhere = np.ones((1, 1, *self.frames.shape[1:3]), np.float32)
        uv = self.uv[last : last + 1, frame : frame + 1]
        return _render(self.textures[last:], uv, everywhere, light.astype(np.float32)[None, None])[0]

    def contact_shadow(self, frame: int) -> Float32[np.ndarray, "h w"]:
        """How dark contact shadows make the background's pixels, in [0, 1], objects thought away."""
        xy = pixel_centres(self.size).astype(np.float64)
        return self.scene.contact_shadow(xy, self._time(frame)).astype(np.float32)

    def uv_at(self, layer: int, xy_pixels: Points, frame: int | float) -> Points:
        """The exact map at any points (…, 2) and any time: frame pixels to texels."""
        return self.scene.uv(layer, np.asarray(xy_pixels, np.float64), self._time(frame))

    def find_uv(self, layer: int, uv_texels: Float[np.ndarray, "n 2"], frame: int | float) -> Float[np.ndarray, "n 2"]:
        """Where texels are in a frame, inside the picture or not: the inverse of `uv_at`, by Newton's method."""
        xy, step = self._affine_guess(layer, uv_texels, frame), 0.01
        right, down = np.eye(2)
        for _ in range(12):
            value = self.uv_at(layer, xy, frame)
            by_x = (self.uv_at(layer, xy + step * right, frame) - value) / step
            by_y = (self.uv_at(layer, xy + step * down, frame) - value) / step
            jacobian = np.stack([by_x, by_y], -1)
            change = np.linalg.solve(jacobian, (uv_texels - value)[..., None])[..., 0]
            xy = xy + change
            if np.abs(change).max(initial=0.0) < 1e-9:
                break
        return xy

    def tracks(
        self, layer: int, xy_pixels: Float[np.ndarray, "n 2"], frame: int
    ) -> tuple[Float[np.ndarray, "t n 2"], Bool[np.ndarray, "t n"]]:
        """True positions in every frame of points seen on a layer in one frame, and whether they are seen there.

        A point is seen where it lies inside the picture and its layer covers more than half of the pixel it falls in.
        """
        texels = self.uv_at(layer, xy_pixels, frame)
        xy = np.stack([self.find_uv(layer, texels, other) for other in range(len(self.frames))])
        width, height = self.size
        inside = ((xy >= 0) & (xy < (width, height))).all(-1)
        column, row = np.clip(xy.astype(np.int64), 0, (width - 1, height - 1)).transpose(2, 0, 1)
        covered = self.alpha[layer, np.arange(len(xy))[:, None], row, column] > 0.5
        return xy, inside & covered

    def lighting_at(self, layer: int, xy_pixels: Points, frame: int | float) -> Colours:
        """The exact lighting at any points (…, 2) and any time."""
        return self.scene.lighting(layer, np.asarray(xy_pixels, np.float64), self._time(frame))

    def _time(self, frame: int | float) -> float:
        return frame / (len(self.frames) - 1)

    def _affine_guess(self, layer: int, uv_texels: Points, frame: int | float) -> Points:
        middle = np.array(self.size) / 2
        if layer < len(self.scene.objects):
            middle = self.scene.objects[layer].centre(self.size, self._time(frame))
        corners = middle + np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        origin, right, down = self.uv_at(layer, corners, frame)
        jacobian = np.stack([right - origin, down - origin], -1)
        return middle + (uv_texels - origin) @ np.linalg.inv(jacobian).T


def make_clip(
    size: Size = (320, 180),
    frames: int = 24,
    seed: int = 0,
    objects: int = 1,
    conditions: Conditions | None = None,
    photos: Sequence[Float32[np.ndarray, "_ _ 3"]] = (),
) -> SyntheticClip:
    """A clip with known truth; the same arguments give the same bytes.

    size: (width, height), sides of 32 pixels or more. frames: 2 or more; the motion spans the clip, however long it is.
    objects: 0, 1 or 2 (two cross, the first one in front). conditions: light, camera, softness of outlines.
    photos: a picture in [0, 1] for each layer, front to back, in place of textures drawn from chance.
    """
    rng = np.random.default_rng(seed)
    conditions = conditions or Conditions()
    scene, canvas = make_scene(rng, size, frames, objects, conditions)
    textures = _make_textures(rng, scene, canvas, photos)
    uv, own, lighting = _evaluate_scene(scene, size, frames)
    alpha = _composite(own)
    picture = _render(textures, uv, alpha, lighting)
    names = (*(["object"] if objects == 1 else [f"object{i + 1}" for i in range(objects)]), BACKGROUND)
    return SyntheticClip(np.floor(picture * 255 + 0.5).astype(np.uint8), names, textures, uv, alpha, lighting, scene)


def _make_textures(
    rng: np.random.Generator, scene: Scene, canvas: Size, photos: Sequence[Float32[np.ndarray, "_ _ 3"]]
) -> tuple[Float32[np.ndarray, "_ _ 3"], ...]:
    """Of all layers; lit, they stay below white. ValueError for another number of photos than layers."""
    ceiling = 0.96 * float(np.exp(-scene.light.log_peak))
    canvases = [(item.texture_side, item.texture_side) for item in scene.objects] + [canvas]
    if photos:
        fitted = zip(photos, canvases, strict=True)
        return tuple(photo_texture(photo, canvas, ceiling) for photo, canvas in fitted)
    palettes = [*OBJECT_PALETTES[: len(scene.objects)], BACKGROUND_PALETTE]
    return tuple(
        make_texture(rng, canvas, palette, ceiling) for canvas, palette in zip(canvases, palettes, strict=True)
    )


def _evaluate_scene(
    scene: Scene, size: Size, frames: int
) -> tuple[Float32[np.ndarray, "l t h w 2"], Float32[np.ndarray, "l t h w"], Float32[np.ndarray, "l t h w 3"]]:
    """uv, own coverage and lighting of every pixel centre."""
    centres = pixel_centres(size).astype(np.float64)
    shape = (len(scene.objects) + 1, frames, size[1], size[0])
    uv, own = np.empty((*shape, 2), np.float32), np.empty(shape, np.float32)
    lighting = np.empty((*shape, 3), np.float32)
    for layer, frame in np.ndindex(shape[:2]):
        time = frame / (frames - 1)
        uv[layer, frame] = scene.uv(layer, centres, time)
        own[layer, frame] = scene.own_alpha(layer, uv[layer, frame].astype(np.float64))
        lighting[layer, frame] = scene.lighting(layer, centres, time)
    return uv, own, lighting


def _composite(own: Float32[np.ndarray, "l t h w"]) -> Float32[np.ndarray, "l t h w"]:
    """Each layer's own coverage, times what the layers in front of it leave."""
    left = np.ones_like(own[0])
    alpha = np.empty_like(own)
    for layer, coverage in enumerate(own):
        alpha[layer] = coverage * left
        left = left - alpha[layer]
    return alpha


def _render(
    textures: Sequence[Float32[np.ndarray, "_ _ 3"]],
    uv: Float32[np.ndarray, "l t h w 2"],
    alpha: Float32[np.ndarray, "l t h w"],
    lighting: Float32[np.ndarray, "l t h w 3"] | None,
) -> Float32[np.ndarray, "t h w 3"]:
    picture = np.zeros((*alpha.shape[1:], 3), np.float32)
    for layer, texture in enumerate(textures):
        for frame in range(len(picture)):
            seen = alpha[layer, frame] > 0
            colour = sample_texture(texture, uv[layer, frame][seen])
            if lighting is not None:
                colour *= lighting[layer, frame][seen]
            picture[frame][seen] += alpha[layer, frame][seen][:, None] * colour
    return np.clip(picture, 0.0, 1.0)
