"""A shot's arrays laid end to end, with tables that say where each begins: what compiled loops can walk through.

Records refer to one another by number. Positions in the pools count entries: nodes (u, v), lights and texels (four
values each), alphas (one).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64, UInt16

from layerloom.rendering.scene import Inputs, Pyramid, Scene, Stage
from layerloom.staging import Homography, Shot, neighbours

MATRIX = [(f"m{row}{column}", "f8") for row in range(3) for column in range(3)]
INSTANCE = np.dtype(
    [*MATRIX, ("moves", "?"), ("first", "i8"), ("second", "i8"), ("share", "f4"), ("texture", "i8")]
    + [(flag, "?") for flag in ("covers", "hidden", "replaced", "backdrop", "simple")]
)
"""A homography, which `moves` unless it is the identity. `first`, `second`: maps on both sides of its time, and the
`share` of the second. `covers`: no alpha, it is 1. `simple` is the back end's own.
"""
GRIDS = ("node", "light", "alpha", "detail")
MAPS = np.dtype(
    [(f"a{row}{column}", "f8") for row in range(2) for column in range(3)]
    + [(f"inverse{row}{column}", "f4") for row in range(2) for column in range(2)]
    + [(f"{name}_{axis}", "f4") for name in ("low", "step") for axis in "xy"]
    + [(f"{grid}_{name}", "i8") for grid in GRIDS for name in ("start", "columns", "rows")]
    + [(f"{grid}_per_{axis}", "f4") for grid in GRIDS for axis in "xy"]
)
"""A layer in a frame: affine map and its inverse's linear part; offset = low + step · level; grids."""
IMAGE = np.dtype(
    [(name, "f4") for name in ("left", "top", "low_x", "low_y", "high_x", "high_y")]
    + [(name, "i8") for name in ("level", "levels")]
)
"""`low`, `high`: texels of the canvas between which it is something."""
LEVEL = np.dtype([(name, "i8") for name in ("start", "columns", "rows")] + [(f"per_{axis}", "f4") for axis in "xy"])
"""One copy of an image, with its ring; `per_x`: its texels for a texel of the canvas."""


@dataclass(frozen=True, eq=False)
class Images:
    """Pyramids laid end to end."""

    images: np.ndarray
    levels: np.ndarray
    texels: Float32[np.ndarray, "texels 4"]


@dataclass(frozen=True, eq=False)
class Maps:
    """What the instances look through."""

    instances: np.ndarray
    maps: np.ndarray
    nodes: UInt16[np.ndarray, "nodes 2"]
    lights: Float32[np.ndarray, "lights 4"]
    alphas: UInt16[np.ndarray, " alphas"]
    details: Float32[np.ndarray, "details 4"]


def pack_images(pyramids: Sequence[Pyramid]) -> Images:
    """In the order given."""
    images, levels = np.zeros(len(pyramids), IMAGE), np.zeros(sum(len(p.levels) for p in pyramids), LEVEL)
    first, start = 0, 0
    for image, pyramid in zip(images, pyramids, strict=True):
        low_x, low_y, high_x, high_y = pyramid.reach
        note(image, low_x=low_x, low_y=low_y, high_x=high_x, high_y=high_y)
        note(image, left=pyramid.left, top=pyramid.top, level=first, levels=len(pyramid.levels))
        for level, texels in zip(levels[first:], pyramid.levels, strict=False):
            rows, columns = texels.shape[:2]
            per_x, per_y = (columns - 2) / pyramid.size[0], (rows - 2) / pyramid.size[1]
            note(level, start=start, columns=columns, rows=rows, per_x=per_x, per_y=per_y)
            start += rows * columns
        first += len(pyramid.levels)
    return Images(images, levels, _end_to_end([texels for p in pyramids for texels in p.levels], 4, np.float32))


def pack_changes(stages: Sequence[Stage]) -> tuple[Images, Int64[np.ndarray, "stages instances 2"]]:
    """The changes' images, and their numbers by stage and instance (main, opacities), -1 where there is none."""
    numbers: dict[Pyramid, int] = {}

    def number(image: Pyramid | None) -> int:
        return -1 if image is None else numbers.setdefault(image, len(numbers))

    table = [
        [(-1, -1) if change is None else (number(change.main), number(change.opacities)) for change in stage.changes]
        for stage in stages
    ]
    return pack_images(list(numbers)), np.array(table, np.int64)


