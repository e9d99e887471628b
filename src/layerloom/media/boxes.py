"""Boxes of ISO base media files (MP4, MOV) that FFmpeg's muxer is not told of from here: HDR's mastering data."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from layerloom.media.description import Mastering


def add_mastering_boxes(path: Path, mastering: Mastering) -> None:
    """Put mdcv and clli into the first video's sample entry. The file's moov box must lie at its end."""
    boxes = b""
    if any(mastering.chromaticities):
        rx, ry, gx, gy, bx, by, wx, wy = mastering.chromaticities
        least, most = mastering.luminance
        # ISO/IEC 23001-8 counts green, blue, red.
        boxes += _box(b"mdcv", struct.pack(">8H2I", gx, gy, bx, by, rx, ry, wx, wy, most, least))
    if any(mastering.content_light):
        boxes += _box(b"clli", struct.pack(">2H", *mastering.content_light))
    with path.open("r+b") as file:
        start = _find_last_box(file, b"moov")
        file.seek(start)
        moov = file.read()
        file.seek(start)
        file.write(_with_boxes(moov, boxes))


def _box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def _find_last_box(file: BinaryIO, name: bytes) -> int:
    """Where the box begins that ends the file. ValueError if another one does."""
    position, length = 0, file.seek(0, 2)
    while position < length:
        file.seek(position)
        size, found = struct.unpack(">I4s", file.read(8))
        size = struct.unpack(">Q", file.read(8))[0] if size == 1 else size or length - position
        if found == name and position + size == length:
            return position
        position += size
    raise ValueError(f"no box {name.decode()} at the end")


def _with_boxes(moov: bytes, boxes: bytes) -> bytes:
    """The movie box with `boxes` at the end of the video's sample entry, and all boxes around it as much longer."""
    path: Sequence[bytes] = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
    sizes = _path_to_video(moov, 0, len(moov), path)
    if not sizes:
        raise ValueError("no video track")
    changed = bytearray(moov)
    entry = sizes[-1] + 16  # behind the box's header, version and count
    for position in (*sizes, entry):
        (size,) = struct.unpack_from(">I", changed, position)
        struct.pack_into(">I", changed, position, size + len(boxes))
    (size,) = struct.unpack_from(">I", moov, entry)
    changed[entry + size : entry + size] = boxes
    return bytes(changed)


def _path_to_video(data: bytes, start: int, end: int, path: Sequence[bytes]) -> list[int]:
    """Positions of the boxes on the way to the sample descriptions of the first track that holds pictures."""
    position = start
    while position + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, position)
        if size < 8:
            return []
        if name == path[0]:
            if len(path) == 1:
                return [position]
            is_video = name != b"trak" or b"vmhd" in data[position : position + size]
            inner = _path_to_video(data, position + 8, position + size, path[1:]) if is_video else []
            if inner:
                return [position, *inner]
        position += size
    return []
