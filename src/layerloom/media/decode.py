"""probe(): what a video or a folder of images holds. read_frames(): its frames as upright, square, full-range RGB."""

import functools
import hashlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import cv2
import numpy as np
from av.video import VideoFrame, VideoStream
from av.video.reformatter import ColorRange, VideoReformatter
from jaxtyping import Num, UInt8, UInt16

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import in_threads
from layerloom.media.colour import MATRICES, QUALITY, UNSPECIFIED_MATRIX, Colour, usual_colour, white_table
from layerloom.media.container import decoded_frames, first_frame, open_container, video_stream
from layerloom.media.images import IMAGE_SUFFIXES, at_depth, image_header, read_image

IMAGE_FOLDER_FPS = Fraction(24)
"""Images carry no time; a folder of them plays at this rate."""

FRAME_FOLDERS = ("video_frames", "frames", "images", "JPEGImages")
"""Names under which a clip's folder keeps its frames."""


@dataclass(frozen=True)
class MediaInfo:
    """What a video file or a folder of images holds. Sizes are upright and in square pixels.

    `path` is the file, or the folder that holds the images themselves. `timestamps` are the seconds of each frame after
    the first one, exact to the file's own clock. `bit_depth` is that of the arrays `read_frames` gives. `fingerprint`
    stays the same while the content does.
    """

    path: Path
    kind: Literal["video", "images"]
    size: Size
    frames: int
    fps: Fraction
    timestamps: tuple[Fraction, ...]
    bit_depth: Literal[8, 16]
    has_audio: bool
    fingerprint: str
    codec: str
    pixel_format: str
    colour: Colour


@dataclass(frozen=True)
class _Pixels:
    """How decoded frames of one stream become upright, square RGB."""

    coded_size: Size
    square_size: Size
    bit_depth: Literal[8, 16]
    matrix: int
    full_range: bool
    display_matrix: tuple[int, int, int, int]

    @property
    def turned(self) -> bool:
        """Whether the display matrix swaps width and height."""
        return abs(self.display_matrix[1]) > abs(self.display_matrix[0])

    @property
    def size(self) -> Size:
        """Upright."""
        width, height = self.square_size
        return (height, width) if self.turned else (width, height)


@dataclass(frozen=True)
class _FrameTimes:
    """Display times of all frames, rising, in ticks of `clock` seconds.

    A stream without times of its own (a raw one, an AVI) gets one tick a frame, and decoded frames can only be counted.
    """

    pts: tuple[int, ...]
    clock: Fraction
    are_in_stream: bool


def probe(path: str | Path) -> MediaInfo:
    """Describe a video file or a folder of images without decoding it all; the answer is kept while the files stay.

    A folder without images of its own may hold them in one sub-folder named as in `FRAME_FOLDERS`. Raises
    LayerloomError for input that is missing, empty, unreadable, without video, cut short, or of mixed sizes.
    """
    path = Path(path)
    if not path.exists():
        raise LayerloomError(f"{path}: no such file or folder")
    if path.is_dir():
        folder, files = _image_files(path)
        return _probe_folder(folder, tuple((file, *_stamp(file)) for file in files))
    return _probe_video(path, _stamp(path))


def check_several_frames(info: MediaInfo) -> None:
    """Raise LayerloomError for a single frame: nothing moves in it."""
    if info.frames < 2:
        raise LayerloomError(f"{info.path}: holds 1 frame; at least 2 are needed")


def _image_files(path: Path) -> tuple[Path, list[Path]]:
    """The folder that holds the images, and the images in natural order (2 before 10)."""
    named = [path / name for name in FRAME_FOLDERS if (path / name).is_dir()]
    found = [(folder, files) for folder in [path, *named] if (files := _images_in(folder))]
    if found and (found[0][0] == path or len(found) == 1):
        return found[0]
    if found:
        raise LayerloomError(
            f"{path}: several folders of frames ({', '.join(f.name for f, _ in found)}); name one of them"
        )
    raise LayerloomError(f"{path}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _images_in(folder: Path) -> list[Path]:
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")]
    return sorted(files, key=_natural_order)


def _natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], file.name


