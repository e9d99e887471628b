"""The formulas of a synthetic clip: where every texel is, how much of it is seen, and in what light."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from layerloom.core.geometry import Size, pixel_centres
from layerloom.synthetic.textures import smoothstep

LOG_LIGHT = 0.35
"""The light's greatest effect on the logarithm of a colour at strength 1, shadows apart."""
LOG_SHADOW = 0.5
"""How far the middle of a shadow lies below its surroundings, in log colour, at strength 1."""
EDGE_TEXELS = 2.4
"""Width of the ramp from outside (alpha 0) to inside (alpha 1) of an object's outline, if no other is asked for."""
MARGIN_TEXELS = 6
FLICKERS = 3
"""How often the whole frame brightens over the clip."""
WARM = (0.48, 0.4, 0.22)
CONTACT_REACH = 0.35
"""How far from an object's outline its contact shadow ends, in shares of the object's radius."""

Points = Float[np.ndarray, "*batch 2"]
Colours = Float[np.ndarray, "*batch 3"]


@dataclass(frozen=True)
class Light:
    """What lights a clip.

    strength: 0 for even light; 1 for ±0.35 in log colour, and cast shadows that take 0.5 off it.
    spot: greatest effect of the spot that crosses the frame on log red, green and blue, at strength 1.
    flicker: how much the whole frame's log colour swings each way.
    contact: how far the ground under an object's lower outline is darkened, in log colour.
    """

    strength: float = 1.0
    spot: tuple[float, float, float] = WARM
    flicker: float = 0.0
    contact: float = 0.0

    @property
    def log_peak(self) -> float:
        """The greatest effect on the logarithm of a colour."""
        return self.strength * (LOG_LIGHT + (max(self.spot) - max(WARM))) + self.flicker


STRONG_LIGHT = Light(strength=1.2, spot=(0.55, 0.36, 0.12), flicker=0.15, contact=0.9)
"""As real light may be: tinted, flickering by some 15 %, with dark shadows."""


@dataclass(frozen=True)
class Conditions:
    """How a clip is lit and filmed.

    camera: 0 for a tripod; at 1 it pans 20 % of the width, zooms by 16 % and turns by 3 degrees each way.
    edge: width in texels of the ramps along the objects' outlines; 12 is as soft as hair or blur.
    """

    light: Light = field(default_factory=Light)
    camera: float = 1.0
    edge: float = EDGE_TEXELS


@dataclass(frozen=True)
class Camera:
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
class MovingObject:
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
class Scene:
    """All formulas of a clip. `time` runs from 0 at the first frame to 1 at the last; layers are front to back."""

    camera: Camera
    objects: tuple[MovingObject, ...]
    background_origin: tuple[float, float]
    light: Light
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
        return smoothstep(item.inside_distance(uv - item.texture_side / 2) / item.edge + 0.5)

    def lighting(self, layer: int, xy: Points, time: float, contact: bool = True) -> Colours:
        """A warm spot that crosses the frame in a cool, changing ambience; the background has the shadows, too.

        contact: whether contact shadows are among them.
        """
        width, height = self.camera.size
        shift = 0.07 * layer
        spot_x = (0.1 + 0.8 * time + shift) * width
        spot_y = (0.45 + 0.25 * np.sin(2.0 * np.pi * (time + self.light_phase)) - shift) * height
        spot = np.exp(-np.square((xy - np.array([spot_x, spot_y])) / (0.38 * width)).sum(-1))
        wave = np.sin(
            2.0 * np.pi * (0.6 * xy[..., 0] / width - 0.4 * xy[..., 1] / height - 0.7 * time + self.light_phase)
        )
        log_light = spot[..., None] * np.array(self.light.spot) * (1.0 - 0.5 * shift)
        log_light = log_light + wave[..., None] * np.array([0.05, 0.06, 0.1]) - np.array([0.18, 0.15, 0.08])
        if layer == len(self.objects):
            log_light = log_light - LOG_SHADOW * self._shadow(xy, time)[..., None]
        log_light = self.light.strength * log_light
        if self.light.flicker:
            log_light = log_light + self.light.flicker * np.sin(2.0 * np.pi * FLICKERS * time)
        if self.light.contact and contact and layer == len(self.objects):
            log_light = log_light - self.light.contact * self.contact_shadow(xy, time)[..., None]
        return np.exp(log_light)

    def contact_shadow(self, xy: Points, time: float) -> Float[np.ndarray, "*batch"]:
        """How dark the ground is where objects all but touch it, in [0, 1]: below them, less with distance."""
        world = self.camera.pixels_to_world(xy, time)
        lit = np.ones(xy.shape[:-1])
        for item in self.objects:
            rest = item.deform(world - self._world_centre(item, time), time)
            near = smoothstep(1.0 + item.inside_distance(rest) / (CONTACT_REACH * item.radius))
            below = smoothstep(rest[..., 1] / item.radius + 0.2)
            lit *= 1.0 - near * below
        return 1.0 - lit

    def _shadow(self, xy: Points, time: float) -> Float[np.ndarray, "*batch"]:
        world = self.camera.pixels_to_world(xy, time)
        lit = np.ones(xy.shape[:-1])
        for item in self.objects:
            cast = world - self._world_centre(item, time) - item.radius * np.array([0.3, 0.4])
            depth = item.inside_distance(item.deform(cast, time))
            lit *= 1.0 - smoothstep(depth / (0.5 * item.radius) + 0.5)
        return 1.0 - lit

    def _world_centre(self, item: MovingObject, time: float) -> Points:
        return self.camera.pixels_to_world(item.centre(self.camera.size, time), time)


def make_scene(
    rng: np.random.Generator, size: Size, frames: int, objects: int, conditions: Conditions
) -> tuple[Scene, Size]:
    """The scene, and the size of the background's texture that covers all that the camera sees."""
    camera = Camera(size, conditions.camera, float(rng.choice([-1.0, 1.0])), float(rng.uniform()))
    items = tuple(_make_object(rng, size, layer, objects, conditions.edge) for layer in range(objects))
    border = pixel_centres(size)[[0, -1]].reshape(-1, 2).astype(np.float64)
    seen = np.concatenate([camera.pixels_to_world(border, frame / (frames - 1)) for frame in range(frames)])
    low = np.floor(seen.min(0)) - MARGIN_TEXELS
    width, height = (np.ceil(seen.max(0)) + MARGIN_TEXELS - low).astype(int).tolist()
    scene = Scene(camera, items, (float(low[0]), float(low[1])), conditions.light, float(rng.uniform()))
    return scene, (width, height)


def _make_object(rng: np.random.Generator, size: Size, layer: int, objects: int, edge: float) -> MovingObject:
    """The first object goes from left to right, the second one, higher up, from right to left."""
    from_left = layer == 0
    height_share = 0.6 if from_left else 0.42
    lobes = np.array([0.11, 0.08, 0.055, 0.035]) * rng.uniform(0.6, 1.0, 4)
    return MovingObject(
        radius=float(min(size)) * (0.29 if objects == 1 else 0.25),
        start=(0.28 if from_left else 0.74, height_share),
        end=(0.7 if from_left else 0.3, height_share - 0.04),
        arc=float(rng.uniform(0.06, 0.12)),
        turn=float(rng.uniform(0.25, 0.35)),
        edge=edge,
        phases=rng.uniform(0.0, 2.0 * np.pi, 8),
        lobes=lobes,
    )


def _rotate(xy: Points, angle: float) -> Points:
    cosine, sine = np.cos(angle), np.sin(angle)
    return xy @ np.array([[cosine, sine], [-sine, cosine]])
