"""Layered documents of paint programs: a layer's texture written to paint on, and what was painted read back.

From bottom to top, all of the canvas' size and 8 bit:

    texture       the texture's colour, opaque
    seen          how surely each texel was seen, grey; hidden
    paint here    empty
"""

import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from jaxtyping import Float32, Num, UInt8

from layerloom import media
from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.media.formats import DOCUMENT_SUFFIXES

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
    suffix = path.suffix.lower()
    if suffix not in DOCUMENT_SUFFIXES:
        return media.read_image(path)
    if not path.is_file():
        raise LayerloomError(f"{path}: no such file")
    return _read_ora(path) if suffix == ".ora" else _read_psd(path)


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
    document = PSDImage.new("RGB", (width, height))
    for name, picture in layers.items():
        document.create_pixel_layer(Image.fromarray(picture), name=name).visible = name != "seen"
    document.save(path)


def _read_psd(path: Path) -> Num[np.ndarray, "h w 4"]:
    from psd_tools import PSDImage
    from psd_tools.composite import composite
    from psd_tools.constants import ColorMode

    try:
        document = PSDImage.open(path)
    except Exception as error:  # psd-tools raises whatever its parser meets in a damaged file.
        raise LayerloomError(f"{path}: not a readable PSD; the file is damaged or of another kind") from error
    if document.color_mode != ColorMode.RGB:
        raise LayerloomError(f"{path}: a document in {document.color_mode.name}; RGB is allowed")
    try:
        colour, _, alpha = composite(document, color=0.0, alpha=0.0)
    except Exception as error:
        raise LayerloomError(f"{path}: its layers cannot be flattened here ({error}); save it flattened") from error
    return media.quantise(np.dstack([colour[..., :3], alpha]), 8 if document.depth == 8 else 16)


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
            stack = ElementTree.fromstring(archive.read("stack.xml")) if "stack.xml" in archive.namelist() else None
            if stack is None or not _is_plain(stack):
                return _picture(archive, "mergedimage.png")
            return _flatten(archive, stack)
    except KeyError as missing:
        raise LayerloomError(f"{path}: no {missing.args[0]} in it; save it again as OpenRaster") from None
    except (zipfile.BadZipFile, ElementTree.ParseError, ValueError, LayerloomError) as error:
        raise LayerloomError(
            f"{path}: not a readable OpenRaster document; the file is damaged or of another kind"
        ) from error


def _picture(archive: zipfile.ZipFile, name: str) -> Num[np.ndarray, "h w c"]:
    if name not in archive.namelist():
        raise KeyError(name)
    with tempfile.TemporaryDirectory() as folder:
        return media.read_image(Path(archive.extract(name, folder)))


def _is_plain(stack: ElementTree.Element) -> bool:
    """Whether every layer lies over those below it normally, in groups that do no more than group."""
    return all(
        part.get("composite-op", NORMAL) == NORMAL and (part.tag == "layer" or float(part.get("opacity", 1)) == 1)
        for part in stack.iter()
    )


def _flatten(archive: zipfile.ZipFile, stack: ElementTree.Element) -> Num[np.ndarray, "h w 4"]:
    """Visible layers over one another, at the deepest one's depth."""
    premultiplied, depth = np.zeros((int(stack.attrib["h"]), int(stack.attrib["w"]), 4), np.float32), 8
    for layer in _visible(stack):
        picture = _picture(archive, layer.attrib["src"])
        depth = max(depth, 8 * picture.itemsize)
        over = np.zeros_like(premultiplied)
        _put(over, media.to_float(picture), int(layer.get("x", 0)), int(layer.get("y", 0)))
        opacity = np.float32(layer.get("opacity", 1))
        premultiplied = over * opacity + premultiplied * (1 - over[..., 3:] * opacity)
    colour = premultiplied[..., :3] / np.maximum(premultiplied[..., 3:], np.float32(1e-6))
    return media.quantise(np.dstack([colour, premultiplied[..., 3]]), depth)


def _visible(stack: ElementTree.Element) -> Iterator[ElementTree.Element]:
    """Layers to be seen, from bottom to top."""
    for part in reversed(stack):
        if part.get("visibility", "visible") == "hidden":
            continue
        if part.tag == "stack":
            yield from _visible(part)
        elif part.tag == "layer":
            yield part


def _put(canvas: Float32[np.ndarray, "h w 4"], picture: Float32[np.ndarray, "y x c"], left: int, top: int) -> None:
    """Put a straight picture on a premultiplied canvas, cut at its borders."""
    height, width = picture.shape[:2]
    y, x = slice(max(top, 0), max(top + height, 0)), slice(max(left, 0), max(left + width, 0))
    place = canvas[y, x]
    part = picture[max(-top, 0) :, max(-left, 0) :][: place.shape[0], : place.shape[1]]
    alpha = part[..., 3:] if part.shape[2] == 4 else np.ones_like(part[..., :1])
    place[:] = np.dstack([part[..., :3] * alpha, alpha])
