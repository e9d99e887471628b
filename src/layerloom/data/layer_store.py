"""One layer as files. The learning half hands over a BakedLayer; the editing half reads it back as a Layer.

NAME/texture.png        16-bit straight RGBA on the layer's canvas
     alpha/00000.png    own coverage per frame at training size, before occlusion (objects only)
     maps.safetensors   uv_affine; uv_offset, 16 bit between each frame's extremes; lighting, half
"""

import os
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, UInt8, UInt16
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.data.project_header import Kind
from layerloom.data.stored_files import StoredFiles

MAPS = "maps.safetensors"
STORED_MAPS: dict[str, tuple[str, tuple[int | None, ...]]] = {
    "uv_affine": ("F64", (2, 3)),
    "uv_offset": ("U16", (None, None, 2)),
    "uv_offset_scale": ("F32", (2, 2)),
    "lighting": ("F16", (None, None, 3)),
}
"""Type and shape, after the frames, of each array of the maps; None for a grid's nodes."""
MOST_NODES = 8192
FARTHEST_TEXEL = 1e7
LEAST_AREA = 1e-9
"""Of the canvas, in texels, that a pixel covers by its affine map."""

Alpha = UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]
Texture = Float32[np.ndarray, "H W 4"]
LightGrid = Float32[np.ndarray, "lh lw 3"]


@dataclass(frozen=True)
class BakedLayer:
    """One layer as the learning half hands it over. `t` frames; nodes of grids lie on the corners of what they span.

    texture: straight RGBA in [0, 1]; RGB is defined everywhere, A is how surely the texel was seen.
    alpha: own coverage before occlusion by layers in front, at training size, full scale of its type; the
        background covers everything, and its alpha (which may be None) is not stored.
    uv_affine: source pixel (x, y, 1) to texel. uv_offset: texels added to it; node (i, j) of the grid lies at source
        pixel (j · width / (gw − 1), i · height / (gh − 1)), bilinear between.
    lighting: multiplier of the texture's colour, ≥ 0, on nodes spread the same way over the canvas.
    """

    name: str
    kind: Kind
    texture: Float32[np.ndarray, "H W 4"]
    alpha: UInt8[np.ndarray, "t h w"] | UInt16[np.ndarray, "t h w"] | None
    uv_affine: Float64[np.ndarray, "t 2 3"]
    uv_offset: Float32[np.ndarray, "t gh gw 2"]
    lighting: Float[np.ndarray, "t lh lw 3"]


