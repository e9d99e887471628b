"""Still images: read and write one file, and the step between integers at full scale and floats in [0, 1]."""

import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, Float32, Num, UInt8, UInt16
from PIL import Image, ImageOps

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.media.exr import read_exr, write_exr, write_exr_planes
from layerloom.media.formats import PILLOW_FORMATS, ImageHeader, image_header, unreadable
from layerloom.media.limits import check_size
from layerloom.media.pixels import at_depth, decode_quietly, to_float, to_rgb_order, unassociated
from layerloom.media.tiff import read_tiff

WRITABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".exr")


def read_image(
    path: Path, layer: str = ""
) -> UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"] | Float32[np.ndarray, "h w c"]:
    """One image as RGB or, where the file has alpha, straight RGBA; grey is repeated to RGB.

    Kinds, readers and depths: `formats`. 8-bit files give uint8, deeper ones uint16 at full scale, EXR and float TIFF
    float32 as stored. Associated alpha is divided out. An EXR gives its display window; one with the channels R and G
    alone (an ST map) h w 2; `layer` chooses among several. The orientation tag of a JPEG is applied. LayerloomError.
    """
    path = Path(path)
    header = image_header(path, layer)
    if header.kind == "exr":
        return straight_exr(read_exr(path, layer).astype(np.float32))
    readers = {"tiff": read_tiff, "gif": _by_pillow}
    reader = readers.get(header.kind, _by_opencv)
    try:
        pixels = reader(path, header)
        # A second library where the first one cannot: some variants are known to one of them alone.
        pixels = _by_pillow(path, header) if pixels is None else pixels
    except LayerloomError:
        raise
    except Exception as error:  # Decoders raise whatever they meet in a damaged file.
        raise unreadable(path) from error
    if pixels.dtype.name not in ("uint8", "uint16", "float32"):
        raise LayerloomError(f"{path}: pixels of type {pixels.dtype}; 8 or 16 bit or float are allowed")
    return pixels


STRAIGHT_SHARE = 0.02
"""Of an EXR's translucent pixels: if more than these are brighter than their alpha, it holds straight alpha."""


def straight_exr(pixels: Float32[np.ndarray, "h w c"]) -> Float32[np.ndarray, "h w c"]:
    """RGBA of an EXR with its alpha divided out, which the format has associated.

    Some programs store it straight all the same, this one's textures among them. It shows: associated colours are no
    brighter than their alpha, but where something glows.
    """
    if pixels.shape[2] != 4:
        return pixels
    alpha = pixels[..., 3]
    translucent = alpha < 0.999
    brighter = translucent & (pixels[..., :3].max(-1) > alpha + 0.01)
    if brighter.sum() > STRAIGHT_SHARE * translucent.sum():
        return pixels
    return unassociated(pixels)


def read_grey(path: Path) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """A grey image that this program wrote, at its depth. Raises LayerloomError."""
    check_size(path, image_header(path).size)
    pixels = decode_quietly(path.read_bytes(), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim != 2:
        raise unreadable(path)
    return pixels


def write_image(
    path: Path, image: Num[np.ndarray, "h w"] | Num[np.ndarray, "h w c"], tags: Mapping[str, object] | None = None
) -> None:
    """Write grey (h w), RGB or RGBA by extension, atomically.

    PNG: uint8 at 8 bit, uint16 and floats at 16 bit. JPEG: 8 bit, no alpha. EXR (ZIP, lossless): float16 as half,
    anything else as float32, never clipped; h w 2 is stored as R, G. tags: attributes of an EXR's header, or a PNG's
    chunks. Raises LayerloomError.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise LayerloomError(f"{path}: images are written as {', '.join(WRITABLE_SUFFIXES)}")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in {".png": (1, 3, 4), ".exr": (1, 2, 3, 4)}.get(suffix, (1, 3)):
        raise LayerloomError(f"{path}: {suffix} cannot hold {channels} channels")
    if not path.parent.is_dir():
        raise LayerloomError(f"{path}: the folder {path.parent} does not exist")
    try:
        with atomic_file(path) as temporary:
            if suffix == ".exr":
                write_exr(temporary, {"": image}, tags)
            else:
                temporary.write_bytes(_with_chunks(_encode(suffix, image), tags or {}))
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_exr_layers(path: Path, layers: Mapping[str, Float[np.ndarray, "h w"] | Float[np.ndarray, "h w c"]]) -> None:
    """Write an EXR of one part with named layers: channels NAME.R, …, A alone for h w; those of "" have no name.

    ZIP, lossless, never clipped: float16 as half, anything else as float32. Atomic. Raises LayerloomError.
    """
    try:
        with atomic_file(Path(path)) as temporary:
            write_exr(temporary, layers)
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_exr_channels(path: Path, channels: Mapping[str, UInt8[np.ndarray, "h w"] | Float[np.ndarray, "h w"]]) -> None:
    """Write an EXR of one part with a channel of any name for each plane; integers become 0…1. Half, ZIP, lossless.

    Atomic. Raises LayerloomError.
    """
    try:
        with atomic_file(Path(path)) as temporary:
            write_exr_planes(temporary, {name: to_float(plane).astype(np.float16) for name, plane in channels.items()})
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be written ({error.strerror or error})") from error


def _by_opencv(path: Path, header: ImageHeader) -> Num[np.ndarray, "h w c"] | None:
    """None where it cannot read the file."""
    # Only without IMREAD_UNCHANGED is the orientation tag applied; only with it is alpha kept. JPEG has no alpha.
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if header.kind == "jpeg" else cv2.IMREAD_UNCHANGED
    pixels = decode_quietly(path.read_bytes(), flags)
    # OpenCV drops the transparency of palettes and of plain colours.
    if pixels is None or (header.alpha != "none" and pixels.ndim == 3 and pixels.shape[2] == 3):
        return None
    return to_rgb_order(pixels)


def _by_pillow(path: Path, header: ImageHeader) -> UInt8[np.ndarray, "h w c"]:
    """8 bit; of an animation the first picture. Raises what Pillow raises."""
    with Image.open(path, formats=[PILLOW_FORMATS[header.kind]]) as file:
        upright = ImageOps.exif_transpose(file) if header.kind == "jpeg" else file
        return np.array(upright.convert("RGB" if header.alpha == "none" else "RGBA"))


def _encode(suffix: str, image: Num[np.ndarray, "..."]) -> bytes:
    if suffix == ".png":
        # Level 3 is several times faster than the default and a few per cent larger.
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, 3]
        pixels = at_depth(image, 8 if image.dtype == np.uint8 else 16)
        if pixels.dtype == np.uint16:
            # In 16 bit nothing but runs repeats: half the time of a search for more, and a smaller file.
            parameters += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    else:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4
        pixels = at_depth(image, 8)
    if pixels.ndim == 3 and pixels.shape[2] > 1:
        pixels = np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
    return cv2.imencode(suffix, pixels, parameters)[1].tobytes()


PNG_HEADER_BYTES = 33
"""Signature and IHDR; what tells of colours comes behind them."""


def _with_chunks(png: bytes, chunks: Mapping[str, object]) -> bytes:
    written = b""
    for name, content in chunks.items():
        assert isinstance(content, bytes)
        body = name.encode() + content
        written += struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:PNG_HEADER_BYTES] + written + png[PNG_HEADER_BYTES:] if written else png
