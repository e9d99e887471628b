"""A shot as tables of records, for compiled loops: numbers, and addresses of grids that lie where they are.

Whatever has a record also holds what the record's addresses point to.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int16, Int64, UInt8

from layerloom.compose.shot import Homography, Instance, Shot, neighbours
from layerloom.data.project import Project
from layerloom.render.cpu.sampling import quantise
from layerloom.render.pyramid import Pyramid
from layerloom.render.scene import EditPass, Inputs, Scene

MATRIX = [(f"m{row}{column}", "f8") for row in range(3) for column in range(3)]
INSTANCE = np.dtype(
    [*MATRIX, ("moves", "?"), ("first", "i8"), ("second", "i8"), ("share", "f4"), ("texture", "i8")]
    + [(flag, "?") for flag in ("covers", "hidden", "replaced", "backdrop", "carries", "as_solved")]
)
"""A homography, which `moves` unless it is the identity. `first`, `second`: maps on both sides of its time, and the
`share` of the second. `covers`: no alpha, it is 1. `carries`: there are details.
`as_solved`: how its texture is looked up.
"""
GRIDS = ("node", "light", "alpha", "detail")
MAPS = np.dtype(
    [(f"a{row}{column}", "f8") for row in range(2) for column in range(3)]
    + [(f"inverse{row}{column}", "f4") for row in range(2) for column in range(2)]
    + [(f"{name}_{axis}", "f4") for name in ("low", "step") for axis in "xy"]
    + [(f"{grid}_{name}", "i8") for grid in GRIDS for name in ("at", "columns", "rows")]
    + [(f"{grid}_per_{axis}", "f4") for grid in GRIDS for axis in "xy"]
)
"""A layer in a frame: affine map and its inverse's linear part; offset = low + step · level; and its grids, each with
address, columns, rows, and entries a pixel (or texel). Nodes hold u and v (uint16), lights and details four values
(float32), alphas one (uint16).
"""
MOST_LEVELS = 16
IMAGE = np.dtype(
    [(name, "f4") for name in ("low_x", "low_y", "high_x", "high_y", "step")]
    + [(name, "i8") for name in ("levels", "blocks_at", "block_columns", "block_rows")]
    + [(name, "i8", MOST_LEVELS) for name in ("at", "columns", "rows")]
    + [(name, "f4", MOST_LEVELS) for name in ("left", "top", "per_texel")]
)
"""A pyramid: values = step · level, 16 bit. `low`, `high`: texels of the canvas between which it is something; of the
square blocks of its texels a byte each says which of them are. Each copy has address, columns and rows with its ring,
the texel of the canvas at which it begins, and its texels for a texel of the canvas.
"""
BLOCK_TEXELS = 32
FULL_LEVEL = 32767


@dataclass(frozen=True, eq=False)
class PackedImage:
    """A pyramid as a record (of type IMAGE), and what that points to."""

    record: np.ndarray
    held: list[np.ndarray]


def pack_image(pyramid: Pyramid) -> PackedImage:
    """Once for each pyramid: all of its texels are copied."""
    record = np.zeros(1, IMAGE)
    return PackedImage(record, _note_image(record[0], pyramid))


def _note_image(image: Any, pyramid: Pyramid) -> list[np.ndarray]:
    """Fill an image's record; gives what it points to."""
    low_x, low_y, high_x, high_y = pyramid.reach
    note(image, low_x=low_x, low_y=low_y, high_x=high_x, high_y=high_y)
    levels = pyramid.levels
    greatest = max(float(levels[0].texels.max()), -float(levels[0].texels.min()), 1e-6)
    note(image, step=greatest / FULL_LEVEL, levels=len(levels))
    held: list[np.ndarray] = []
    for number, level in enumerate(levels):
        rows, columns = level.texels.shape[:2]
        texels = np.empty((rows, columns, 4), np.int16)
        quantise(level.texels, np.float32(FULL_LEVEL / greatest), texels)
        image["at"][number], image["columns"][number], image["rows"][number] = texels.ctypes.data, columns, rows
        image["left"][number], image["top"][number] = level.left, level.top
        image["per_texel"][number] = 1 / level.side
        held.append(texels)
    blocks = _something(held[0])
    note(image, blocks_at=blocks.ctypes.data, block_columns=blocks.shape[1], block_rows=blocks.shape[0])
    return [*held, blocks]


def _something(texels: Int16[np.ndarray, "rows columns 4"]) -> UInt8[np.ndarray, "blocks_down blocks_across"]:
    """By square blocks of an image's texels, without its ring, whether any value in them is not zero: bytes."""
    # Four values of 16 bits are one of 64.
    inner = texels.view(np.uint64)[1:-1, 1:-1, 0] != 0
    rows, columns = (np.arange(0, side, BLOCK_TEXELS) for side in inner.shape)
    return np.logical_or.reduceat(np.logical_or.reduceat(inner, rows, 0), columns, 1).astype(np.uint8)


