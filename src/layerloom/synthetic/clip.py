"""Clips with exact truth: textures, uv maps, alpha, lighting and the edited result. The demo's and the tests' input.

A textured, non-rigidly moving object (or two that cross) with a soft shadow, over a background under a moving camera,
in moving, tinted light. Every map is a smooth formula, so a track's true position is known to machine precision.
Frames are rendered with the model's own equation: colour = Σ alpha · texture(uv) · lighting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8

from layerloom.core.geometry import Size, pixel_centres
from layerloom.data.clip import BACKGROUND

LOG_LIGHT = 0.35
"""The light's greatest effect on the logarithm of a colour at `light` = 1, shadows apart."""
LOG_SHADOW = 0.5
"""How far the middle of a shadow lies below its surroundings, in log colour, at `light` = 1."""
EDGE_TEXELS = 2.4
"""Width of the ramp from outside (alpha 0) to inside (alpha 1) of an object's outline, if no other is asked for."""
MARGIN_TEXELS = 6

Palette = tuple[tuple[float, float, float], ...]
OBJECT_PALETTES: tuple[Palette, ...] = (
    ((0.9, 0.45, 0.2), (0.95, 0.8, 0.35), (0.6, 0.2, 0.25)),
    ((0.3, 0.55, 0.8), (0.75, 0.85, 0.9), (0.25, 0.25, 0.5)),
)
BACKGROUND_PALETTE: Palette = ((0.35, 0.5, 0.3), (0.75, 0.7, 0.55), (0.3, 0.4, 0.45))

Points = Float[np.ndarray, "*batch 2"]
Colours = Float[np.ndarray, "*batch 3"]


@dataclass(frozen=True)
class _Camera:
    """Frame pixels to the fixed world: pan, zoom, rotation about the frame's centre. At zoom 1 its unit is a pixel."""

    size: Size
    strength: float
    direction: float
    phase: float

    def pixels_to_world(self, xy: Points, time: float) -> Points:
        width, height = self.size
        sweep = time * time * (3.0 - 2.0 * time)
        pan_x = 0.2 * width * self.direction * sweep
        pan_y = 0.06 * height * np.sin(2.0 * np.pi * (0.8 * time + self.phase))
        zoom = 1.0 + 0.16 * self.strength * np.sin(np.pi * (0.15 + 0.6 * time)) ** 2
        angle = 0.05 * self.strength * np.sin(2.0 * np.pi * (0.6 * time + self.phase))
        centred = (xy - np.array([width / 2, height / 2])) / zoom
        return _rotate(centred, angle) + self.strength * np.array([pan_x, pan_y])


@dataclass(frozen=True)
class _Object:
    """An organic shape that travels, turns, sways and bulges. Positions are in shares of the frame's size."""

    radius: float
    start: tuple[float, float]
    end: tuple[float, float]
    arc: float
    turn: float
    edge: float
    phases: Float[np.ndarray, "phases"]
    lobes: Float[np.ndarray, "lobes"]

    def centre(self, size: Size, time: float) -> Points:
        """Where the object is in the frame, in pixels."""
        x = self.start[0] + (self.end[0] - self.start[0]) * time
        y = self.start[1] + (self.end[1] - self.start[1]) * time - self.arc * np.sin(np.pi * time)
        return np.array([x, y]) * size

    def deform(self, offset: Points, time: float) -> Points:
        """World offset from the object's centre to the object's own rest shape: turn, sway, bulge."""
        rest = _rotate(offset, self.turn * np.sin(2.0 * np.pi * (0.7 * time) + self.phases[0])) / self.radius
        sway = 0.11 * np.sin(2.0 * np.pi * 1.1 * time + 1.6 * rest[..., 1] + self.phases[1])
        lift = 0.06 * np.sin(2.0 * np.pi * 0.9 * time + 1.9 * rest[..., 0] + self.phases[2])
        rest = rest + np.stack([sway, lift], -1)
        swelling = 0.13 * np.sin(2.0 * np.pi * 1.2 * time + self.phases[3])
        bulge = 1.0 + swelling * np.exp(-np.square(rest).sum(-1, keepdims=True))
        return rest * bulge * self.radius

    def inside_distance(self, rest: Points) -> Float[np.ndarray, "*batch"]:
        """About how far inside the outline a point of the rest shape lies, in texels (negative outside)."""
        distance = np.linalg.norm(rest, axis=-1)
        direction = (rest[..., 0] + 1j * rest[..., 1]) / np.maximum(distance, 1e-9)
        turned, outline, slope = direction, self.radius, 0.0
        for order, (lobe, phase) in enumerate(zip(self.lobes, self.phases[4:], strict=True), start=2):
            turned = turned * direction
            wave = self.radius * lobe * np.exp(1j * phase) * turned
            outline, slope = outline + wave.real, slope - order * wave.imag
        return (outline - distance) / np.sqrt(1.0 + np.square(slope / outline))

    @property
    def texture_side(self) -> int:
        reach = self.radius * (1.0 + float(np.abs(self.lobes).sum()))
        return 2 * int(np.ceil(reach + self.edge + MARGIN_TEXELS))