class Layer:
    """A stored layer. Its sizes are known at once; each array is read, and checked, when it is asked for."""

    def __init__(self, files: StoredFiles, name: str, kind: Kind, canvas: Size, training_size: Size) -> None:
        self.name = name
        self.kind: Kind = kind
        self.canvas = canvas
        self._files = files
        self._training_size = training_size
        # Shared with the same layer in other light.
        self._textures: list[Texture] = []
        self._texture_lock = Lock()
        self._relit: Float32[np.ndarray, "t lh lw 3"] | None = None
        self._make_texture: Callable[[], Texture] = self._read_texture
        self._change_light: Callable[[LightGrid], LightGrid] | None = None
        # A frame is worked on in pieces, each of which asks for the same grid.
        self._recent_offsets = lru_cache(maxsize=8)(self._read_offset)

    @property
    def folder(self) -> Path:
        return self._files.root / "layers" / self.name

    def file_names(self, frames: int) -> Iterator[str]:
        """Its files, by their paths from the project's folder."""
        yield self._file("texture.png")
        yield self._file(MAPS)
        if self.kind == "object":
            yield from (self._file(f"alpha/{frame:05d}.png") for frame in range(frames))

    @property
    def texture(self) -> Texture:
        """Straight RGBA in [0, 1], exactly as `texture.png` holds it, or as edits change it; read once."""
        # (functools.cached_property has one lock for all layers.)
        with self._texture_lock:
            if not self._textures:
                self._textures.append(self._make_texture())
            return self._textures[0]

    def look_up(self, uv: Float32[np.ndarray, "h w 2"]) -> Float32[np.ndarray, "h w 3"]:
        """The texture's colour at texel positions, bilinear; beyond the canvas its border continues."""
        x, y = cv2.split(uv - np.float32(0.5))
        return cv2.remap(self.texture[..., :3], x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def alpha(self, frame: int) -> Alpha:
        """Own coverage at training size, before occlusion by layers in front. Objects only."""
        return self._files.read_png(self._file(f"alpha/{frame:05d}.png"), self._training_size, 1)

    @cached_property
    def uv_affine(self) -> Float64[np.ndarray, "t 2 3"]:
        affine = self._maps.get_tensor("uv_affine")
        is_near = (np.abs(affine) <= FARTHEST_TEXEL).all()
        if not (is_near and (np.abs(np.linalg.det(affine[..., :2])) >= LEAST_AREA).all()):
            raise self._damaged("uv_affine is not finite, or cannot be inverted")
        return affine

    def uv_offset(self, frame: int) -> Float32[np.ndarray, "gh gw 2"]:
        """Texels to add to the affine map, at the grid's nodes. Read-only."""
        return self._recent_offsets(frame)

    def stored_uv_offset(self, frame: int) -> tuple[UInt16[np.ndarray, "gh gw 2"], Float32[np.ndarray, "2 2"]]:
        """The same as it is stored, in 65535 steps: levels, and (texels of level 0, texels a step), x and y."""
        return self._maps.get_slice("uv_offset")[frame], self._offset_scale[frame]

    def lighting_grid(self, frame: int) -> LightGrid:
        grid = self._read_light(frame) if self._relit is None else self._relit[frame]
        return grid if self._change_light is None else self._change_light(grid)

    def with_lighting(self, grids: Float32[np.ndarray, "t lh lw 3"]) -> "Layer":
        """The same layer in another light."""
        relit = copy(self)
        relit._relit = grids
        return relit

    def changed(
        self, texture: Callable[[Texture], Texture] | None, light: Callable[[LightGrid], LightGrid] | None
    ) -> "Layer":
        """The same layer with another texture and light: what they make of its own, when it is asked for."""
        layer = copy(self)
        if texture is not None:
            layer._textures, layer._texture_lock = [], Lock()
            layer._make_texture = lambda: texture(self.texture)
        if light is not None:
            layer._change_light = light
        return layer

    def check_maps(self, frames: int) -> None:
        """LayerloomError unless the stored maps have the types and shapes of `frames` frames. Contents come later."""
        found = self._headers(self._files.root / self._file(MAPS))
        for name, (kind, sides) in STORED_MAPS.items():
            if name not in found:
                raise self._damaged(f"{name} is missing")
            stored, shape = found[name]
            if len(shape) != 1 + len(sides) or shape[0] != frames:
                raise self._damaged(f"{name} is {shape}, not one map for each of {frames} frames")
            if stored != kind or not _fits(shape[1:], sides):
                wanted = " x ".join(str(side) if side else "nodes" for side in sides)
                raise self._damaged(f"{name} is {stored} of {shape[1:]} a frame, not {kind} of {wanted}")

    def _headers(self, file: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
        """Type and shape of each stored array, from the file's header."""
        try:
            with safe_open(file, "np") as maps:
                slices = {name: maps.get_slice(name) for name in maps.keys()}  # noqa: SIM118
                return {name: (str(each.get_dtype()), tuple(each.get_shape())) for name, each in slices.items()}
        except (SafetensorError, OSError):
            raise self._damaged("cannot be read") from None

    def _read_texture(self) -> Texture:
        return media.to_float(self._files.read_png(self._file("texture.png"), self.canvas, 4))

    def _read_light(self, frame: int) -> LightGrid:
        grid = self._maps.get_slice("lighting")[frame].astype(np.float32)
        if not np.isfinite(grid).all():
            raise self._damaged("lighting is not finite")
        return grid

    def _read_offset(self, frame: int) -> Float32[np.ndarray, "gh gw 2"]:
        levels, (low, step) = self.stored_uv_offset(frame)
        offset = levels.astype(np.float32) * step + low
        offset.flags.writeable = False
        return offset

    @cached_property
    def _maps(self) -> Any:
        return safe_open(self._files.path(self._file(MAPS)), "np")

    @cached_property
    def _offset_scale(self) -> Float32[np.ndarray, "t 2 2"]:
        scale = self._maps.get_tensor("uv_offset_scale")
        low, step = np.abs(scale[:, 0]), np.abs(scale[:, 1])
        if not (low <= FARTHEST_TEXEL).all() or not (step <= FARTHEST_TEXEL / 65535).all():
            raise self._damaged("uv_offset_scale is not finite, or too large")
        return scale

    def _file(self, name: str) -> str:
        return f"layers/{self.name}/{name}"

    def _damaged(self, reason: str) -> LayerloomError:
        return self._files.damaged(self._file(MAPS), reason)


def _fits(shape: tuple[int, ...], sides: tuple[int | None, ...]) -> bool:
    """Whether a map has these sides, and nodes within the limits where there is None."""
    pairs = zip(shape, sides, strict=True)
    return all(2 <= side <= MOST_NODES if wanted is None else side == wanted for side, wanted in pairs)


def check_layer(layer: BakedLayer, frames: int, training_size: Size) -> None:
    """The learning half's promises; breaking one is a mistake in the program, not of the user."""
    alpha_shape = (frames, training_size[1], training_size[0])
    if layer.kind == "object" and (layer.alpha is None or layer.alpha.shape != alpha_shape):
        raise ValueError(f"layer {layer.name}: its alpha is not {frames} frames of {training_size}")
    for name, maps in (("uv_affine", layer.uv_affine), ("uv_offset", layer.uv_offset), ("lighting", layer.lighting)):
        if maps.shape[0] != frames:
            raise ValueError(f"layer {layer.name}: {name} has {maps.shape[0]} frames, the clip {frames}")
        if not np.isfinite(maps).all():
            raise ValueError(f"layer {layer.name}: {name} is not finite")
    if min(*layer.uv_offset.shape[1:3], *layer.lighting.shape[1:3]) < 2:
        raise ValueError(f"layer {layer.name}: a grid needs at least 2 nodes each way")


def write_layer(folder: Path, layer: BakedLayer) -> None:
    """Write a layer's files to a new folder, on all cores."""
    folder.mkdir(parents=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        writing = [pool.submit(_write_texture, folder / "texture.png", layer.texture)]
        if layer.alpha is not None and layer.kind == "object":
            (folder / "alpha").mkdir()
            for frame, alpha in enumerate(layer.alpha):
                writing.append(pool.submit(media.write_image, folder / "alpha" / f"{frame:05d}.png", alpha))
        offsets, scales = zip(*pool.map(_quantise_offset, layer.uv_offset), strict=True)
        maps = {
            "uv_affine": layer.uv_affine,
            "uv_offset": np.stack(offsets),
            "uv_offset_scale": np.stack(scales),
            "lighting": layer.lighting.astype(np.float16),
        }
        save_arrays(folder / MAPS, maps)
        for written in writing:
            written.result()


def save_arrays(file: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays to a new file of safetensors, with the rights that new files have."""
    file.touch()
    mode = file.stat().st_mode
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, file)
    except SafetensorError as error:  # such as a full disk
        raise OSError(str(error)) from error
    file.chmod(mode)


def _write_texture(path: Path, texture: Float32[np.ndarray, "H W 4"]) -> None:
    media.write_image(path, media.quantise(texture, 16))


def _quantise_offset(
    offset: Float32[np.ndarray, "gh gw 2"],
) -> tuple[UInt16[np.ndarray, "gh gw 2"], Float32[np.ndarray, "2 2"]]:
    """16 bit between the frame's extremes; (lowest, step) of x and of y."""
    low = offset.min((0, 1))
    step = (offset.max((0, 1)) - low) / np.float32(65535)
    levels = np.rint((offset - low) / np.where(step > 0, step, np.float32(1)))
    return np.clip(levels, 0, 65535).astype(np.uint16), np.stack([low, step])
