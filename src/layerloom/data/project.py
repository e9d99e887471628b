"""Project: what was learned about a clip, stored as a folder. The learning half writes it, the editing half reads it.

    clip.loom/project.json              format, version, source, sizes, layers, settings, provenance, figures
              weights.safetensors       the networks, for rendering what was not baked
              layers/NAME/              texture, alpha and maps: see `layer_files`

Opening reads headers alone; textures and maps are read when asked for, a frame at a time. "Source size" is the
footage's own, in display orientation. A window is a pair of slices (rows, columns) of a frame of source size.
"""

import json
import math
import os
from collections.abc import Iterator, Sequence
from copy import copy
from fractions import Fraction
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
from jaxtyping import Bool, Float32
from safetensors import safe_open
from safetensors.numpy import save_file

from layerloom import media
from layerloom.core.atomic import new_folder
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import do_in_threads
from layerloom.data.clip import SourceReference
from layerloom.data.layer_store import BakedLayer, Layer, check_layer, write_layer
from layerloom.media.description import SourceDescription

FORMAT = "layerloom-project"
VERSION = 1
INVERSE_STEPS = 12

__all__ = ["BakedLayer", "Layer", "Project", "Window"]

Window = tuple[slice, slice]


class Project:
    """A decomposed clip. `layers` are front to back, the background last. Frames count from the first used one."""

    def __init__(self, path: Path, header: dict[str, Any]) -> None:
        self.path = path
        self.source = _source_from_json(header["source"])
        self.training_size: Size = _size(header["training_size"])
        self.settings: dict[str, Any] = dict(header["settings"])
        self.provenance: dict[str, Any] = dict(header["provenance"])
        self.figures: dict[str, Any] = dict(header["figures"])
        self.layers = tuple(
            Layer(path / "layers" / entry["name"], entry["name"], entry["kind"], _size(entry["canvas"]))
            for entry in header["layers"]
        )
        self._relative_source = Path(header["source"]["relative_path"])

    @staticmethod
    def create(
        path: Path,
        source: SourceReference,
        training_size: Size,
        layers: Sequence[BakedLayer],
        weights: dict[str, np.ndarray],
        settings: dict[str, Any],
        provenance: dict[str, Any],
        figures: dict[str, Any],
    ) -> "Project":
        """Write the folder, complete or not at all, and open it.

        LayerloomError if `path` exists or cannot be written.
        """
        for layer in layers:
            check_layer(layer, source.frames, training_size)
        header = {
            "format": FORMAT,
            "version": VERSION,
            "source": _source_to_json(source, path),
            "training_size": list(training_size),
            "layers": [
                {"name": layer.name, "kind": layer.kind, "canvas": [layer.texture.shape[1], layer.texture.shape[0]]}
                for layer in layers
            ],
            "settings": settings,
            "provenance": provenance,
            "figures": figures,
        }
        text = json.dumps(header, indent=1, ensure_ascii=False, allow_nan=False)
        with new_folder(path) as folder:
            contiguous = {name: np.ascontiguousarray(value) for name, value in weights.items()}
            write = [partial(write_layer, folder / "layers" / layer.name, layer) for layer in layers]
            write.append(partial(save_file, contiguous, folder / "weights.safetensors"))
            do_in_threads(lambda part: part(), write)
            (folder / "project.json").write_text(text + "\n", encoding="utf-8")
        return Project.open(path)

    @staticmethod
    def open(path: str | Path) -> "Project":
        """Open a stored project. LayerloomError if `path` is none, is damaged, or was written by a newer version."""
        path = Path(path)
        header = _read_header(path)
        try:
            project = Project(path, header)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LayerloomError(f"{path / 'project.json'}: damaged project: {type(error).__name__} {error}") from None
        _check_files(project)
        return project

    def with_lighting(self, layer: int, grids: Float32[np.ndarray, "t lh lw 3"]) -> "Project":
        """The same project with one layer in another light; nothing is written."""
        relit = copy(self)
        relit.layers = (*self.layers[:layer], self.layers[layer].with_lighting(grids), *self.layers[layer + 1 :])
        return relit

    def layer_index(self, name: str) -> int:
        """Position of a layer, front to back. LayerloomError if there is none of that name."""
        names = [layer.name for layer in self.layers]
        if name not in names:
            raise LayerloomError(f"{self.path}: no layer '{name}'; its layers are {', '.join(names)}")
        return names.index(name)

    def frame_index(self, source_frame: int) -> int:
        """Frame of the project that a frame of the source (counted from 0) is. LayerloomError if it was not used."""
        index = source_frame - self.source.first_frame
        if not 0 <= index < self.source.frames:
            raise LayerloomError(
                f"frame {source_frame}: {self.path} has frames {self.source_range.start}:{self.source_range.stop}"
            )
        return index

    def check_frames(self, frames: range) -> None:
        """LayerloomError unless `frames` (numbered as the source's) is a run of used frames."""
        used = self.source_range
        if frames.step != 1 or not len(frames) or frames.start < used.start or frames.stop > used.stop:
            raise LayerloomError(
                f"frames {frames.start}:{frames.stop}: {self.path} has frames {used.start}:{used.stop} of its source"
            )

    @property
    def source_range(self) -> range:
        """The used frames, numbered as the source's, from 0."""
        return range(self.source.first_frame, self.source.first_frame + self.source.frames)

    def uv(self, layer: int, frame: int, window: Window | None = None) -> Float32[np.ndarray, "h w 2"]:
        """Texel positions on the layer's canvas of the source's pixel centres."""
        stored = self.layers[layer]
        width, height = self.source.size
        rows, columns = window if window else (slice(0, height), slice(0, width))
        x = np.arange(width)[columns] + 0.5
        y = np.arange(height)[rows, None] + 0.5
        affine = stored.uv_affine[frame]
        offset = stored.uv_offset(frame)
        node_x, node_y = (nodes[rows, columns] for nodes in _nodes_under_pixels(offset.shape[1::-1], (width, height)))
        uv = np.empty((*node_x.shape, 2), np.float32)
        for axis in (0, 1):
            straight = (affine[axis, 1] * y + affine[axis, 2]).astype(np.float32) + (affine[axis, 0] * x).astype(
                np.float32
            )
            np.add(straight, cv2.remap(offset[..., axis], node_x, node_y, cv2.INTER_LINEAR), out=uv[..., axis])
        return uv

    def uv_at(self, layer: int, frame: int, xy: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
        """Texel positions of any points (x, y), in source pixels; outside the frame the border's offset goes on."""
        offset = self.layers[layer].uv_offset(frame)
        width, height = self.source.size
        node_x = xy[..., 0] * np.float32((offset.shape[1] - 1) / width)
        node_y = xy[..., 1] * np.float32((offset.shape[0] - 1) / height)
        bent = cv2.remap(offset, node_x, node_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        affine = self.layers[layer].uv_affine[frame]
        return (xy @ affine[:, :2].T + affine[:, 2]).astype(np.float32) + bent

    def find_xy(
        self, layer: int, frame: int, uv: Float32[np.ndarray, "h w 2"]
    ) -> tuple[Float32[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
        """Where texels are in a frame (source pixels), and whether they are in it: the inverse of `uv_at`.

        Newton's method with the affine part's Jacobian. A texel is in the frame where the map leads back to within
        half a texel of it from a point of the frame.
        """
        affine = self.layers[layer].uv_affine[frame]
        inverse = np.linalg.inv(affine[:, :2]).astype(np.float32)
        xy = (uv - affine[:, 2].astype(np.float32)) @ inverse.T
        error = uv - self.uv_at(layer, frame, xy)
        for _ in range(INVERSE_STEPS):
            xy = xy + error @ inverse.T
            error = uv - self.uv_at(layer, frame, xy)
        inside = ((xy >= 0) & (xy <= np.array(self.source.size, np.float32))).all(-1)
        return xy, inside & (np.square(error).sum(-1) < 0.25)

    def lighting(
        self, layer: int, frame: int, window: Window | None = None, uv: Float32[np.ndarray, "h w 2"] | None = None
    ) -> Float32[np.ndarray, "h w 3"]:
        """Multiplier of the layer's texture colour at the source's pixels; `uv` saves computing it again."""
        uv = self.uv(layer, frame, window) if uv is None else uv
        return np.stack(self.lighting_planes(layer, frame, uv), -1)

    def lighting_planes(
        self, layer: int, frame: int, uv: Float32[np.ndarray, "h w 2"]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """Red, green and blue of `lighting` at texel positions."""
        grid = self.layers[layer].lighting_grid(frame)
        width, height = self.layers[layer].canvas
        node_x = uv[..., 0] * np.float32((grid.shape[1] - 1) / width)
        node_y = uv[..., 1] * np.float32((grid.shape[0] - 1) / height)
        return [
            cv2.remap(plane, node_x, node_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            for plane in cv2.split(grid)
        ]

    def own_alpha(self, layer: int, frame: int) -> Float32[np.ndarray, "h w"]:
        """The layer's coverage at source size before occlusion by layers in front, bilinear from training size."""
        width, height = self.source.size
        if self.layers[layer].kind == "background":
            return np.ones((height, width), np.float32)
        alpha = media.to_float(self.layers[layer].alpha(frame))
        if alpha.shape == (height, width):
            return alpha
        return cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)

    def weights(self) -> dict[str, np.ndarray]:
        """The networks' parameters."""
        with safe_open(self.path / "weights.safetensors", "np") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    @cached_property
    def source_path(self) -> Path:
        """Where the footage is now: at its absolute path, else beside the project.

        LayerloomError if gone or changed.
        """
        found = [candidate for candidate in self._source_candidates if media.is_there(candidate)]
        if not found:
            first, second = self._source_candidates
            raise LayerloomError(
                f"{first}: the project's source is gone (nor is it at {second});"
                " put it back, or render what was learned alone (synthesis)",
                "mode",
            )
        if media.probe(found[0], self.source.options).fingerprint != self.source.fingerprint:
            raise LayerloomError(
                f"{found[0]}: not the footage that {self.path} was learned from: its content has changed"
            )
        return found[0]

    @property
    def source_bit_depth(self) -> int:
        """8 or 16: the depth of the source's frames as they are read; 8 if the source is gone."""
        return media.probe(self.source_path, self.source.options).bit_depth if self.source_exists else 8

    @property
    def source_exists(self) -> bool:
        return any(media.is_there(candidate) for candidate in self._source_candidates)

    def read_source(self, frames: range) -> Iterator[np.ndarray]:
        """The source's own frames (numbered as the source's), h w 3, uint8 or uint16, one at a time."""
        return media.read_frames(self.source_path, frames.start, frames.stop, options=self.source.options)

    @property
    def _source_candidates(self) -> tuple[Path, Path]:
        return self.source.path, self.path.resolve() / self._relative_source


@lru_cache(maxsize=4)
def _nodes_under_pixels(nodes: Size, size: Size) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
    """Column and row among `nodes` = (columns, rows), spread over a frame of `size`, of every pixel centre."""
    columns, rows = ((np.arange(side) + 0.5) * (count - 1) / side for side, count in zip(size, nodes, strict=True))
    node_x, node_y = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
    return node_x, node_y


def _read_header(path: Path) -> dict[str, Any]:
    file = path / "project.json"
    if not file.is_file():
        raise LayerloomError(f"{path}: not a layerloom project (a folder that holds a project.json)")
    try:
        header = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise LayerloomError(f"{file}: damaged project: not valid JSON") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise LayerloomError(f"{file}: not a layerloom project: its format is not '{FORMAT}'")
    if not isinstance(header.get("version"), int):
        raise LayerloomError(f"{file}: damaged project: it has no version")
    if header["version"] > VERSION:
        raise LayerloomError(
            f"{path}: written by a newer layerloom (project version {header['version']}, this one reads {VERSION})"
        )
    return header


def _check_files(project: Project) -> None:
    """Everything a project needs is there and of the right shape; contents are not read."""
    frames = range(project.source.frames)
    needed = [project.path / "weights.safetensors"]
    for layer in project.layers:
        needed += [layer.folder / "texture.png", layer.folder / "maps.safetensors"]
        if layer.kind == "object":
            needed += [layer.folder / "alpha" / f"{frame:05d}.png" for frame in frames]
    missing = [file for file in needed if not file.is_file()]
    if missing:
        raise LayerloomError(f"{missing[0]}: damaged project: {len(missing)} of its files missing, this one first")
    for layer in project.layers:
        layer.check_maps(len(frames))


def _size(values: Sequence[int]) -> Size:
    width, height = values
    if not (width > 0 and height > 0):
        raise ValueError(f"size {width} x {height}")
    return int(width), int(height)


def _source_to_json(source: SourceReference, project: Path) -> dict[str, Any]:
    path = source.path.resolve()
    return {
        "path": str(path),
        "relative_path": os.path.relpath(path, Path(project).resolve()),
        "fingerprint": source.fingerprint,
        "size": list(source.size),
        "first_frame": source.first_frame,
        "frames": source.frames,
        "fps": f"{source.fps.numerator}/{source.fps.denominator}",
        "timestamps": [str(time) for time in source.timestamps],
        "description": msgspec.to_builtins(source.description),
    }


def _source_from_json(values: dict[str, Any]) -> SourceReference:
    source = SourceReference(
        path=Path(values["path"]),
        fingerprint=str(values["fingerprint"]),
        size=_size(values["size"]),
        first_frame=int(values["first_frame"]),
        frames=int(values["frames"]),
        fps=Fraction(values["fps"]),
        timestamps=tuple(Fraction(time) for time in values["timestamps"]),
        description=msgspec.convert(values.get("description"), SourceDescription | None),
    )
    if len(source.timestamps) != source.frames or source.frames < 1 or not math.isfinite(source.fps):
        raise ValueError(f"{source.frames} frames with {len(source.timestamps)} timestamps")
    return source
