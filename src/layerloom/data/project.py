"""Project: what was learned about a clip, stored as a folder. The learning half writes it, the editing half reads it.

    clip.loom/project.json              format, version, source, sizes, layers, settings, figures, checksums
              weights.safetensors       the networks, for rendering what was not baked
              layers/NAME/              texture, alpha and maps: see `layer_store`

A project may come from anywhere, so it is checked: the header, what files there are and how large the maps are when it
is opened, each file's checksum and content when it is first read, before any loop goes over it. "Source size" is the
footage's own, in display orientation.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from safetensors import SafetensorError, safe_open

from layerloom import media
from layerloom.core.atomic import new_folder
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import do_in_threads
from layerloom.core.records import record_values
from layerloom.data.clip import SourceReference
from layerloom.data.layer_maps import LayerMaps, Window
from layerloom.data.layer_store import BakedLayer, Layer, check_layer, save_arrays, write_layer
from layerloom.data.project_header import (
    LayerEntry,
    LearningFigures,
    ProjectHeader,
    SourceEntry,
    read_header,
    write_header,
)
from layerloom.data.stored_files import StoredFiles, checksums

WEIGHTS = "weights.safetensors"

__all__ = ["BakedLayer", "Layer", "Project", "Window"]


class Project:
    """A decomposed clip. `layers` are front to back, the background last. Frames count from the first used one."""

    def __init__(self, path: Path, header: ProjectHeader) -> None:
        self.path = path
        self.source = header.source.reference()
        self.training_size: Size = header.training_size
        self.settings = header.settings
        self.provenance = header.provenance
        self.figures: dict[str, Any] = record_values(header.figures)
        self._files = StoredFiles(path, header.files)
        self.layers = tuple(
            Layer(self._files, entry.name, entry.kind, entry.canvas, self.training_size) for entry in header.layers
        )
        self._relative_source = header.source.relative_path

    @staticmethod
    def create(
        path: Path,
        source: SourceReference,
        training_size: Size,
        layers: Sequence[BakedLayer],
        weights: Mapping[str, np.ndarray],
        settings: dict[str, Any],
        provenance: dict[str, Any],
        figures: dict[str, Any],
    ) -> "Project":
        """Write the folder, complete or not at all, and open it.

        figures: as LearningFigures has them; what is not finite is stored as unknown. LayerloomError if `path` exists
        or cannot be written.
        """
        for layer in layers:
            check_layer(layer, source.frames, training_size)
        entries = [LayerEntry(each.name, each.kind, (each.texture.shape[1], each.texture.shape[0])) for each in layers]
        header = ProjectHeader(
            source=SourceEntry.of(source, path),
            training_size=training_size,
            layers=tuple(entries),
            settings=_plain(settings),
            provenance=_plain(provenance),
            figures=LearningFigures(**_plain(figures)),
        )
        with new_folder(path) as folder:
            write = [partial(write_layer, folder / "layers" / layer.name, layer) for layer in layers]
            write.append(partial(save_arrays, folder / WEIGHTS, weights))
            do_in_threads(lambda part: part(), write)
            write_header(folder, header, checksums(folder))
        return Project.open(path)

    @staticmethod
    def open(path: str | Path) -> "Project":
        """Open a stored project. LayerloomError if `path` is none, is damaged, or was written by a newer version."""
        path = Path(path)
        header = read_header(path)
        project = Project(path, header)
        project._files.check(project._needed())
        for layer in project.layers:
            layer.check_maps(project.source.frames)
        header.check_whole(path, project._needed())
        return project

    def _needed(self) -> Iterator[str]:
        """Names of all files that a project is made of."""
        yield WEIGHTS
        for layer in self.layers:
            yield from layer.file_names(self.source.frames)

    def with_lighting(self, layer: int, grids: Float32[np.ndarray, "t lh lw 3"]) -> "Project":
        """The same project with one layer in another light; nothing is written."""
        relit = copy(self)
        relit.layers = (*self.layers[:layer], self.layers[layer].with_lighting(grids), *self.layers[layer + 1 :])
        return relit

    def with_layers(self, layers: Sequence[Layer]) -> "Project":
        """The same project with its layers changed; nothing is written."""
        changed = copy(self)
        changed.layers = tuple(layers)
        return changed

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

    def maps(self, layer: int) -> LayerMaps:
        """A layer's maps over the source's frames; the methods that follow are its own."""
        return LayerMaps(self.layers[layer], self.source.size)

    def uv(self, layer: int, frame: int, window: Window | None = None) -> Float32[np.ndarray, "h w 2"]:
        """See `LayerMaps.uv`."""
        return self.maps(layer).uv(frame, window)

    def uv_at(self, layer: int, frame: int, xy: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 2"]:
        """See `LayerMaps.uv_at`."""
        return self.maps(layer).uv_at(frame, xy)

    def find_xy(
        self, layer: int, frame: int, uv: Float32[np.ndarray, "h w 2"]
    ) -> tuple[Float32[np.ndarray, "h w 2"], Bool[np.ndarray, "h w"]]:
        """See `LayerMaps.find_xy`."""
        return self.maps(layer).find_xy(frame, uv)

    def lighting(
        self, layer: int, frame: int, window: Window | None = None, uv: Float32[np.ndarray, "h w 2"] | None = None
    ) -> Float32[np.ndarray, "h w 3"]:
        """Multiplier of the layer's texture colour at the source's pixels; `uv` saves computing it again."""
        uv = self.uv(layer, frame, window) if uv is None else uv
        return np.stack(self.lighting_planes(layer, frame, uv), -1)

    def lighting_planes(
        self, layer: int, frame: int, uv: Float32[np.ndarray, "h w 2"]
    ) -> list[Float32[np.ndarray, "h w"]]:
        """See `LayerMaps.lighting_planes`."""
        return self.maps(layer).lighting_planes(frame, uv)

    def own_alpha(self, layer: int, frame: int) -> Float32[np.ndarray, "h w"]:
        """See `LayerMaps.own_alpha`."""
        return self.maps(layer).own_alpha(frame)

    def weights(self) -> dict[str, np.ndarray]:
        """The networks' parameters. LayerloomError if they are damaged."""
        file = self._files.path(WEIGHTS)
        try:
            with safe_open(file, "np") as arrays:
                return {name: arrays.get_tensor(name) for name in arrays.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, TypeError):
            raise self._files.damaged(WEIGHTS, "cannot be read") from None

    @cached_property
    def source_path(self) -> Path:
        """Where the footage is now: at its absolute path, else beside the project.

        LayerloomError if gone or changed.
        """
        found = self._found_sources
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
    def source_problem(self) -> str | None:
        """What is wrong with the footage, in a line; None if it is there and what the project was learned from."""
        try:
            _ = self.source_path
        except LayerloomError as error:
            return str(error)
        return None

    @property
    def source_exists(self) -> bool:
        """Whether the footage is there, unchanged."""
        return self.source_problem is None

    @property
    def source_bit_depth(self) -> int:
        """8 or 16: the depth of the source's frames as they are read; 8 if the source is gone or has changed."""
        return media.probe(self.source_path, self.source.options).bit_depth if self.source_exists else 8

    def read_source(self, frames: range) -> Iterator[np.ndarray]:
        """The source's own frames (numbered as the source's), h w 3, uint8 or uint16, one at a time."""
        return media.read_frames(self.source_path, frames.start, frames.stop, options=self.source.options)

    @property
    def _found_sources(self) -> list[Path]:
        # A device or a pipe is not footage: it would be waited for.
        there = [path for path in self._source_candidates if media.is_there(path)]
        return [path for path in there if path.is_file() or path.is_dir() or not path.exists()]

    @property
    def _source_candidates(self) -> tuple[Path, Path]:
        return self.source.path, self.path.resolve() / self._relative_source


def _plain(value: Any) -> Any:
    """The same as JSON has it: None for numbers that are not finite, text for kinds of text, lists for tuples."""
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return str(value) if isinstance(value, str) else value