@functools.lru_cache(maxsize=16)
def _probe_folder(folder: Path, stamped: tuple[tuple[Path, int, int], ...]) -> MediaInfo:
    files = [file for file, _, _ in stamped]
    headers = list(in_threads(image_header, files))
    for file, (size, _) in zip(files, headers, strict=True):
        if size != headers[0][0]:
            raise _other_size(file, size, files[0], headers[0][0])
    first = read_image(files[0])
    size = (first.shape[1], first.shape[0])
    deep = any(depth > 8 for _, depth in headers)
    digest = hashlib.sha256(repr([(file.name, length) for file, length, _ in stamped]).encode())
    for file in (files[0], files[-1]):
        digest.update(file.read_bytes())
    return MediaInfo(
        path=folder,
        kind="images",
        size=size,
        frames=len(files),
        fps=IMAGE_FOLDER_FPS,
        timestamps=tuple(index / IMAGE_FOLDER_FPS for index in range(len(files))),
        bit_depth=16 if deep else 8,
        has_audio=False,
        fingerprint=digest.hexdigest(),
        codec=files[0].suffix[1:].lower(),
        pixel_format=str(first.dtype),
        colour=usual_colour(size),
    )


def _other_size(file: Path, size: Size, first: Path, first_size: Size) -> LayerloomError:
    return LayerloomError(
        f"{file}: {size[0]}x{size[1]}, but {first.name} is {first_size[0]}x{first_size[1]}; one size is needed"
    )


@functools.lru_cache(maxsize=16)
def _probe_video(path: Path, stamp: tuple[int, int]) -> MediaInfo:
    times = _frame_times(path, stamp)
    pixels = _pixels(path, stamp)
    with open_container(path) as container:
        stream = video_stream(path, container)
        context = stream.codec_context
        timestamps = tuple((pts - times.pts[0]) * times.clock for pts in times.pts)
        return MediaInfo(
            path=path,
            kind="video",
            size=pixels.size,
            frames=len(timestamps),
            fps=_frame_rate(stream),
            timestamps=timestamps,
            bit_depth=pixels.bit_depth,
            has_audio=bool(container.streams.audio),
            fingerprint=_file_fingerprint(path),
            codec=context.name,
            pixel_format=context.pix_fmt or "",
            colour=Colour(pixels.matrix, pixels.full_range, context.color_primaries, context.color_trc),
        )


def _frame_rate(stream: VideoStream) -> Fraction:
    return stream.average_rate or stream.guessed_rate or IMAGE_FOLDER_FPS


