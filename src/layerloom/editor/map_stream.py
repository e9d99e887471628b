"""What the page's shader needs of a frame, of a layer and of its edits, packed into one answer each.

A packet is a head in JSON and then arrays, little endian, each at a multiple of 8 bytes:

    u32 length of the head, u32 0, the head, arrays

The head names for each array where it begins, counted from the end of the head, and its shape.
"""

import struct
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
from jaxtyping import Float32, UInt16

from layerloom.compose.patch import Patch
from layerloom.data.project import Project

ALIGNMENT = 8


class Packet:
    """Arrays under names, and values about them."""

    def __init__(self) -> None:
        self._arrays: list[bytes] = []
        self._length = 0

    def put(self, array: np.ndarray) -> dict[str, Any]:
        """Take an array in; gives how the head speaks of it."""
        data = np.ascontiguousarray(array).tobytes()
        entry = {"at": self._length, "shape": list(array.shape), "type": array.dtype.name}
        padding = -len(data) % ALIGNMENT
        self._arrays.append(data + bytes(padding))
        self._length += len(data) + padding
        return entry

    def pack(self, head: Mapping[str, Any]) -> bytes:
        """The whole packet."""
        text = msgspec.json.encode(head)
        text += b" " * (-len(text) % ALIGNMENT)
        return b"".join([struct.pack("<II", len(text), 0), text, *self._arrays])


def frame_maps(project: Project, frame: int, own_alphas: UInt16[np.ndarray, "objects h w"]) -> bytes:
    """The maps of one of the project's frames: affine maps, uv offsets and light as stored, own alphas in 8 bits.

    own_alphas: of the objects, front to back, as `own_alphas` of `data.mattes` gives them; sent as the part of
    the frame where they are something.
    """
    packet = Packet()
    layers: list[dict[str, Any]] = []
    planes = iter(own_alphas)
    for layer in project.layers:
        levels, (low, step) = layer.stored_uv_offset(frame)
        light = layer.lighting_grid(frame)
        light = np.concatenate([light, np.ones_like(light[..., :1])], -1)
        values: dict[str, Any] = {
            "affine": layer.uv_affine[frame].ravel().tolist(),
            "low": low.tolist(),
            "step": step.tolist(),
            "offsets": packet.put(levels),
            "light": packet.put(light.astype(np.float16)),
        }
        if layer.kind == "object":
            values |= _alpha(packet, next(planes))
        layers.append(values)
    return packet.pack({"frame": frame, "layers": layers})


def texture(project: Project, layer: int) -> bytes:
    """A layer's texture in half precision; the fourth value is how surely a texel was seen."""
    packet = Packet()
    entry = packet.put(project.layers[layer].texture.astype(np.float16))
    return packet.pack({"layer": layer, "texture": entry})


def patch(found: Patch | None) -> bytes:
    """A patch in half precision: change and opacity in four values; opacities of each colour apart, if they differ."""
    packet = Packet()
    if found is None:
        return packet.pack({"patch": None})
    opacity = found.opacity if found.opacity.shape[2] == 3 else found.opacity.repeat(3, 2)
    differ = found.opacity.shape[2] == 3
    change: Float32[np.ndarray, "h w 4"] = np.dstack([found.change, opacity[..., :1]])
    head: dict[str, Any] = {"left": found.left, "top": found.top, "change": packet.put(change.astype(np.float16))}
    if differ:
        head["opacity"] = packet.put(np.dstack([opacity, opacity[..., :1]]).astype(np.float16))
    return packet.pack({"patch": head})


def adjustment(field: Float32[np.ndarray, "h w 4"]) -> bytes:
    """What is done to a layer's colours by texel, in half precision: see `compose.adjust`."""
    packet = Packet()
    entry = packet.put(field.astype(np.float16))
    return packet.pack({"field": entry})


def _alpha(packet: Packet, plane: UInt16[np.ndarray, "h w"]) -> dict[str, Any]:
    levels = ((plane.astype(np.uint32) + 128) // 257).astype(np.uint8)
    rows, columns = np.flatnonzero(levels.any(1)), np.flatnonzero(levels.any(0))
    size = {"alpha_size": [plane.shape[1], plane.shape[0]]}
    if not len(rows):
        return {**size, "alpha": None}
    left, top = int(columns[0]), int(rows[0])
    part = levels[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return {**size, "alpha_corner": [left, top], "alpha": packet.put(part)}
