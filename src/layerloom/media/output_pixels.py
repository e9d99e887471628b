"""Frames as an output holds them: for a display, or as linear light in an EXR, with what says which."""

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Num

from layerloom.core.geometry import Size
from layerloom.media.colour import HDR_TRANSFERS, linear_light
from layerloom.media.description import Encoding, SourceDescription
from layerloom.media.images import write_image
from layerloom.media.outputs import OutputOptions
from layerloom.media.pixels import quantise, to_float
from layerloom.media.scene_linear import decode, display_scale

CHROMATICITIES = {
    1: (0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, 0.3127, 0.3290),
}
"""x and y of red, green, blue and white by primaries: BT.709, BT.2020."""


def check_frame(frame: Num[np.ndarray, "h w c"], size: Size) -> None:
    """ValueError for a frame of another size than announced."""
    if (frame.shape[1], frame.shape[0]) != size:
        raise ValueError(f"a frame of {frame.shape[1]}x{frame.shape[0]}, {size[0]}x{size[1]} was announced")


def for_display(frame: Num[np.ndarray, "h w c"], encoding: Encoding) -> Num[np.ndarray, "h w c"]:
    """A frame as a display shows it, in its own type: scene-linear light by sRGB's curve, clipped at 1."""
    if encoding.name == "display" or frame.dtype.kind == "f":
        return frame
    scale = np.ones(frame.shape[2], np.float32)
    scale[:3] = 1 / display_scale(encoding)
    return quantise(to_float(frame) * scale, 8 * frame.itemsize)


def write_numbered(path: Path, frame: Num[np.ndarray, "h w c"], options: OutputOptions) -> None:
    """One image of a sequence, tagged with what it holds."""
    description = options.description
    encoding = description.encoding if description else Encoding()
    if path.suffix.lower() != ".exr":
        write_image(path, for_display(frame, encoding), _png_tags(path, description))
        return
    if options.space == "display":
        write_image(path, for_display(frame, encoding), {"colorInteropID": "srgb_rec709_display"})
        return
    light = frame if frame.dtype.kind == "f" else _light(frame, description)
    primaries = 9 if description and description.colour.primaries == 9 else 1
    is_known = encoding.name == "display"  # of scene-linear footage the primaries stay whatever they are
    tags = {"colorInteropID": "lin_rec709_scene" if primaries == 1 else "lin_rec2020_scene"}
    write_image(path, light, {**tags, "chromaticities": CHROMATICITIES[primaries]} if is_known else {})


def _light(frame: Num[np.ndarray, "h w c"], description: SourceDescription | None) -> Float32[np.ndarray, "h w c"]:
    """Integer pixels as linear light, alpha associated."""
    if description is not None and description.encoding.name != "display":
        colour = decode(np.ascontiguousarray(frame[..., :3]), description.encoding)
        # The source's colours are associated with its alpha already.
        return np.concatenate([colour, to_float(frame[..., 3:])], -1)
    colour = linear_light(to_float(frame[..., :3]), description.colour.transfer if description else 1)
    alpha = to_float(frame[..., 3:])
    return np.concatenate([colour * alpha, alpha], -1) if alpha.shape[2] else colour


def _png_tags(path: Path, description: SourceDescription | None) -> dict[str, object]:
    """Chunks of the PNG specification's third edition, for colours that are not sRGB's."""
    if path.suffix.lower() != ".png" or description is None or description.encoding.name != "display":
        return {}
    colour = description.colour
    if colour.transfer not in HDR_TRANSFERS and colour.primaries != 9:
        return {}
    chunks: dict[str, object] = {"cICP": bytes([colour.primaries, colour.transfer, 0, 1])}
    mastering = description.mastering
    if mastering is not None and any(mastering.chromaticities):
        least, most = mastering.luminance
        chunks["mDCV"] = struct.pack(">8H2I", *mastering.chromaticities, most, least)
    if mastering is not None and any(mastering.content_light):
        chunks["cLLI"] = struct.pack(">2I", *(10_000 * value for value in mastering.content_light))
    return chunks
