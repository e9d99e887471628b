"""The kinds of image files there are, told by their first bytes and not by their names, and their headers.

    kind   readers, in order              depth of colours        alpha
    png    OpenCV, Pillow                 8, 16                   straight
    jpeg   OpenCV, Pillow                 8                       none
    tiff   OpenCV, Pillow, tifffile       8, 16, half, float      as its ExtraSamples say: associated or straight
    bmp    OpenCV, Pillow                 8                       straight
    webp   OpenCV, Pillow                 8                       straight
    gif    Pillow                         8                       straight
    exr    OpenEXR                        half, float             associated, unless its colours exceed it

Frames, masks, textures, overlays, paint and stickers all come through this table (`images.read_image`). Layered
documents (psd, ora) are read by `layered_documents`. Animated PNG, WebP and GIF are footage, too (`animations`).
"""

import logging
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.media import exr
from layerloom.media.limits import check_length, check_size

if TYPE_CHECKING:
    from tifffile import TiffFile

Kind = Literal["png", "jpeg", "tiff", "bmp", "webp", "gif", "exr", "psd", "ora"]

# Sizes are checked here, by limits that a user can raise; Pillow's own would be a second one.
Image.MAX_IMAGE_PIXELS = None

IMAGE_SUFFIXES = frozenset({".png", ".apng", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".gif", ".exr"})
"""Names that images of a folder have. What is in them is told by their first bytes."""

DOCUMENT_SUFFIXES = (".psd", ".psb", ".ora")

PILLOW_FORMATS = {"png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "bmp": "BMP", "webp": "WEBP", "gif": "GIF"}


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says of its pixels. size: as stored. bits: of a colour; 16 for half, 32 for float."""

    kind: Kind
    size: Size
    bits: int
    alpha: Literal["none", "straight", "associated"]
    pictures: int = 1


def kind_of(path: Path) -> Kind | None:
    """The kind of an image file by its first bytes; None for anything else. LayerloomError if there is no such file."""
    try:
        with path.open("rb") as file:
            begin = file.read(64)
    except FileNotFoundError:
        raise LayerloomError(f"{path}: no such image file") from None
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be read ({error.strerror})") from None
    signatures: tuple[tuple[bytes, Kind], ...] = (
        (b"\x89PNG\r\n\x1a\n", "png"),
        (b"\xff\xd8\xff", "jpeg"),
        *((magic, "tiff") for magic in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")),
        (b"GIF8", "gif"),
        (b"\x76\x2f\x31\x01", "exr"),
        (b"8BPS", "psd"),
    )
    for signature, kind in signatures:
        if begin.startswith(signature):
            return kind
    if begin.startswith(b"BM") and len(begin) >= 26 and begin[6:10] == bytes(4):
        return "bmp"
    if begin[:4] == b"RIFF" and begin[8:12] == b"WEBP":
        return "webp"
    if begin.startswith(b"PK\x03\x04") and (b"image/openraster" in begin or path.suffix.lower() == ".ora"):
        return "ora"
    return None


def image_kind(path: Path) -> Kind:
    """As `kind_of`. LayerloomError for anything that is no image."""
    kind = kind_of(path)
    if kind is None:
        raise unreadable(path)
    return kind


def unreadable(path: Path) -> LayerloomError:
    return LayerloomError(f"{path}: not a readable image; the file is damaged or of another kind")


def image_header(path: Path, layer: str = "") -> ImageHeader:
    """An image's header, without decoding its pixels. LayerloomError if it is none, or larger than the limits."""
    kind = image_kind(path)
    if kind == "exr":
        chosen = exr.exr_header(path, layer)
        return ImageHeader("exr", chosen.size, chosen.bits, "associated" if chosen.has_alpha else "none")
    if kind in ("psd", "ora"):
        raise LayerloomError(f"{path}: a layered document; footage and masks are plain images")
    try:
        header = _tiff_header(path) if kind == "tiff" else _pillow_header(path, kind)
    except LayerloomError:
        raise
    except Exception as error:  # Parsers raise whatever they meet in a damaged file.
        raise unreadable(path) from error
    if 0 in header.size:
        raise unreadable(path)
    check_size(path, header.size)
    if kind not in ("webp", "gif"):  # a few hundred bytes hold a plain picture of any size
        check_length(path, header.size)
    return header


def _pillow_header(path: Path, kind: Kind) -> ImageHeader:
    with Image.open(path, formats=[PILLOW_FORMATS[kind]]) as image:
        bits = _png_bits(path) if kind == "png" else 8
        # Colour palettes may have transparent entries, and so may files of plain colours (tRNS).
        clear = "A" in image.mode or image.mode == "RGBa" or "transparency" in image.info
        pictures = int(getattr(image, "n_frames", 1))
        return ImageHeader(kind, image.size, bits, "straight" if clear else "none", pictures)


def _png_bits(path: Path) -> int:
    """8 or 16. ValueError where a chunk is longer than the file: OpenCV takes the memory for it before it looks."""
    length = path.stat().st_size
    with path.open("rb") as file:
        begin = file.read(26)
        position = 8
        while position + 8 <= length:
            file.seek(position)
            size, name = struct.unpack(">I4s", file.read(8))
            if position + 12 + size > length:
                raise ValueError(f"a chunk of {size} bytes")
            if name == b"IEND":
                break
            position += 12 + size
    return 16 if begin[24] == 16 else 8


def open_tiff(path: Path) -> "TiffFile":
    """A TIFF's pages and tags. tifffile raises whatever it meets in a damaged file; it logs nothing."""
    import tifffile  # here, as it takes a while, which most commands need not spend

    logging.getLogger("tifffile").setLevel(logging.CRITICAL + 1)
    return tifffile.TiffFile(path)


def _tiff_header(path: Path) -> ImageHeader:
    with open_tiff(path) as file:
        page = file.pages.first
        size = int(page.imagewidth), int(page.imagelength)
        samples = [int(sample) for sample in page.extrasamples]
        alpha = "none" if not samples else "associated" if samples[0] == 1 else "straight"
        return ImageHeader("tiff", size, max(8, int(page.bitspersample)), alpha)
