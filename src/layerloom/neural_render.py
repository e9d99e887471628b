"""Frames straight from the networks, at any size and any time: what `render` shows of baked maps, without the baking.

Positions, light, texture and mattes are the networks' own at each pixel, so output may be larger than the source and
lie between its frames. A shot means what `rendering/definition.py` says, synthesised: between two frames positions are
linear at a fixed pixel, light at a fixed texel, and alpha is blended from where the same texel lies in each. The masks'
log odds are bilinear between pixel centres. Adjustments act on the networks' colours and light,
at the baked light's scale. Edits lie over the networks' texture; a painting is carried to the canvases for its own
frame, too.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional
from jaxtyping import Float
from torch import Tensor

from layerloom.compose.adjust import Adjustment, change_of
from layerloom.compose.composition import Composition
from layerloom.compose.shot import Instance, Shot, at_scale, neighbours
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size, pixel_centres, rescale_positions, transform_points
from layerloom.data.project import Window
from layerloom.model.field import ALPHA_START_LOGIT
from layerloom.model.storage import field_from_arrays
from layerloom.render.pyramid import FINEST_TEXELS_PER_PIXEL, Pyramid
from layerloom.render.scene import Change, Scene

POINTS_AT_ONCE = {"cpu": 2**18, "cuda": 2**22}
MOST_SAMPLES = 4
"""Samples a pixel, each way, where a frame is made small."""
SUPPORT_MARGIN_PIXELS = 4

Points = Float[Tensor, "k 2"]


def render_networks(composition: Composition, device: str, shots: Sequence[Shot] | None = None) -> Iterator[np.ndarray]:
    """Frames as `draw_shots` gives them, one after the other, by the networks on a device ("cpu", "cuda").

    shots: by default those of the composition. Networks are checked before the first frame is asked for:
    LayerloomError.
    """
    if composition.shadows.freed:
        raise LayerloomError("unshadow: shadows are taken off baked light alone; render from maps")
    drawn = composition.shots.shots if shots is None else shots
    networks, marker = Networks(composition, torch.device(device)), composition.marker
    pictures = _one_behind(networks.draw(shot) for shot in drawn)
    if marker is None:
        return pictures
    return (marker.mark(shot, picture) for shot, picture in zip(drawn, pictures, strict=True))


class Networks:
    """A project's networks and a composition on a device."""

    def __init__(self, composition: Composition, device: torch.device) -> None:
        project = composition.project
        self._project, self._device = project, device
        self._scene, self._adjustments = Scene(composition), composition.adjustments
        self._full_scale = 2**project.source_bit_depth - 1
        stored = project.settings.get("field")
        settings = stored if isinstance(stored, dict) else {}
        self._field = field_from_arrays(project.weights(), project.training_size, settings, device)
        self._centres = torch.zeros(0, 0, 2, device=device)
        self._numbers = torch.arange(project.source.frames, device=device)
        self._supports = self._find_supports()
        self._mean_lights = [self._mean_light(layer) for layer in range(len(project.layers))]
        self._images: dict[Pyramid, list[Tensor]] = {}

    @torch.no_grad()
    def draw(self, shot: Shot) -> Tensor:
        """The frame on the device, h w 3: uint8, or int32 for a source of 16 bit."""
        samples = self._samples(shot)
        finer = at_scale(shot, float(samples))
        width, height = finer.size
        picture = torch.zeros(height, width, 3, device=self._device)
        left = torch.ones(height, width, device=self._device)
        changes = self._scene.passes(replace(finer, source_number=None))[-1].changes
        for instance, change in zip(finer.instances, changes, strict=True):
            if instance.layer not in self._scene.hidden:
                for window in self._windows(finer, instance):
                    self._add(finer, instance, change, window, picture, left)
        if samples > 1:
            picture = functional.avg_pool2d(picture.permute(2, 0, 1)[None], samples)[0].permute(1, 2, 0)
        levels = picture.clamp(0, 1) * self._full_scale + 0.5
        return levels.to(torch.uint8 if self._full_scale == 255 else torch.int32)

    def _add(
        self,
        shot: Shot,
        instance: Instance,
        change: Change | None,
        window: Window,
        picture: Float[Tensor, "h w 3"],
        left: Float[Tensor, "h w"],
    ) -> None:
        """Add what an instance shows in a window, and take it from what is left for those behind."""
        xy = self._pixels(shot.size)[window]
        rows, columns = xy.shape[:2]
        xy = xy.reshape(-1, 2)
        if not np.array_equal(instance.to_source, np.eye(3)):
            matrix = torch.tensor(instance.to_source, dtype=torch.float32).to(self._device, non_blocking=True)
            xy = transform_points(matrix, xy)
        uv = self._uv(instance, xy)
        kept = self._own_alpha(instance, xy, uv).view(rows, columns) * left[window]
        left[window] -= kept
        backdrop = self._scene.backdrop
        if backdrop is not None and instance.layer == len(self._project.layers) - 1:
            colour = torch.from_numpy(backdrop.fit(shot.size)[window]).to(self._device)
        else:
            colour = self._colour(shot, instance, change, uv).view(rows, columns, 3)
        picture[window] += kept[..., None] * colour

    def _pixels(self, size: Size) -> Float[Tensor, "h w 2"]:
        """Pixel centres of a shot; those of the last one are kept."""
        if self._centres.shape[:2] != (size[1], size[0]):
            self._centres = torch.from_numpy(pixel_centres(size)).to(self._device)
        return self._centres

    def _uv(self, instance: Instance, xy: Points) -> Points:
        """Texels at training scale, at source pixels."""
        first, second, share = neighbours(instance.time)
        before = self._uv_in_frame(instance.layer, first, xy)
        return before if share == 0 else torch.lerp(before, self._uv_in_frame(instance.layer, second, xy), share)

    def _uv_in_frame(self, layer: int, frame: int, xy: Points) -> Points:
        at_training_size = rescale_positions(xy, self._project.source.size, self._field.size)
        return self._field.layer(layer).mapping(at_training_size[None], self._number(frame))[0][0]

    def _own_alpha(self, instance: Instance, xy: Points, uv: Points) -> Float[Tensor, " k"]:
        """Zero outside the source's frame; one everywhere for the background."""
        if instance.layer == len(self._project.layers) - 1:
            return torch.ones_like(xy[:, 0])
        first, second, share = neighbours(instance.time)
        if share == 0:
            return self._own_alpha_in_frame(instance.layer, first, xy)
        own: list[Tensor] = []
        for frame in (first, second):
            inverse = torch.from_numpy(np.linalg.inv(self._training_affine(instance.layer, frame))).to(xy)
            there = xy + (uv - self._uv_in_frame(instance.layer, frame, xy)) @ inverse.T
            own.append(self._own_alpha_in_frame(instance.layer, frame, there))
        return torch.lerp(own[0], own[1], share)

    def _own_alpha_in_frame(self, layer: int, frame: int, xy: Points) -> Float[Tensor, " k"]:
        size = self._project.source.size
        inside = (xy[:, 0] >= 0) & (xy[:, 1] >= 0) & (xy[:, 0] <= size[0]) & (xy[:, 1] <= size[1])
        at_training_size = rescale_positions(xy, size, self._field.size)
        code = self._field.alpha_start[layer, frame].float()
        outside_support = -2 * ALPHA_START_LOGIT
        plane = torch.where(code > 0, (code - 128) * (ALPHA_START_LOGIT / 127), outside_support)
        odds = _sample(plane[None], rescale_positions(xy, size, (1, 1)))
        own = self._field.layer(layer).own_alpha(at_training_size[None], self._number(frame), odds)
        return own[0] * inside

    def _colour(self, shot: Shot, instance: Instance, change: Change | None, uv: Points) -> Float[Tensor, "k 3"]:
        """Light times texture, with what edits change of it."""
        layer = self._field.layer(instance.layer)
        first, second, share = neighbours(instance.time)
        light = layer.lighting(uv[None], self._number(first))[0]
        if share > 0:
            light = torch.lerp(light, layer.lighting(uv[None], self._number(second))[0], share)
        texture = layer.texture(uv[None])[0]
        adjustment = self._adjustments[instance.layer]
        if change is None and adjustment is None:
            return light * texture
        # Baked light is scaled to a mean of one, and colours of edits belong to that scale.
        mean = self._mean_lights[instance.layer]
        usual = _sample(mean, rescale_positions(uv, layer.canvas, (1, 1)), corners=True).T
        texels = rescale_positions(uv, layer.canvas, self._project.layers[instance.layer].canvas)
        lit, colour = light / usual, usual * texture
        if adjustment is not None:
            lit = lit**adjustment.light
            colour = colour + self._adjust(adjustment, texels, colour)
        if change is None:
            return lit * colour
        level = math.log2(max(1.0, self._texels_per_pixel(shot, instance) / FINEST_TEXELS_PER_PIXEL))
        return lit * (colour + self._look_up(change.main, texels, level))

    def _adjust(self, adjustment: Adjustment, texels: Points, colour: Float[Tensor, "k 3"]) -> Float[Tensor, "k 3"]:
        """What an adjustment changes of a layer's colours."""
        field = adjustment.at(texels[None].cpu().numpy())
        if field is None:
            return torch.zeros_like(colour)
        return torch.from_numpy(change_of(field, colour[None].cpu().numpy())[0]).to(colour)

    def _look_up(self, image: Pyramid, uv: Points, level: float) -> Float[Tensor, "k 3"]:
        """An image's colours, halved `level` times."""
        if image not in self._images:
            kept = {key: value for key, value in self._images.items() if len(self._images) < 8}
            colours = [torch.from_numpy(each.texels[..., :3]).to(self._device) for each in image.levels]
            self._images = {**kept, image: [texels.permute(2, 0, 1).contiguous() for texels in colours]}
        finer = min(int(level), len(image.levels) - 1)
        coarser = min(finer + 1, len(image.levels) - 1)
        values: list[Tensor] = []
        for number in sorted({finer, coarser}) if level > finer else [finer]:
            texels, at = self._images[image][number], image.levels[number]
            place = (uv - torch.tensor([at.left, at.top]).to(uv)) / at.side + 1
            values.append(_sample(texels, rescale_positions(place, (texels.shape[2], texels.shape[1]), (1, 1))).T)
        return values[0] if len(values) == 1 else torch.lerp(values[0], values[1], level - finer)

    def _samples(self, shot: Shot) -> int:
        """Samples a pixel, each way, so that the networks' finest texels are not skipped."""
        widest = 1.0
        for instance in shot.instances:
            stored, learned = self._project.layers[instance.layer].canvas, self._field.layer(instance.layer).canvas
            widest = max(widest, self._texels_per_pixel(shot, instance) * learned[0] / stored[0])
        return max(1, min(MOST_SAMPLES, round(widest / FINEST_TEXELS_PER_PIXEL)))

    def _texels_per_pixel(self, shot: Shot, instance: Instance) -> float:
        """Of the stored canvas, in the middle of the frame."""
        affine = self._project.layers[instance.layer].uv_affine[round(instance.time), :, :2]
        matrix = instance.to_source
        w = abs(float(matrix[2] @ [shot.size[0] / 2, shot.size[1] / 2, 1]))
        return math.sqrt(abs(float(np.linalg.det(affine) * np.linalg.det(matrix))) / max(w, 1e-6) ** 3)

    def _windows(self, shot: Shot, instance: Instance) -> Iterator[Window]:
        """The part of a shot where a layer may be seen, in pieces that are worked on at once."""
        left, top, right, bottom = self._reach(shot, instance)
        if right > left:
            step = max(1, POINTS_AT_ONCE[self._device.type] // (right - left))
            for row in range(top, bottom, step):
                yield slice(row, min(row + step, bottom)), slice(left, right)

    def _reach(self, shot: Shot, instance: Instance) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the box in which an object's support lies in a shot."""
        width, height = shot.size
        if instance.layer == len(self._project.layers) - 1:
            return 0, 0, width, height
        boxes = self._supports[instance.layer, list(neighbours(instance.time)[:2])]
        low, high = boxes[:, :2].min(0) - SUPPORT_MARGIN_PIXELS, boxes[:, 2:].max(0) + SUPPORT_MARGIN_PIXELS
        if not np.isfinite(low).all():
            return 0, 0, 0, 0
        inverse = np.linalg.inv(instance.to_source)
        corners = np.array([[x, y, 1.0] for x in (low[0], high[0]) for y in (low[1], high[1])]) @ inverse.T
        if (corners[:, 2] * np.sign(inverse[2, 2]) <= 1e-6).any():
            return 0, 0, width, height
        places = corners[:, :2] / corners[:, 2:]
        (left, top), (right, bottom) = np.floor(places.min(0)).astype(int), np.ceil(places.max(0)).astype(int)
        left, right = (int(np.clip(side, 0, width)) for side in (left, right))
        top, bottom = (int(np.clip(side, 0, height)) for side in (top, bottom))
        return left, top, right, bottom

    def _find_supports(self) -> Float[np.ndarray, "objects t 4"]:
        """Box (left, top, right, bottom; source pixels) of each object's support; infinite where it has none."""
        codes = self._field.alpha_start
        boxes = np.full((*codes.shape[:2], 4), math.inf)
        boxes[..., 2:] = -math.inf
        scale = np.array(self._project.source.size) / self._field.size
        across, down = codes.amax(2).cpu().numpy() > 0, codes.amax(3).cpu().numpy() > 0
        for index in np.ndindex(*codes.shape[:2]):
            if across[index].any():
                x, y = np.flatnonzero(across[index]), np.flatnonzero(down[index])
                boxes[index] = [*np.array([x[0], y[0]]) * scale, *np.array([x[-1] + 1, y[-1] + 1]) * scale]
        return boxes

    @torch.no_grad()
    def _mean_light(self, layer: int) -> Float[Tensor, "3 rows columns"]:
        """Mean over time of the networks' light at the nodes of the baked one, by which that was divided."""
        baked = torch.from_numpy(self._project.layers[layer].lighting_grid(0)).to(self._device)
        rows, columns = baked.shape[:2]
        width, height = self._field.layer(layer).canvas
        x, y = torch.linspace(0, width, columns), torch.linspace(0, height, rows)
        nodes = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(1, -1, 2).to(self._device)
        light = self._field.layer(layer).lighting(nodes, self._number(0)).view(rows, columns, 3)
        return (light / baked.clamp(min=1e-6)).permute(2, 0, 1)

    def _training_affine(self, layer: int, frame: int) -> Float[np.ndarray, "2 2"]:
        """Texels at training scale by source pixels."""
        stored, learned = self._project.layers[layer], self._field.layer(layer).canvas
        return stored.uv_affine[frame, :, :2] * (np.array(learned) / stored.canvas)[:, None]

    def _number(self, frame: int) -> Tensor:
        return self._numbers[frame : frame + 1]


def _sample(image: Float[Tensor, "c h w"], unit: Points, corners: bool = False) -> Float[Tensor, "c k"]:
    """Bilinear at positions in [0, 1]; the border goes on. corners: the outermost entries lie on the corners."""
    grid = (2 * unit - 1)[None, None]
    return functional.grid_sample(image[None], grid, align_corners=corners, padding_mode="border")[0, :, 0]


def _one_behind(pictures: Iterator[Tensor]) -> Iterator[np.ndarray]:
    """Pictures on the host. One is fetched while the device works on the next."""
    waiting: list[tuple[Tensor, torch.cuda.Event | None]] = []
    for picture in pictures:
        fetched, arrived = picture.to("cpu", non_blocking=True), None
        if picture.is_cuda:
            arrived = torch.cuda.Event()
            arrived.record()
        waiting.append((fetched, arrived))
        if len(waiting) > 1:
            yield _arrived(*waiting.pop(0))
    yield from (_arrived(*entry) for entry in waiting)


def _arrived(picture: Tensor, arrival: "torch.cuda.Event | None") -> np.ndarray:
    if arrival is not None:
        arrival.synchronize()
    return picture.numpy().astype(np.uint8 if picture.dtype == torch.uint8 else np.uint16, copy=False)
