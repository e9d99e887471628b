"""What an export holds of each frame: mattes, maps, lighting, tracks, and all of it in one EXR."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
from jaxtyping import Float16, Float32, UInt16

from layerloom import media
from layerloom.core.geometry import Size, pixel_centres, uv_to_st
from layerloom.data.mattes import stream_mattes
from layerloom.data.project import Project
from layerloom.export.point_tracks import GridTracks

PER_FRAME = {"mattes": "matte", "tracks": "tracks"} | {name: name for name in ("st", "st16", "lighting", "st_inverse")}
"""What is worked out frame by frame, and its folder in a layer's."""
HALF_MAX = float(np.finfo(np.float16).max)

Shares = Float32[np.ndarray, "layers h w"]


class FrameFiles:
    """Writes the parts of frames, numbered from 0, to an export's folder, in which each layer has one."""

    def __init__(self, project: Project, folder: Path, parts: Collection[str]) -> None:
        self._project, self._folder, self._parts = project, folder, set(parts)
        for layer in project.layers:
            for part in self._parts & PER_FRAME.keys():
                (folder / layer.name / PER_FRAME[part]).mkdir()
        if "exr" in self._parts:
            (folder / "exr").mkdir(exist_ok=True)  # a layer may be named so
        count = len(project.layers) if "tracks" in self._parts else 0
        self._tracks = [GridTracks(project, index) for index in range(count)]

    def write(self, frames: range, progress: Callable[[float], None]) -> None:
        """frames: numbered as the source's. progress: told the fraction done."""
        project = self._project
        shares = stream_mattes(project, frames) if self._parts & {"mattes", "tracks", "exr"} else None
        for number, source_frame in enumerate(frames):
            frame = project.frame_index(source_frame)
            if shares is not None:
                self._write_shares(next(shares), frame, number)
            for index in range(len(project.layers)):
                self._write_maps(index, frame, number)
            progress((number + 1) / len(frames))
        for layer, gathered in zip(project.layers, self._tracks, strict=False):
            gathered.write(self._folder / layer.name / "tracks")

    def _write_shares(self, shares: Shares, frame: int, number: int) -> None:
        if "mattes" in self._parts:
            for layer, matte in zip(self._project.layers, integer_mattes(shares), strict=True):
                media.write_image(self._folder / layer.name / "matte" / f"{number:05d}.png", matte)
        for gathered, share in zip(self._tracks, shares, strict=False):
            gathered.add(frame, share)
        if "exr" in self._parts:
            file = self._folder / "exr" / f"{number:05d}.exr"
            media.write_exr_layers(file, frame_layers(self._project, shares, frame))

    def _write_maps(self, index: int, frame: int, number: int) -> None:
        layer, parts = self._project.layers[index], self._parts
        target = self._folder / layer.name
        if parts & {"lighting", "st", "st16"}:
            uv = self._project.uv(index, frame)
            if "lighting" in parts:
                lighting = np.clip(self._project.lighting(index, frame, uv=uv), 0, HALF_MAX)
                half: Float16[np.ndarray, "h w 3"] = lighting.astype(np.float16)
                media.write_image(target / "lighting" / f"{number:05d}.exr", half)
            if "st" in parts:
                media.write_image(target / "st" / f"{number:05d}.exr", _st(uv, layer.canvas))
            if "st16" in parts:
                media.write_image(target / "st16" / f"{number:05d}.png", _st16(uv, layer.canvas))
        if "st_inverse" in parts:
            xy = self._project.maps(index).positions(frame, pixel_centres(layer.canvas))
            media.write_image(target / "st_inverse" / f"{number:05d}.exr", _st(xy, self._project.source.size))


def frame_layers(project: Project, shares: Shares, frame: int) -> dict[str, np.ndarray]:
    """All that a frame is made of, by layer of an EXR; "" is the beauty, opaque.

    Colours are premultiplied, so that the layers add up to the beauty.
    """
    beauty = np.zeros((*shares.shape[1:], 3), np.float32)
    layers: dict[str, np.ndarray] = {"": beauty}
    for index, (layer, share) in enumerate(zip(project.layers, shares, strict=True)):
        uv = project.uv(index, frame)
        colour = layer.look_up(uv)
        lighting = np.clip(project.lighting(index, frame, uv=uv), 0, HALF_MAX)
        colour *= lighting * share[..., None]
        beauty += colour
        layers[f"{layer.name}_rgba"] = np.dstack([colour, share]).astype(np.float16)
        layers[f"{layer.name}_matte"] = share
        layers[f"{layer.name}_lighting"] = lighting.astype(np.float16)
        layers[f"{layer.name}_st"] = _st(uv, layer.canvas)
    return layers | {"": np.dstack([beauty, np.ones_like(beauty[..., :1])]).astype(np.float16)}


def integer_mattes(shares: Shares) -> UInt16[np.ndarray, "layers h w"]:
    """Rounded to 16 bit; the layer with the largest share takes the rounding, so that the sum is exactly 65535."""
    rounded = np.rint(shares * np.float32(65535)).astype(np.int32)
    missing = 65535 - rounded.sum(0)
    largest = shares.argmax(0)[None]
    np.put_along_axis(rounded, largest, np.take_along_axis(rounded, largest, 0) + missing, 0)
    return np.clip(rounded, 0, 65535).astype(np.uint16)


def _st(positions: Float32[np.ndarray, "h w 2"], size: Size) -> Float32[np.ndarray, "h w 3"]:
    # In double precision: 1 − v / height must not cost the float32 its last digits. Some readers want three channels.
    st = uv_to_st(positions.astype(np.float64), size).astype(np.float32)
    return np.dstack([st, np.zeros_like(st[..., :1])])


def _st16(positions: Float32[np.ndarray, "h w 2"], size: Size) -> UInt16[np.ndarray, "h w 3"]:
    """What lies beyond the canvas looks at its border, as it does where the canvas goes on with its border's colour."""
    st = np.clip(uv_to_st(positions.astype(np.float64), size), 0, 1)
    return np.pad(np.rint(65535 * st).astype(np.uint16), ((0, 0), (0, 0), (0, 1)))