@dataclass(frozen=True)
class _Scene:
    """All formulas of a clip. `time` runs from 0 at the first frame to 1 at the last; layers are front to back."""

    camera: _Camera
    objects: tuple[_Object, ...]
    background_origin: tuple[float, float]
    light: float
    light_phase: float

    def uv(self, layer: int, xy: Points, time: float) -> Points:
        """Frame pixels to texels of the layer's texture."""
        world = self.camera.pixels_to_world(xy, time)
        if layer == len(self.objects):
            return world - np.array(self.background_origin)
        item = self.objects[layer]
        return item.deform(world - self._world_centre(item, time), time) + item.texture_side / 2

    def own_alpha(self, layer: int, uv: Points) -> Float[np.ndarray, "*batch"]:
        """Coverage of the layer alone, before layers in front of it hide it."""
        if layer == len(self.objects):
            return np.ones(uv.shape[:-1])
        item = self.objects[layer]
        return _smoothstep(item.inside_distance(uv - item.texture_side / 2) / item.edge + 0.5)

    def lighting(self, layer: int, xy: Points, time: float) -> Colours:
        """A warm spot that crosses the frame in a cool, changing ambience; the background has the shadows, too."""
        width, height = self.camera.size
        shift = 0.07 * layer
        spot_x = (0.1 + 0.8 * time + shift) * width
        spot_y = (0.45 + 0.25 * np.sin(2.0 * np.pi * (time + self.light_phase)) - shift) * height
        spot = np.exp(-np.square((xy - np.array([spot_x, spot_y])) / (0.38 * width)).sum(-1))
        wave = np.sin(
            2.0 * np.pi * (0.6 * xy[..., 0] / width - 0.4 * xy[..., 1] / height - 0.7 * time + self.light_phase)
        )
        log_light = spot[..., None] * np.array([0.48, 0.4, 0.22]) * (1.0 - 0.5 * shift)
        log_light = log_light + wave[..., None] * np.array([0.05, 0.06, 0.1]) - np.array([0.18, 0.15, 0.08])
        if layer == len(self.objects):
            log_light = log_light - LOG_SHADOW * self._shadow(xy, time)[..., None]
        return np.exp(self.light * log_light)

    def _shadow(self, xy: Points, time: float) -> Float[np.ndarray, "*batch"]:
        world = self.camera.pixels_to_world(xy, time)
        lit = np.ones(xy.shape[:-1])
        for item in self.objects:
            cast = world - self._world_centre(item, time) - item.radius * np.array([0.3, 0.4])
            depth = item.inside_distance(item.deform(cast, time))
            lit *= 1.0 - _smoothstep(depth / (0.5 * item.radius) + 0.5)
        return 1.0 - lit

    def _world_centre(self, item: _Object, time: float) -> Points:
        return self.camera.pixels_to_world(item.centre(self.camera.size, time), time)


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
    scene: _Scene

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
    light: float = 1.0,
    camera: float = 1.0,
    edge: float = EDGE_TEXELS,
) -> SyntheticClip:
    """A clip with known truth; the same arguments give the same bytes.

    size: (width, height), sides of 32 pixels or more. frames: 2 or more; the motion spans the clip, however long it is.
    objects: 0, 1 or 2 (two cross, the first one in front). light: 0 for even light; 1 for ±0.35 in log colour, and
    shadows that take 0.5 off it.
    camera: 0 for a tripod; at 1 it pans 20 % of the width, zooms by 16 % and turns by 3 degrees each way.
    edge: width in texels of the ramps along the objects' outlines; 12 is as soft as hair or blur.
    """
    rng = np.random.default_rng(seed)
    scene, canvas = _make_scene(rng, size, frames, objects, light, camera, edge)
    ceiling = 0.96 * float(np.exp(-LOG_LIGHT * light))
    canvases = [(item.texture_side, item.texture_side) for item in scene.objects] + [canvas]
    palettes = [*OBJECT_PALETTES[:objects], BACKGROUND_PALETTE]
    textures = tuple(
        make_texture(rng, canvas, palette, ceiling) for canvas, palette in zip(canvases, palettes, strict=True)
    )
    centres = pixel_centres(size).astype(np.float64)
    shape = (objects + 1, frames, size[1], size[0])
    uv, own = np.empty((*shape, 2), np.float32), np.empty(shape, np.float32)
    lighting = np.empty((*shape, 3), np.float32)
    for layer in range(objects + 1):
        for frame in range(frames):
            time = frame / (frames - 1)
            uv[layer, frame] = scene.uv(layer, centres, time)
            own[layer, frame] = scene.own_alpha(layer, uv[layer, frame].astype(np.float64))
            lighting[layer, frame] = scene.lighting(layer, centres, time)
    alpha = _composite(own)
    picture = _render(textures, uv, alpha, lighting)
    names = (*(["object"] if objects == 1 else [f"object{i + 1}" for i in range(objects)]), BACKGROUND)
    return SyntheticClip(np.floor(picture * 255 + 0.5).astype(np.uint8), names, textures, uv, alpha, lighting, scene)


