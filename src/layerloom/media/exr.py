"""OpenEXR: which of a file's parts and layers is the picture, its pixels as they are stored, and writing."""

import functools
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float, Float32, Num

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.media.limits import check_count, check_length, check_size

# OpenEXR is imported where it is used: it takes a tenth of a second, which most commands need not spend.

USUAL_LAYERS = ("", "rgba", "rgb", "beauty", "combined", "composite", "main", "color", "colour")
"""Names of layers and parts that hold the picture itself, in the order in which they are looked for."""

Windows = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ExrLayer:
    """A picture in a file: the number of its part, its channels there in the order R, G, B(, A), and its display size.

    name: of the layer, as a user chooses it. bits: 16 for half, 32 for float.
    """

    name: str
    part: int
    channels: tuple[str, ...]
    size: Size
    bits: int
    has_alpha: bool


def exr_header(path: Path, layer: str = "") -> ExrLayer:
    """The picture of that layer; without a name the usual one. LayerloomError if there is none, or it is too large."""
    layers = exr_layers(path)
    names = [found.name for found in layers]
    if layer:
        chosen = next((found for found in layers if found.name.casefold() == layer.casefold()), None)
        if chosen is None:
            raise LayerloomError(f"{path}: no layer '{layer}'; its layers are {', '.join(n or 'rgba' for n in names)}")
        return chosen
    usual = [found for name in USUAL_LAYERS for found in layers if found.name.casefold() == name]
    return (usual or layers)[0]


