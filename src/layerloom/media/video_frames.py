"""Decoded frames of a video as upright, square, full-range RGB."""

import functools
import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from av.video import VideoFrame
from av.video.reformatter import ColorRange, VideoReformatter
from jaxtyping import Num

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import in_threads
from layerloom.media.colour import MATRICES, QUALITY, UNSPECIFIED, Colour, usual_colour, white_table
from layerloom.media.container import decoded_frames, first_frame, open_container, reading, video_stream
from layerloom.media.description import Mastering, mastering_of
from layerloom.media.fields import FRAMES_BEFORE, deinterlaced
from layerloom.media.limits import check_size
from layerloom.media.times import VideoScan, scan_video, stamp

REORDERED_FRAMES = 16
"""Indices go by decoding time, which runs ahead of display time by no more than these frames."""


@dataclass(frozen=True)
class PixelFormat:
    """How decoded frames of one stream become upright, square RGB.

    display_matrix: the upper 2×2 of the container's: (x, y) is shown at (a·x + c·y, b·x + d·y).
    """

    coded_size: Size
    square_size: Size
    pixel_aspect: Fraction
    bit_depth: Literal[8, 16]
    colour: Colour
    display_matrix: tuple[int, int, int, int]
    has_alpha: bool
    mastering: Mastering | None

    @property
    def turned(self) -> bool:
        """Whether the display matrix swaps width and height."""
        return abs(self.display_matrix[1]) > abs(self.display_matrix[0])

    @property
    def rotation(self) -> int:
        """Degrees, to the nearest quarter turn, by which the display matrix turns."""
        a, b, c, d = self.display_matrix
        return (90 if b > 0 or c < 0 else 270) if self.turned else (180 if a < 0 and d < 0 else 0)

    @property
    def size(self) -> Size:
        """Upright."""
        width, height = self.square_size
        return (height, width) if self.turned else (width, height)


def pixel_format(path: Path) -> PixelFormat:
    """From the file's first frame. LayerloomError where there is none, or its colours are not known here."""
    return _pixel_format(path, stamp(path))


@functools.lru_cache(maxsize=16)
def _pixel_format(path: Path, stamp: tuple[int, int]) -> PixelFormat:
    with open_container(path) as container:
        stream = video_stream(path, container)
        frame = first_frame(path, container, stream)
        # As (0, 1) and the like a shape is not told.
        aspect = stream.sample_aspect_ratio or Fraction(1)
    if not Fraction(1, 16) <= aspect <= 16:
        raise LayerloomError(f"{path}: pixels of the shape {aspect}; 1/16 to 16 are allowed")
    # Stretched, never shrunk, to square pixels.
    square = round(frame.width * max(Fraction(1), aspect)), round(frame.height * max(Fraction(1), 1 / aspect))
    check_size(path, square)
    components = frame.format.components
    return PixelFormat(
        coded_size=(frame.width, frame.height),
        square_size=square,
        pixel_aspect=aspect,
        bit_depth=16 if max(component.bits for component in components) > 8 else 8,
        colour=_colour(path, frame),
        display_matrix=_display_matrix(frame),
        has_alpha=any(component.is_alpha for component in components),
        mastering=mastering_of(frame),
    )


def _colour(path: Path, frame: VideoFrame) -> Colour:
    """RGB and grey need no matrix. Grey and JPEG's own formats are full range unless tagged otherwise."""
    is_rgb = frame.format.is_rgb or frame.format.has_palette
    is_grey = not is_rgb and sum(not component.is_alpha for component in frame.format.components) < 3
    full_range = frame.color_range == ColorRange.JPEG or (
        frame.color_range == ColorRange.UNSPECIFIED and (is_grey or frame.format.name.startswith("yuvj"))
    )
    untagged = is_rgb or is_grey or frame.colorspace == UNSPECIFIED
    matrix = usual_colour((frame.width, frame.height)).matrix if untagged else frame.colorspace
    if matrix not in MATRICES:
        raise LayerloomError(f"{path}: colour matrix number {matrix} is not supported; BT.601, BT.709 and BT.2020 are")
    return Colour(matrix, full_range and not is_rgb, int(frame.color_primaries), int(frame.color_trc))


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    values = np.frombuffer(bytes(side_data), np.int32)
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])


def read_video(path: Path, start: int, stop: int, alpha: bool) -> Iterator[Num[np.ndarray, "h w c"]]:
    """Frames start … stop − 1. LayerloomError for one that cannot be decoded when its turn comes.

    While frames are decoded, those before become RGB in other threads.
    """
    pixels = pixel_format(path)
    converters = threading.local()

    def convert(frame: VideoFrame) -> Num[np.ndarray, "h w c"]:
        if not hasattr(converters, "reformatter"):
            converters.reformatter = VideoReformatter()  # of one thread each
        with reading(path):
            rgb = _to_rgb(frame, pixels, converters.reformatter)
            picture = with_alpha(rgb, _alpha(frame, pixels)) if alpha else rgb
        return _upright(picture, pixels)

    return in_threads(convert, _numbered_frames(path, pixels, start, stop))