def _make_scene(
    rng: np.random.Generator, size: Size, frames: int, objects: int, light: float, strength: float, edge: float
) -> tuple[_Scene, Size]:
    """The scene, and the size of the background's texture that covers all that the camera sees."""
    camera = _Camera(size, strength, float(rng.choice([-1.0, 1.0])), float(rng.uniform()))
    items = tuple(_make_object(rng, size, layer, objects, edge) for layer in range(objects))
    border = pixel_centres(size)[[0, -1]].reshape(-1, 2).astype(np.float64)
    seen = np.concatenate([camera.pixels_to_world(border, frame / (frames - 1)) for frame in range(frames)])
    low = np.floor(seen.min(0)) - MARGIN_TEXELS
    width, height = (np.ceil(seen.max(0)) + MARGIN_TEXELS - low).astype(int).tolist()
    scene = _Scene(camera, items, (float(low[0]), float(low[1])), light, float(rng.uniform()))
    return scene, (width, height)


def _make_object(rng: np.random.Generator, size: Size, layer: int, objects: int, edge: float) -> _Object:
    """The first object goes from left to right, the second one, higher up, from right to left."""
    from_left = layer == 0
    height_share = 0.6 if from_left else 0.42
    lobes = np.array([0.11, 0.08, 0.055, 0.035]) * rng.uniform(0.6, 1.0, 4)
    return _Object(
        radius=float(min(size)) * (0.29 if objects == 1 else 0.25),
        start=(0.28 if from_left else 0.74, height_share),
        end=(0.7 if from_left else 0.3, height_share - 0.04),
        arc=float(rng.uniform(0.06, 0.12)),
        turn=float(rng.uniform(0.25, 0.35)),
        edge=edge,
        phases=rng.uniform(0.0, 2.0 * np.pi, 8),
        lobes=lobes,
    )


def make_texture(
    rng: np.random.Generator, size: Size, palette: Palette, ceiling: float
) -> Float32[np.ndarray, "h w 3"]:
    """Noise of all scales, stripes, spots, a grid, letters. Finest detail: 3 texels. Colours in [0.08, ceiling].

    size: (width, height). palette: three colours in [0, 1] that the noise blends.
    """
    width, height = size
    first, second, third = (np.array(colour) for colour in palette)
    blend, patches = _noise(rng, size, 48)[..., None], _noise(rng, size, 30)[..., None]
    colour = first + (second - first) * blend
    colour = colour + (third - colour) * _smoothstep((patches - 0.55) / 0.12)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    bend = 60.0 * _noise(rng, size, 60)
    stripes = 0.5 + 0.5 * np.sin(2.0 * np.pi * (columns * 0.8 + rows * 0.6 + bend) / 9.0)
    striped = _smoothstep((_noise(rng, size, 40) - 0.5) / 0.1)
    colour = colour * (1.0 - 0.35 * (striped * stripes)[..., None])
    for cell, strength in ((24, 0.2), (12, 0.2), (6, 0.22), (3, 0.28)):
        colour = colour + strength * (_noise(rng, size, cell)[..., None] - 0.5)
    marked = _draw_marks(rng, np.ascontiguousarray(colour, dtype=np.float32))
    smooth = cv2.GaussianBlur(marked, (0, 0), 0.75)
    low, high = 0.08, 0.92
    return (0.08 + (ceiling - 0.08) * np.clip((smooth - low) / (high - low), 0.0, 1.0)).astype(np.float32)


