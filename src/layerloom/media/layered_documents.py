"""Layered documents of paint programs: a layer's texture written to paint on, and what was painted read back.

From bottom to top, all of the canvas' size and 8 bit:

    texture       the texture's colour, opaque
    seen          how surely each texel was seen, grey; hidden
    paint here    empty
"""

import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from jaxtyping import Float32, Num, UInt8

from layerloom import media
from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.media.formats import DOCUMENT_SUFFIXES, kind_of
from layerloom.media.limits import check_count, check_size, limit

# psd-tools is imported where a PSD is read or written: it takes longer to load than most commands run.

THUMBNAIL_PIXELS = 256
ORA_MIMETYPE = "image/openraster"
NORMAL = "svg:src-over"


def read_picture(path: Path) -> Num[np.ndarray, "h w c"]:
    """An image as `media.read_image` gives it, or a layered document's visible layers, flattened to straight RGBA.

    Layers are composited by their blend modes; an OpenRaster document with others than the normal one gives the picture
    that its program flattened. Raises LayerloomError.
    """
    path = Path(path)
    if path.suffix.lower() in DOCUMENT_SUFFIXES and not path.is_file():
        raise LayerloomError(f"{path}: no such file")
    kind = kind_of(path)
    if kind == "ora":
        return _read_ora(path)
    if kind == "psd":
        return _read_psd(path)
    if path.suffix.lower() in DOCUMENT_SUFFIXES:
        name = "OpenRaster document" if path.suffix.lower() == ".ora" else "PSD"
        raise LayerloomError(f"{path}: not a readable {name}; the file is damaged or of another kind")
    return media.read_image(path)


def write_document(path: Path, texture: Float32[np.ndarray, "h w 4"]) -> None:
    """Write a texture (straight RGBA; alpha says how surely it was seen) as .psd or .ora, atomically."""
    layers = _layers(media.quantise(texture, 8))
    with atomic_file(path) as temporary:
        if path.suffix.lower() == ".ora":
            _write_ora(temporary, layers)
        else:
            _write_psd(temporary, layers)


def _layers(texture: UInt8[np.ndarray, "h w 4"]) -> dict[str, UInt8[np.ndarray, "h w c"]]:
    """Pictures by name, bottom to top."""
    return {
        "texture": np.ascontiguousarray(texture[..., :3]),
        "seen": np.repeat(texture[..., 3:], 3, 2),
        "paint here": np.zeros_like(texture),
    }


def _write_psd(path: Path, layers: dict[str, UInt8[np.ndarray, "h w c"]]) -> None:
    from PIL import Image
    from psd_tools import PSDImage

    height, width = layers["texture"].shape[:2]
    document = PSDImage.new("RGBA", (width, height))
    for name, picture in layers.items():
        document.create_pixel_layer(Image.fromarray(picture), name=name).visible = name != "seen"
    # A negative count says that the flattened picture's fourth channel is its transparency: otherwise Krita and GIMP
    # take it for a mask of everything, and what is painted stays unseen.
    counted = document._record.layer_and_mask_information.layer_info  # pyright: ignore[reportPrivateUsage]
    assert counted is not None
    counted.layer_count = -abs(counted.layer_count)
    document.save(path)


def _read_psd(path: Path) -> Num[np.ndarray, "h w 4"]:
    from psd_tools import PSDImage
    from psd_tools.composite import composite
    from psd_tools.constants import ColorMode

    _check_psd_header(path)
    try:
        document = PSDImage.open(path)
        layers = list(document.descendants())
        sizes = [(layer.width, layer.height) for layer in layers]
    except Exception as error:  # psd-tools raises whatever its parser meets in a damaged file.
        raise LayerloomError(f"{path}: not a readable PSD; the file is damaged or of another kind") from error
    if document.color_mode != ColorMode.RGB:
        raise LayerloomError(f"{path}: a document in {document.color_mode.name}; RGB is allowed")
    check_count(path, len(layers), "layers")
    for size in sizes:
        check_size(path, size)
    try:
        colour, _, alpha = composite(document, color=0.0, alpha=0.0)
    except Exception as error:
        raise LayerloomError(f"{path}: its layers cannot be flattened here ({error}); save it flattened") from error
    return media.quantise(np.dstack([colour[..., :3], alpha]), 8 if document.depth == 8 else 16)


def _check_psd_header(path: Path) -> None:
    """LayerloomError for a document larger than the limits, before its parser sees it."""
    with path.open("rb") as file:
        header = file.read(26)
    if len(header) < 26:
        raise LayerloomError(f"{path}: not a readable PSD; the file is damaged or of another kind")
    height, width = struct.unpack(">II", header[14:22])
    check_size(path, (width, height))


def _write_ora(path: Path, layers: dict[str, UInt8[np.ndarray, "h w c"]]) -> None:
    height, width = layers["texture"].shape[:2]
    scale = min(1, THUMBNAIL_PIXELS / max(width, height))
    thumbnail_size = (max(1, round(width * scale)), max(1, round(height * scale)))
    thumbnail = cv2.resize(layers["texture"], thumbnail_size, interpolation=cv2.INTER_AREA)
    pictures = {f"data/{_file_name(name)}": picture for name, picture in layers.items()}
    pictures |= {"mergedimage.png": layers["texture"], "Thumbnails/thumbnail.png": thumbnail}
    # The format wants the type first and uncompressed; PNGs are compressed already.
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive, tempfile.TemporaryDirectory() as folder:
        archive.writestr("mimetype", ORA_MIMETYPE)
        archive.writestr("stack.xml", _stack_xml(width, height, list(layers)))
        for name, picture in pictures.items():
            file = Path(folder) / "picture.png"
            media.write_image(file, picture)
            archive.write(file, name)