def _file_fingerprint(path: Path) -> str:
    """Hash of the size and of a mebibyte at the beginning, the middle and the end."""
    length, piece = path.stat().st_size, 1 << 20
    digest = hashlib.sha256(str(length).encode())
    with path.open("rb") as file:
        for position in (0, length // 2, max(0, length - piece)):
            file.seek(position)
            digest.update(file.read(piece))
    return digest.hexdigest()


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


@functools.lru_cache(maxsize=16)
def _frame_times(path: Path, stamp: tuple[int, int]) -> _FrameTimes:
    with open_container(path) as container:
        stream = video_stream(path, container)
        first = first_frame(path, container, stream)
        clock = stream.time_base
        rate = _frame_rate(stream)
    packets = _packet_times(path)
    if packets is None or clock is None or first.pts is None:
        with open_container(path) as container:
            count = sum(1 for _ in decoded_frames(container, video_stream(path, container)))
        return _FrameTimes(tuple(range(count)), 1 / rate, are_in_stream=False)
    with open_container(path) as container:
        stream = video_stream(path, container)
        if stream.codec_context.name in ("vp8", "mpeg4"):  # they have packets without a picture
            packets = [frame.pts for frame in decoded_frames(container, stream) if frame.pts is not None]
    # Frames before the first one shown lean on others that are not in the file.
    return _FrameTimes(tuple(sorted({pts for pts in packets if pts >= first.pts})), clock, are_in_stream=True)


def _packet_times(path: Path) -> list[int] | None:
    """Times of the video's packets, None where they have none, from a walk over the whole file.

    The walk also shows whether the file's end is missing: MP4 and Matroska note at the front how much is to come.
    """
    times: list[int | None] = []
    packets, end_seconds = 0, Fraction(0)
    with open_container(path) as container:
        stream = video_stream(path, container)
        for packet in container.demux():
            if packet.pts is not None:
                end_seconds = max(end_seconds, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream.index == stream.index and packet.size and not packet.is_corrupt:
                packets += 1
                times.extend([] if packet.is_discard else [packet.pts])
        kind = container.format.name
        promised_seconds = Fraction(container.duration or 0, av.time_base)
        promised_packets = stream.frames
    if kind.startswith("mov") and packets < promised_packets:
        raise LayerloomError(f"{path}: cut short; {packets} of {promised_packets} frames are there")
    if kind.startswith("matroska") and end_seconds + Fraction(1, 2) < promised_seconds:
        there, whole = float(end_seconds), float(promised_seconds)
        raise LayerloomError(f"{path}: cut short; {there:.1f} of {whole:.1f} seconds are there")
    known = [pts for pts in times if pts is not None]
    # AVI counts packets in the order of decoding; what FFmpeg makes of that are not display times.
    return known if len(known) == len(times) and kind != "avi" else None


@functools.lru_cache(maxsize=16)
def _pixels(path: Path, stamp: tuple[int, int]) -> _Pixels:
    with open_container(path) as container:
        stream = video_stream(path, container)
        frame = first_frame(path, container, stream)
        aspect = stream.sample_aspect_ratio or Fraction(1)
    # RGB and grey need no matrix. Grey and JPEG's own formats are full range unless tagged otherwise.
    is_rgb = frame.format.is_rgb or frame.format.has_palette
    is_grey = not is_rgb and len(frame.format.components) < 3
    full_range = frame.color_range == ColorRange.JPEG or (
        frame.color_range == ColorRange.UNSPECIFIED and (is_grey or frame.format.name.startswith("yuvj"))
    )
    untagged = is_rgb or is_grey or frame.colorspace == UNSPECIFIED_MATRIX
    matrix = usual_colour((frame.width, frame.height)).matrix if untagged else frame.colorspace
    if matrix not in MATRICES:
        raise LayerloomError(f"{path}: colour matrix number {matrix} is not supported; BT.601, BT.709 and BT.2020 are")
    return _Pixels(
        coded_size=(frame.width, frame.height),
        # Stretched, never shrunk, to square pixels.
        square_size=(round(frame.width * max(Fraction(1), aspect)), round(frame.height * max(Fraction(1), 1 / aspect))),
        bit_depth=16 if max(component.bits for component in frame.format.components) > 8 else 8,
        matrix=matrix,
        full_range=full_range and not is_rgb,
        display_matrix=_display_matrix(frame),
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The upper 2×2 of the container's display matrix: (x, y) is shown at (a·x + c·y, b·x + d·y)."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    values = np.frombuffer(bytes(side_data), np.int32)
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])


def read_frames(
    path: str | Path, start: int = 0, stop: int | None = None, size: Size | None = None, alpha: bool = False
) -> Iterator[UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]]:
    """Frames start … stop − 1 as full-range RGB, one at a time; `size` = (width, height) resamples them.

    uint8, or uint16 at full scale where the source is deeper than 8 bits. With `alpha` they are RGBA, opaque where the
    source has no alpha (that of VP9 is not read). Interlaced frames are given as they are. Raises LayerloomError for a
    bad input or range, and for a frame that cannot be decoded when its turn comes.
    """
    info = probe(path)
    stop = info.frames if stop is None else stop
    if not 0 <= start <= stop <= info.frames:
        raise LayerloomError(f"{info.path}: frames {start}:{stop} asked for, it holds 0:{info.frames}")
    if start == stop:
        return
    frames = (
        _read_images(info, start, stop, alpha) if info.kind == "images" else _read_video(info.path, start, stop, alpha)
    )
    for frame in frames:
        yield frame if size is None else _resize(frame, size)