def _draw_marks(rng: np.random.Generator, image: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Grid lines, rings, dots and letters over the whole texture."""
    height, width = image.shape[:2]
    canvas = np.clip(image * 255, 0, 255).astype(np.uint8)
    for position in range(13, max(width, height), 34):
        shade = int(rng.integers(40, 220))
        cv2.line(canvas, (position, 0), (position + 9, height), (shade, shade, shade), 1, cv2.LINE_AA)
        cv2.line(canvas, (0, position), (width, position - 7), (shade, shade // 2 + 40, shade // 2), 1, cv2.LINE_AA)
    for _ in range(width * height // 420):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        ink = tuple(int(value) for value in rng.integers(20, 245, 3))
        kind = rng.integers(3)
        if kind == 0:
            cv2.circle(canvas, centre, int(rng.integers(2, 6)), ink, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(canvas, centre, int(rng.integers(4, 10)), ink, 2, cv2.LINE_AA)
        else:
            letter = chr(int(rng.integers(65, 91)))
            cv2.putText(canvas, letter, centre, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 2, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def _noise(rng: np.random.Generator, size: Size, cell: int) -> Float[np.ndarray, "h w"]:
    """Smooth noise in about [0, 1] with features of `cell` texels."""
    width, height = size
    grid = rng.uniform(0.0, 1.0, (height // cell + 4, width // cell + 4))
    large = cv2.resize(grid, (grid.shape[1] * cell, grid.shape[0] * cell), interpolation=cv2.INTER_CUBIC)
    return large[cell : cell + height, cell : cell + width]


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


def sample_texture(
    texture: Float32[np.ndarray, "h w c"], uv_texels: Float32[np.ndarray, "n 2"]
) -> Float32[np.ndarray, "n c"]:
    """Cubic (Catmull–Rom) lookup, positions not rounded; texel i's centre is at i + 0.5; the border is extended."""
    height, width, _ = texture.shape
    flat = texture.reshape(height * width, -1)
    position = uv_texels - 0.5
    base = np.floor(position).astype(np.int64)
    weights = _catmull_rom((position - base).astype(np.float32))
    columns = [np.clip(base[:, 0] + tap, 0, width - 1) for tap in (-1, 0, 1, 2)]
    result = np.zeros((len(uv_texels), flat.shape[1]), np.float32)
    for row_tap in range(4):
        row = np.clip(base[:, 1] + row_tap - 1, 0, height - 1) * width
        line = sum(flat.take(row + columns[tap], 0) * weights[tap][:, :1] for tap in range(4))
        result += line * weights[row_tap][:, 1:]
    return result


def _catmull_rom(fraction: Float32[np.ndarray, "n 2"]) -> tuple[Float32[np.ndarray, "n 2"], ...]:
    """Weights of the four neighbours −1, 0, 1, 2 for a position `fraction` past neighbour 0."""
    f = fraction
    return (
        ((2.0 - f) * f - 1.0) * f * 0.5,
        ((3.0 * f - 5.0) * f * f + 2.0) * 0.5,
        ((4.0 - 3.0 * f) * f + 1.0) * f * 0.5,
        (f - 1.0) * f * f * 0.5,
    )


def _smoothstep(value: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """0 below 0, 1 above 1, smooth between."""
    clipped = np.clip(value, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)


def _rotate(xy: Points, angle: float) -> Points:
    cosine, sine = np.cos(angle), np.sin(angle)
    return xy @ np.array([[cosine, sine], [-sine, cosine]])