def pack_maps(scene: Scene, shot: Shot, inputs: Inputs) -> Maps:
    """The instances' maps, and those of the frames that they lie between."""
    project = scene.project
    numbers: dict[tuple[int, int], int] = {}
    instances = np.zeros(len(shot.instances), INSTANCE)
    for record, instance in zip(instances, shot.instances, strict=True):
        first, second, share = neighbours(instance.time)
        place(record, instance.to_source)
        first, second = (numbers.setdefault((instance.layer, frame), len(numbers)) for frame in (first, second))
        is_last = instance.layer == len(project.layers) - 1
        note(record, first=first, second=second, share=share, texture=instance.layer, covers=is_last)
        note(record, hidden=instance.layer in scene.hidden, replaced=instance.layer in scene.replaced)
        note(record, backdrop=is_last and scene.has_backdrop)
    maps = np.zeros(len(numbers), MAPS)
    nodes, lights, alphas, details = (_Pool(maps, name) for name in GRIDS)
    for (layer, frame), number in numbers.items():
        stored = project.layers[layer]
        levels, scale = stored.stored_uv_offset(frame)
        affine, (low, step) = stored.uv_affine[frame], scale
        note(maps[number], **dict(_entries("a", affine)), **dict(_entries("inverse", np.linalg.inv(affine[:, :2]))))
        note(maps[number], low_x=low[0], low_y=low[1], step_x=step[0], step_y=step[1])
        nodes.add(number, levels, (levels.shape[1] - 1, levels.shape[0] - 1), project.source.size)
        light = stored.lighting_grid(frame)
        light = np.concatenate([light, np.zeros_like(light[..., :1])], -1)
        lights.add(number, light, (light.shape[1] - 1, light.shape[0] - 1), stored.canvas)
        if stored.kind == "object":
            alpha = inputs.own_alphas(frame)[layer]
            alphas.add(number, alpha[..., None], alpha.shape[::-1], project.source.size)
        if inputs.details:
            detail = inputs.details[layer, frame]
            details.add(number, detail, (1, 1), (1, 1))
    return Maps(
        instances,
        maps,
        nodes.array(2, np.uint16),
        lights.array(4, np.float32),
        alphas.array(1, np.uint16)[:, 0],
        details.array(4, np.float32),
    )


def note(record: Any, **values: Any) -> None:
    """Write fields of a record."""
    for name, value in values.items():
        record[name] = value


def place(record: Any, matrix: Homography) -> None:
    """Write a homography into a record."""
    note(record, **dict(_entries("m", matrix)), moves=not np.array_equal(matrix, np.eye(3)))


def _entries(name: str, matrix: np.ndarray) -> Iterator[tuple[str, float]]:
    return ((f"{name}{row}{column}", value) for (row, column), value in np.ndenumerate(matrix))


class _Pool:
    """Grids laid end to end, noted in the records of `maps` under a name."""

    def __init__(self, maps: np.ndarray, name: str) -> None:
        self._maps, self._name = maps, name
        self._grids: list[np.ndarray] = []
        self._end = 0

    def add(self, number: int, grid: np.ndarray, cells: tuple[int, int], extent: tuple[int, int]) -> None:
        """A grid with as many `cells` over an `extent`."""
        rows, columns = grid.shape[:2]
        per_x, per_y = cells[0] / extent[0], cells[1] / extent[1]
        fields = {"start": self._end, "columns": columns, "rows": rows, "per_x": per_x, "per_y": per_y}
        note(self._maps[number], **{f"{self._name}_{field}": value for field, value in fields.items()})
        self._grids.append(grid)
        self._end += rows * columns

    def array(self, values: int, dtype: type) -> np.ndarray:
        return _end_to_end(self._grids, values, dtype)


def _end_to_end(grids: Sequence[np.ndarray], values: int, dtype: type) -> np.ndarray:
    flat = [grid.reshape(-1, values) for grid in grids]
    if len(flat) == 1:
        return flat[0]
    return np.concatenate(flat) if flat else np.zeros((0, values), dtype)