def _resize(image: Num[np.ndarray, "h w c"], size: Size) -> Num[np.ndarray, "H W c"]:
    """Area averages when shrinking, cubic when enlarging."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _read_images(info: MediaInfo, start: int, stop: int, alpha: bool) -> Iterator[Num[np.ndarray, "h w c"]]:
    files = _images_in(info.path)

    def read(file: Path) -> Num[np.ndarray, "h w c"]:
        image = read_image(file)
        if (image.shape[1], image.shape[0]) != info.size:
            raise _other_size(file, (image.shape[1], image.shape[0]), files[0], info.size)
        if image.shape[2] < 3:
            raise LayerloomError(f"{file}: {image.shape[2]} channels; frames need R, G and B")
        pixels = at_depth(image, info.bit_depth)
        return _with_alpha(pixels, pixels[..., 3] if pixels.shape[2] == 4 else None) if alpha else pixels[..., :3]

    return in_threads(read, files[start:stop])


def _with_alpha(pixels: Num[np.ndarray, "h w c"], alpha: Num[np.ndarray, "h w"] | None) -> Num[np.ndarray, "h w 4"]:
    """RGBA; opaque without alpha."""
    opaque = np.full(pixels.shape[:2], np.iinfo(pixels.dtype).max, pixels.dtype)
    return np.dstack([pixels[..., :3], opaque if alpha is None else alpha])


def _read_video(path: Path, start: int, stop: int, alpha: bool) -> Iterator[Num[np.ndarray, "h w c"]]:
    stamp = _stamp(path)
    times, pixels = _frame_times(path, stamp), _pixels(path, stamp)
    reformatter = VideoReformatter()
    number = start
    for frame in _frames_from(path, times, start):
        if times.are_in_stream and frame.pts != times.pts[number]:
            break
        if (frame.width, frame.height) != pixels.coded_size:
            raise LayerloomError(f"{path}: the size changes at frame {number}; one size is needed")
        rgb = _to_rgb(frame, pixels, reformatter)
        yield _upright(_with_alpha(rgb, _alpha(frame, pixels)) if alpha else rgb, pixels)
        number += 1
        if number == stop:
            return
    raise LayerloomError(f"{path}: frame {number} cannot be decoded; the file is damaged")


def _frames_from(path: Path, times: _FrameTimes, start: int) -> Iterator[VideoFrame]:
    """Decoded frames from number `start` on: from the keyframe before it where the container has an index."""
    if not times.are_in_stream:
        with open_container(path) as container:
            yield from itertools.islice(decoded_frames(container, video_stream(path, container)), start, None)
        return
    begin = times.pts[start]
    with open_container(path) as container:
        stream = video_stream(path, container)
        if start > 0 and container.format.name.startswith(("mov", "matroska")):
            # Indices go by decoding time, which runs ahead of display time by no more than the reordered frames.
            container.seek(times.pts[max(0, start - 16)], stream=stream)
            frames = decoded_frames(container, stream)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= begin:
                frames = itertools.chain([first], frames)
                yield from (frame for frame in frames if frame.pts is not None and frame.pts >= begin)
                return
    with open_container(path) as container:
        frames = decoded_frames(container, video_stream(path, container))
        yield from (frame for frame in frames if frame.pts is not None and frame.pts >= begin)


def _to_rgb(frame: VideoFrame, pixels: _Pixels, reformatter: VideoReformatter) -> Num[np.ndarray, "h w 3"]:
    deep = pixels.bit_depth == 16
    converted = reformatter.reformat(
        frame,
        format="rgb48le" if deep else "rgb24",
        src_colorspace=MATRICES[pixels.matrix],
        dst_colorspace=MATRICES[pixels.matrix],
        src_color_range=ColorRange.JPEG if pixels.full_range or frame.format.is_rgb else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=QUALITY,
    )
    rgb = np.asarray(converted.to_ndarray(), np.uint16 if deep else np.uint8)
    if not deep or frame.format.is_rgb:
        return rgb
    # swscale's 16-bit white falls short of 65535: it is the 8-bit white (limited range) or the source's largest value
    # (full range) shifted left.
    bits = frame.format.components[0].bits
    white = ((1 << bits) - 1) << (16 - bits) if pixels.full_range else 255 << 8
    return white_table(white)[rgb]


def _alpha(frame: VideoFrame, pixels: _Pixels) -> Num[np.ndarray, "h w"] | None:
    """A frame's alpha at the depth of its colours; None if it has none."""
    components = [component for component in frame.format.components if component.is_alpha]
    if not components:
        return None
    if frame.format.is_rgb:
        return frame.to_ndarray(format="rgba64le" if pixels.bit_depth == 16 else "rgba")[..., 3]
    # swscale's way from 12-bit alpha is wrong, so its plane is read as it is.
    plane, bits = frame.planes[components[0].plane], components[0].bits
    rows = np.frombuffer(bytes(plane), np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)
    full_scale, dtype = (255, np.uint8) if pixels.bit_depth == 8 else (65535, np.uint16)
    return np.rint(rows[:, : plane.width] * (full_scale / ((1 << bits) - 1))).astype(dtype)


def _upright(image: Num[np.ndarray, "h w c"], pixels: _Pixels) -> Num[np.ndarray, "H W c"]:
    """Square pixels, then the display matrix (to the nearest quarter turn, mirrored or not)."""
    a, b, c, d = pixels.display_matrix
    image = _resize(image, pixels.square_size)
    if pixels.turned:
        image = image.transpose(1, 0, 2)
    across, down = (c, b) if pixels.turned else (a, d)
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])