def exr_layers(path: Path) -> tuple[ExrLayer, ...]:
    """All pictures of a file: groups of channels R, G, B(, A), or Y, or R and G alone. LayerloomError if none."""
    status = path.stat()
    return _exr_layers(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _exr_layers(path: Path, length: int, changed: int) -> tuple[ExrLayer, ...]:
    with path.open("rb") as file:
        try:
            headers = list(_headers(file))
        except (ValueError, IndexError, struct.error) as error:
            raise _unreadable(path) from error
    check_count(path, len(headers), "parts")
    layers: list[ExrLayer] = []
    others: list[str] = []
    for number, header in enumerate(headers):
        size = _check_windows(path, header)
        found = _pictures(header.channels, header.name)
        others += [name for name in header.channels if not any(name in channels for _, channels in found)]
        for name, channels in found:
            bits = 16 if all(header.channels[channel] == HALF for channel in channels) else 32
            alpha = channels[-1].rpartition(".")[2].upper() in ("A", "ALPHA")
            layers.append(ExrLayer(name, number, channels, size, bits, alpha))
    if not layers:
        layers = _lone_channels(headers)
    if not layers:
        raise LayerloomError(f"{path}: no channels R, G, B or Y, but {', '.join(others[:20])}")
    return tuple(layers)


HALF = 1
"""A channel's type in the header; 0 is uint32, 2 float32."""
MULTIPART = 0x1000
LONGEST_ATTRIBUTE = 1 << 28
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class _Header:
    """What one part's header says. Windows are left, top, right, bottom, inclusive. channels: their types."""

    name: str
    channels: dict[str, int]
    data: Window
    display: Window


def _headers(file: BinaryIO) -> Iterator[_Header]:
    """The headers of a file, as OpenEXR's file layout defines them. ValueError and the like where it is damaged.

    (The library's Python door says nothing about types without decoding the pixels.)
    """
    _, version = struct.unpack("<II", file.read(8))
    while attributes := _attributes(file):
        channels: dict[str, int] = {}
        listed = attributes.get("channels", b"\x00")
        while listed[0]:
            name, _, rest = listed.partition(b"\0")
            channels[name.decode("utf-8", "replace")] = int(struct.unpack("<i", rest[:4])[0])
            listed = rest[16:]
        if "dataWindow" not in attributes or "displayWindow" not in attributes:
            raise ValueError("no windows")
        name = attributes.get("name", b"").decode("utf-8", "replace")
        data, display = (struct.unpack("<4i", attributes[window]) for window in ("dataWindow", "displayWindow"))
        yield _Header(name, channels, data, display)
        if not version & MULTIPART:
            return


def _attributes(file: BinaryIO) -> dict[str, bytes]:
    """A header's attributes by name, up to the empty name that ends it."""
    found: dict[str, bytes] = {}
    while name := _text(file):
        _text(file)  # its type
        (length,) = struct.unpack("<i", file.read(4))
        if not 0 <= length <= LONGEST_ATTRIBUTE:
            raise ValueError(f"an attribute of {length} bytes")
        found[name] = file.read(length)
        if len(found[name]) < length:
            raise ValueError("cut short")
    return found


def _text(file: BinaryIO) -> str:
    letters = bytearray()
    while (letter := file.read(1)) != b"\0":
        letters += letter
        if not letter or len(letters) > 255:
            raise ValueError("a name without an end")
    return letters.decode("utf-8", "replace")


def _lone_channels(headers: Sequence[_Header]) -> list[ExrLayer]:
    """Of a file without colours, parts of a single channel, as mattes have: they are grey."""
    found: list[ExrLayer] = []
    for number, header in enumerate(headers):
        if len(header.channels) == 1 and not header.channels.keys() & {"Z", "depth.Z"}:
            ((name, kind),) = header.channels.items()
            left, top, right, bottom = header.display
            size = right - left + 1, bottom - top + 1
            bits = 16 if kind == HALF else 32
            found.append(ExrLayer(header.name or name, number, (name,) * 3, size, bits, has_alpha=False))
    return found


def _unreadable(path: Path) -> LayerloomError:
    return LayerloomError(f"{path}: not a readable image; the file is damaged or of another kind")


def _check_windows(path: Path, header: _Header) -> Size:
    """The size of the display window. LayerloomError where a window is upside down or too large."""
    size = (0, 0)
    for left, top, right, bottom in (header.data, header.display):
        size = right - left + 1, bottom - top + 1
        if min(size) < 1:
            raise _unreadable(path)
        check_size(path, size)
        check_length(path, size)
    return size


def _pictures(types: Mapping[str, int], part: str) -> list[tuple[str, tuple[str, ...]]]:
    """Layers among a part's channels: name, and channels in order. A part with a name gives it to its plain ones."""
    groups: dict[str, dict[str, str]] = {}
    for channel in types:
        prefix, _, last = channel.rpartition(".")
        groups.setdefault(prefix, {})[last.upper()] = channel
    short = {"RED": "R", "GREEN": "G", "BLUE": "B", "ALPHA": "A"}
    found: list[tuple[str, tuple[str, ...]]] = []
    for prefix, named in groups.items():
        members = {short.get(last, last): channel for last, channel in named.items()}
        name = prefix or part
        for letters in ("RGBA", "RGB", "YA", "Y", "RG"):
            if all(letter in members for letter in letters):
                colours = "YYY" + letters[1:] if letters.startswith("Y") else letters
                found.append((name, tuple(members[letter] for letter in colours)))
                break
    return found


def read_exr(path: Path, layer: str = "") -> Num[np.ndarray, "h w c"]:
    """A layer's pixels as stored (float16 or float32), in the display window, zeros outside of the data window."""
    import OpenEXR

    chosen = exr_header(path, layer)
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            part = file.parts[chosen.part]
            header = dict(part.header)  # closing the file empties its own
            planes = [np.asarray(part.channels[name].pixels) for name in chosen.channels]
    except Exception as error:
        raise _unreadable(path) from error
    if any(plane.shape != planes[0].shape for plane in planes):
        raise LayerloomError(f"{path}: channels of different sizes (subsampled colour); full size is read")
    dtype = np.float16 if chosen.bits == 16 else np.float32
    pixels = np.stack(planes, -1).astype(dtype, copy=False)
    return _to_display_window(pixels, header["dataWindow"], header["displayWindow"])


def _to_display_window(pixels: Num[np.ndarray, "h w c"], data: Windows, display: Windows) -> Num[np.ndarray, "H W c"]:
    """Crop and pad (with zeros) from the data window to the display window; corners (x, y) are inclusive."""
    width, height = (int(side) for side in display[1] - display[0] + 1)
    left, top = (int(offset) for offset in data[0] - display[0])
    if (left, top, *pixels.shape[1::-1]) == (0, 0, width, height):
        return pixels
    canvas = np.zeros((height, width, pixels.shape[2]), pixels.dtype)
    rows = slice(max(top, 0), min(top + pixels.shape[0], height))
    columns = slice(max(left, 0), min(left + pixels.shape[1], width))
    if rows.start < rows.stop and columns.start < columns.stop:
        canvas[rows, columns] = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return canvas


def write_exr(
    path: Path, layers: Mapping[str, Num[np.ndarray, "..."]], attributes: Mapping[str, object] | None = None
) -> None:
    """One part with named layers, channels NAME.R, …; those of "" have no name. ZIP, lossless.

    attributes: of the header.
    """
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **(attributes or {})}
    channels = {
        f"{name}.{channel}" if name else channel: plane
        for name, image in layers.items()
        for channel, plane in _channels(image, "A" if name else "Y").items()
    }
    OpenEXR.File(header, channels).write(str(path))


def write_exr_planes(path: Path, planes: Mapping[str, Float[np.ndarray, "h w"]]) -> None:
    """One part with a channel of that name for each plane; float16 as half, else float32. ZIP, lossless."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name: np.ascontiguousarray(plane) for name, plane in planes.items()}).write(str(path))


def _channels(image: Num[np.ndarray, "..."], single: str) -> dict[str, np.ndarray]:
    """float16 as half, other floats as float32, integers as [0, 1] in float32. single: name of a lone channel."""
    pixels: Float[np.ndarray, "..."] | Float32[np.ndarray, "..."] = image
    if image.dtype.kind == "u":
        pixels = image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    elif image.dtype != np.float16:
        pixels = image.astype(np.float32)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    names = single if planes.shape[2] == 1 else "RGBA"[: planes.shape[2]]
    return {name: np.ascontiguousarray(planes[..., index]) for index, name in enumerate(names)}