def number_changes(passes: Sequence[EditPass]) -> tuple[list[Pyramid], Int64[np.ndarray, "passes instances 2"]]:
    """The changes' images, and their numbers by pass and instance (main, opacities), -1 where there is none."""
    numbers: dict[Pyramid, int] = {}

    def number(image: Pyramid | None) -> int:
        return -1 if image is None else numbers.setdefault(image, len(numbers))

    table = [
        [(-1, -1) if change is None else (number(change.main), number(change.opacities)) for change in each.changes]
        for each in passes
    ]
    return list(numbers), np.array(table, np.int64)


@dataclass(frozen=True, eq=False)
class PackedMaps:
    """A layer in a frame as a record (of type MAPS) without mattes and residuals, and what that points to."""

    record: np.ndarray
    held: list[np.ndarray]

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self.held)


def pack_maps(project: Project, layer: int, frame: int) -> PackedMaps:
    """The uv map and the light of a layer in a frame, read and copied."""
    stored, size = project.layers[layer], project.source.size
    record = np.zeros(1, MAPS)
    maps = record[0]
    levels, (low, step) = stored.stored_uv_offset(frame)
    affine = stored.uv_affine[frame]
    note(maps, **dict(_entries("a", affine)), **dict(_entries("inverse", np.linalg.inv(affine[:, :2]))))
    note(maps, low_x=low[0], low_y=low[1], step_x=step[0], step_y=step[1])
    light = stored.lighting_grid(frame)
    light = np.concatenate([light, np.zeros_like(light[..., :1])], -1)
    held = [
        _note_grid(maps, "node", levels, (levels.shape[1] - 1, levels.shape[0] - 1), size),
        _note_grid(maps, "light", light, (light.shape[1] - 1, light.shape[0] - 1), stored.canvas),
    ]
    return PackedMaps(record, held)


class ShotMaps:
    """The instances of a shot as records, and the maps of the frames that they lie between."""

    def __init__(self, scene: Scene, shot: Shot, inputs: Inputs, packed: Callable[[int, int], PackedMaps]) -> None:
        """packed: `pack_maps` of a layer and a frame in the scene's light."""
        numbers: dict[tuple[int, int], int] = {}
        self.instances = np.zeros(len(shot.instances), INSTANCE)
        for record, instance in zip(self.instances, shot.instances, strict=True):
            _note_instance(record, instance, scene, numbers)
        self.instances["carries"] = bool(inputs.details)
        self.instances["as_solved"] = inputs.as_solved
        found = [packed(*key) for key in numbers]
        self.records = np.concatenate([maps.record for maps in found])
        self._held = [maps.held for maps in found]
        for record, (layer, frame) in zip(self.records, numbers, strict=True):
            self._held.append(_note_pixels(record, scene.project, layer, frame, inputs))


def _note_instance(record: Any, instance: Instance, scene: Scene, numbers: dict[tuple[int, int], int]) -> None:
    """numbers: of maps by layer and frame, to which the instance's are added."""
    first, second, share = neighbours(instance.time)
    place(record, instance.to_source)
    first, second = (numbers.setdefault((instance.layer, frame), len(numbers)) for frame in (first, second))
    is_last = instance.layer == len(scene.project.layers) - 1
    note(record, first=first, second=second, share=share, texture=instance.layer, covers=is_last)
    note(record, hidden=instance.layer in scene.hidden, replaced=instance.layer in scene.replaced)
    note(record, backdrop=is_last and scene.backdrop is not None)


def _note_pixels(maps: Any, project: Project, layer: int, frame: int, inputs: Inputs) -> list[np.ndarray]:
    """Add mattes and residuals to the record of a layer in a frame; gives what it points to."""
    held: list[np.ndarray] = []
    if project.layers[layer].kind == "object":
        alpha = inputs.own_alphas(frame)[layer]
        held.append(_note_grid(maps, "alpha", alpha, alpha.shape[::-1], project.source.size))
    if inputs.details:
        held.append(_note_grid(maps, "detail", inputs.details[layer, frame], (1, 1), (1, 1)))
    return held


def _note_grid(maps: Any, name: str, grid: np.ndarray, cells: tuple[int, int], extent: tuple[int, int]) -> np.ndarray:
    """A grid with as many `cells` over an `extent`."""
    grid = np.ascontiguousarray(grid)
    fields = {"at": grid.ctypes.data, "rows": grid.shape[0], "columns": grid.shape[1]}
    fields |= {"per_x": cells[0] / extent[0], "per_y": cells[1] / extent[1]}
    note(maps, **{f"{name}_{field}": value for field, value in fields.items()})
    return grid


def note(record: Any, **values: Any) -> None:
    """Write fields of a record."""
    for name, value in values.items():
        record[name] = value


def place(record: Any, matrix: Homography) -> None:
    """Write a homography into a record."""
    note(record, **dict(_entries("m", matrix)), moves=not np.array_equal(matrix, np.eye(3)))


def _entries(name: str, matrix: np.ndarray) -> Iterator[tuple[str, float]]:
    return ((f"{name}{row}{column}", value) for (row, column), value in np.ndenumerate(matrix))