def _stack_xml(width: int, height: int, names: list[str]) -> bytes:
    """OpenRaster lists layers from top to bottom."""
    image = ElementTree.Element("image", version="0.0.3", w=str(width), h=str(height))
    stack = ElementTree.SubElement(image, "stack")
    for name in reversed(names):
        visibility = "hidden" if name == "seen" else "visible"
        attributes = {"name": name, "src": f"data/{_file_name(name)}", "visibility": visibility, "x": "0", "y": "0"}
        ElementTree.SubElement(stack, "layer", {**attributes, "opacity": "1.0", "composite-op": NORMAL})
    return ElementTree.tostring(image, "utf-8", xml_declaration=True)


def _file_name(layer: str) -> str:
    return f"{layer.replace(' ', '-')}.png"


def _read_ora(path: Path) -> Num[np.ndarray, "h w c"]:
    try:
        with zipfile.ZipFile(path) as archive:
            document = _OraFile(path, archive)
            stack = document.stack()
            if stack is None or not _is_plain(stack):
                return document.picture("mergedimage.png")
            return _flatten(document, stack)
    except LayerloomError:
        raise
    except KeyError as missing:
        raise LayerloomError(f"{path}: no {missing.args[0]} in it; save it again as OpenRaster") from None
    except Exception as error:  # ZIP and XML have many ways to be damaged.
        raise LayerloomError(
            f"{path}: not a readable OpenRaster document; the file is damaged or of another kind"
        ) from error


MOST_XML_BYTES = 1 << 22
BYTES_PER_PIXEL = 8


@dataclass(frozen=True)
class _OraFile:
    """An open document; each part is checked before it is unpacked."""

    path: Path
    archive: zipfile.ZipFile

    def stack(self) -> ElementTree.Element | None:
        """The layers, top to bottom; None where there are none. LayerloomError where they are too many or too large."""
        if "stack.xml" not in self.archive.namelist():
            return None
        self._check_bytes("stack.xml", MOST_XML_BYTES)
        stack = ElementTree.fromstring(self.archive.read("stack.xml"))
        check_count(self.path, sum(1 for _ in stack.iter("layer")), "layers")
        check_size(self.path, (int(stack.attrib["w"]), int(stack.attrib["h"])))
        return stack

    def picture(self, name: str) -> Num[np.ndarray, "h w c"]:
        """A picture among the parts. KeyError without it."""
        if name not in self.archive.namelist():
            raise KeyError(name)
        self._check_bytes(name, BYTES_PER_PIXEL * limit("LAYERLOOM_MAX_PIXELS"))
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "picture"
            with self.archive.open(name) as packed, file.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
            return media.read_image(file)

    def _check_bytes(self, name: str, most: int) -> None:
        length = self.archive.getinfo(name).file_size
        if length > most:
            raise LayerloomError(f"{self.path}: {name} in it is of {length} bytes; at most {most} are read")


def _is_plain(stack: ElementTree.Element) -> bool:
    """Whether every layer lies over those below it normally, in groups that do no more than group."""
    return all(
        part.get("composite-op", NORMAL) == NORMAL and (part.tag == "layer" or float(part.get("opacity", 1)) == 1)
        for part in stack.iter()
    )


def _flatten(document: _OraFile, stack: ElementTree.Element) -> Num[np.ndarray, "h w 4"]:
    """Visible layers over one another, at the deepest one's depth."""
    premultiplied, depth = np.zeros((int(stack.attrib["h"]), int(stack.attrib["w"]), 4), np.float32), 8
    for layer in _visible(stack):
        picture = document.picture(layer.attrib["src"])
        depth = max(depth, 8 * picture.itemsize)
        opacity = min(max(float(layer.get("opacity", 1)), 0), 1)
        _lay_over(premultiplied, media.to_float(picture), (int(layer.get("x", 0)), int(layer.get("y", 0))), opacity)
    colour = premultiplied[..., :3] / np.maximum(premultiplied[..., 3:], np.float32(1e-6))
    return media.quantise(np.dstack([colour, premultiplied[..., 3]]), 8 if depth == 8 else 16)


def _visible(stack: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Layers to be seen, from bottom to top."""
    for part in reversed(stack):
        if part.get("visibility", "visible") == "hidden":
            continue
        if part.tag == "stack":
            yield from _visible(part)
        elif part.tag == "layer":
            yield part


def _lay_over(
    canvas: Float32[np.ndarray, "h w 4"], picture: Float32[np.ndarray, "y x c"], corner: tuple[int, int], opacity: float
) -> None:
    """A straight picture over a premultiplied canvas, cut at its borders; corner: left, top."""
    (left, top), (height, width) = corner, picture.shape[:2]
    y, x = slice(max(top, 0), max(top + height, 0)), slice(max(left, 0), max(left + width, 0))
    under = canvas[y, x]
    part = picture[max(-top, 0) :, max(-left, 0) :][: under.shape[0], : under.shape[1]]
    alpha = part[..., 3:] if part.shape[2] == 4 else np.ones_like(part[..., :1])
    over = np.dstack([part[..., :3] * alpha, alpha]) * np.float32(opacity)
    under[:] = over + under * (1 - over[..., 3:])