def _numbered_frames(path: Path, pixels: PixelFormat, start: int, stop: int) -> Iterator[VideoFrame]:
    """Decoded frames start … stop − 1. LayerloomError for one that is missing, or of another size."""
    scan = scan_video(path)
    number = start
    for frame in _frames_from(path, scan, start):
        if scan.are_in_stream and frame.pts != scan.pts[number]:
            break
        if (frame.width, frame.height) != pixels.coded_size:
            raise LayerloomError(f"{path}: the size changes at frame {number}; one size is needed")
        yield frame
        number += 1
        if number == stop:
            return
    raise LayerloomError(f"{path}: frame {number} cannot be decoded; the file is damaged")


def with_alpha(pixels: Num[np.ndarray, "h w c"], alpha: Num[np.ndarray, "h w"] | None) -> Num[np.ndarray, "h w 4"]:
    """RGBA; opaque without alpha."""
    opaque = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
    return np.dstack([pixels[..., :3], opaque if alpha is None else alpha])


def resize(image: Num[np.ndarray, "h w c"], size: Size) -> Num[np.ndarray, "H W c"]:
    """Area averages when shrinking, cubic when enlarging."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _frames_from(path: Path, scan: VideoScan, start: int) -> Iterator[VideoFrame]:
    """Decoded frames from number `start` on, progressive."""
    if not scan.interlaced:
        yield from _stored_frames_from(path, scan, start)
        return
    before = min(start, FRAMES_BEFORE)
    with open_container(path) as container:
        stream = video_stream(path, container)
        frames = deinterlaced(_stored_frames_from(path, scan, start - before), stream)
        with reading(path):
            yield from itertools.islice(frames, before, None)


def _stored_frames_from(path: Path, scan: VideoScan, start: int) -> Iterator[VideoFrame]:
    """Decoded frames from number `start` on: from the keyframe before it where the container has an index."""
    if not scan.are_in_stream:
        with open_container(path) as container:
            frames = decoded_frames(path, container, video_stream(path, container))
            yield from itertools.islice(frames, start, None)
        return
    begin = scan.pts[start]
    with open_container(path) as container:
        stream = video_stream(path, container)
        if start > 0 and container.format.name.startswith(("mov", "matroska")):
            with reading(path):
                container.seek(scan.pts[max(0, start - REORDERED_FRAMES)], stream=stream)
            frames = decoded_frames(path, container, stream)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= begin:
                frames = itertools.chain([first], frames)
                yield from (frame for frame in frames if frame.pts is not None and frame.pts >= begin)
                return
    with open_container(path) as container:
        frames = decoded_frames(path, container, video_stream(path, container))
        yield from (frame for frame in frames if frame.pts is not None and frame.pts >= begin)


def _to_rgb(frame: VideoFrame, pixels: PixelFormat, reformatter: VideoReformatter) -> Num[np.ndarray, "h w 3"]:
    deep, colour = pixels.bit_depth == 16, pixels.colour
    converted = reformatter.reformat(
        frame,
        format="rgb48le" if deep else "rgb24",
        src_colorspace=MATRICES[colour.matrix],
        dst_colorspace=MATRICES[colour.matrix],
        src_color_range=ColorRange.JPEG if colour.full_range or frame.format.is_rgb else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=QUALITY,
    )
    rgb = np.asarray(converted.to_ndarray(), np.uint16 if deep else np.uint8)
    if not deep or frame.format.is_rgb:
        return rgb
    # swscale's 16-bit white falls short of 65535: it is the 8-bit white (limited range) or the source's largest value
    # (full range) shifted left.
    bits = frame.format.components[0].bits
    white = ((1 << bits) - 1) << (16 - bits) if colour.full_range else 255 << 8
    return white_table(white)[rgb]


def _alpha(frame: VideoFrame, pixels: PixelFormat) -> Num[np.ndarray, "h w"] | None:
    """A frame's alpha at the depth of its colours; None if it has none."""
    components = [component for component in frame.format.components if component.is_alpha]
    if not components:
        return None
    if frame.format.is_rgb or frame.format.has_palette:
        return frame.to_ndarray(format="rgba64le" if pixels.bit_depth == 16 else "rgba")[..., 3]
    # swscale's way from 12-bit alpha is wrong, so its plane is read as it is.
    plane, bits = frame.planes[components[0].plane], components[0].bits
    if len(frame.planes) < len(frame.format.components):  # grey and alpha side by side
        return frame.to_ndarray(format="rgba64le" if pixels.bit_depth == 16 else "rgba")[..., 3]
    rows = np.frombuffer(bytes(plane), np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)
    full_scale, dtype = (255, np.uint8) if pixels.bit_depth == 8 else (65535, np.uint16)
    return np.rint(rows[:, : plane.width] * (full_scale / ((1 << bits) - 1))).astype(dtype)


def _upright(image: Num[np.ndarray, "h w c"], pixels: PixelFormat) -> Num[np.ndarray, "H W c"]:
    """Square pixels, then the display matrix (to the nearest quarter turn, mirrored or not)."""
    a, b, c, d = pixels.display_matrix
    image = resize(image, pixels.square_size)
    if pixels.turned:
        image = image.transpose(1, 0, 2)
    across, down = (c, b) if pixels.turned else (a, d)
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
