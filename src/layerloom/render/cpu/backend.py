"""The back end on the CPU: keeps images and maps as compiled loops read them."""

from collections.abc import Sequence
from functools import partial
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Float32, Int64

from layerloom.compose.shot import Shot, is_still
from layerloom.core.parallel import do_in_threads, in_threads, thread_count
from layerloom.data.project import Project
from layerloom.render.backend import Backend
from layerloom.render.bounded_cache import BoundedCache
from layerloom.render.cpu.draw import (
    EDIT_PASS,
    PART,
    SUMS,
    TILE_COLUMNS,
    TILE_ROWS,
    VIEW,
    Rows,
    Tables,
    draw,
    find_boxes,
)
from layerloom.render.cpu.packing import (
    IMAGE,
    INSTANCE,
    PackedImage,
    PackedMaps,
    ShotMaps,
    number_changes,
    pack_image,
    pack_maps,
    place,
)
from layerloom.render.pyramid import Pyramid
from layerloom.render.scene import EditPass, Inputs, Scene

MOST_BYTES_OF_MAPS = 2**28
MOST_BYTES_OF_BOXES = 2**26


class CpuBackend(Backend):
    """Draws shots of one project. May be called from several threads at once: each call draws on one core."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._images: WeakKeyDictionary[Pyramid, PackedImage] = WeakKeyDictionary()
        self._maps = BoundedCache[PackedMaps](MOST_BYTES_OF_MAPS, lambda maps: maps.nbytes)
        self._boxes = BoundedCache[np.ndarray](MOST_BYTES_OF_BOXES, lambda boxes: boxes.nbytes)

    def draw(self, scene: Scene, shot: Shot, inputs: Inputs, alone: bool = False) -> np.ndarray:
        """The frame, h w 3, uint8 or uint16."""
        passes = scene.passes(shot)
        if inputs.source is not None and not scene.replaced and not any(each.is_something for each in passes):
            return inputs.source.copy()
        images, numbers = number_changes(passes)
        patches, textures = self._packed(images), self._packed(scene.textures)
        maps = ShotMaps(scene, shot, inputs, partial(self._packed_maps, scene.project))
        if inputs.source is None:
            output = np.empty((shot.size[1], shot.size[0], 3), f"uint{inputs.bit_depth}")
        else:
            # Pixels that no edit acts on stay as they are.
            output = inputs.source.copy()
        taken = np.zeros(1, INSTANCE)
        place(taken[0], shot.to_source)
        backdrop = np.empty((0, 0, 3), np.float32) if scene.backdrop is None else scene.backdrop.fit(shot.size)
        pictures = (_records(textures), _records(patches), numbers, *_paintings(passes), taken, backdrop)
        tables, boxes = Tables(maps.instances, maps.records, *pictures), self._found_boxes(scene, shot, maps)

        def draw_band(first: int) -> None:
            views, parts = np.zeros(len(maps.instances), VIEW), np.zeros(numbers.shape[:2], PART)
            rows = Rows(views, parts, np.zeros(len(passes), EDIT_PASS), np.zeros(1, SUMS))
            draw(tables, boxes, rows, inputs.source is not None, output, (first, bands))

        # Edits lie together: bands take turns.
        bands = thread_count() if alone else 1
        do_in_threads(draw_band, range(bands)) if alone else draw_band(0)
        return output

    def _found_boxes(self, scene: Scene, shot: Shot, maps: ShotMaps) -> Float[np.ndarray, "rows columns instances 5"]:
        """Where tiles lie on the canvases; kept for ordinary frames, which are drawn again with other edits."""

        def find() -> np.ndarray:
            tiles = -(-shot.size[1] // TILE_ROWS), -(-shot.size[0] // TILE_COLUMNS)
            boxes = np.empty((*tiles, len(maps.instances), 5))
            find_boxes(maps.instances, maps.records, boxes, shot.size[0])
            return boxes

        if not is_still(scene.project, shot):
            return find()
        return self._boxes.get((scene.project.layers, shot.source_number), find)

    def _packed(self, images: Sequence[Pyramid]) -> list[PackedImage]:
        """Kept for as long as the images are."""
        found = [self._images.get(image) for image in images]
        if all(found):
            return [image for image in found if image is not None]
        return list(in_threads(self._pack, images))

    def _pack(self, image: Pyramid) -> PackedImage:
        return self._images.get(image) or self._images.setdefault(image, pack_image(image))

    def _packed_maps(self, project: Project, layer: int, frame: int) -> PackedMaps:
        # A layer in other light is another layer.
        return self._maps.get((project.layers[layer], frame), lambda: pack_maps(project, layer, frame))


def _records(images: Sequence[PackedImage]) -> np.ndarray:
    return np.concatenate([image.record for image in images]) if images else np.zeros(0, IMAGE)


def _paintings(
    passes: Sequence[EditPass],
) -> tuple[Int64[np.ndarray, " passes"], Float32[np.ndarray, "paintings h w 6"]]:
    """Each pass's painting by number, -1 where there is none; and the paintings, with an opacity for each colour."""
    paintings = [each.paint for each in passes if each.paint is not None]
    order = iter(range(len(paintings)))
    numbers = [-1 if each.paint is None else next(order) for each in passes]
    full = [np.dstack([paint, *[paint[..., 3:]] * 2]) if paint.shape[2] == 4 else paint for paint in paintings]
    return np.array(numbers, np.int64), np.stack(full) if full else np.empty((0, 1, 1, 6), np.float32)
