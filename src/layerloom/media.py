"""Read and write video and image sequences. With images.py beside it, the only file that knows a codec.

Pixels come out upright and square: rotation or mirroring that the container only notes is applied, and anamorphic
footage is stretched along its compressed axis (never shrunk), so every size in the program is a display size.

Colour: YUV becomes full-range RGB by the stream's own matrix and range. An untagged stream is taken as BT.709 from 720
lines on and as BT.601 below, in limited range. Writing uses the same matrices and tags the file with what it used.
"""

import contextlib
import errno
import functools
import hashlib
import math
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, Protocol

import av
import cv2
import numpy as np
from av.audio import AudioStream
from av.container import InputContainer, OutputContainer
from av.video import VideoFrame, VideoStream
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from jaxtyping import Num, UInt8, UInt16

from layerloom.conventions import Size
from layerloom.errors import UserError
from layerloom.images import (
    IMAGE_SUFFIXES,
    at_depth,
    atomic_file,
    image_header,
    quantise,
    read_image,
    to_float,
    write_image,
)

__all__ = [
    "Colour",
    "FrameWriter",
    "MediaInfo",
    "check_output",
    "check_several_frames",
    "open_writer",
    "probe",
    "quantise",
    "read_frames",
    "read_image",
    "to_float",
    "usual_colour",
    "write_image",
]

IMAGE_FOLDER_FPS = Fraction(24)
"""Images carry no time; a folder of them plays at this rate."""

FRAME_FOLDERS = ("video_frames", "frames", "images", "JPEGImages")
"""Names under which a clip's folder keeps its frames."""

# Matrices by their number in ITU-T H.273 (FFmpeg's AVColorSpace), and swscale's name for them.
_MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
_UNSPECIFIED = 2
_QUALITY = (
    Interpolation.BICUBIC
    | Interpolation.ACCURATE_RND
    | Interpolation.FULL_CHR_H_INT  # chroma at full width when going to RGB …
    | Interpolation.FULL_CHR_H_INP  # … and when coming from it
)


@dataclass(frozen=True)
class Colour:
    """How RGB is stored as YUV: H.273's numbers for matrix, primaries and transfer, and the range."""

    matrix: int
    full_range: bool
    primaries: int
    transfer: int


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
    size: Size
    bit_depth: Literal[8, 16]
    matrix: Colorspace
    full_range: bool
    display_matrix: tuple[int, int, int, int]


# ---------------------------------------------------------------------------------------------------- what is in there


def probe(path: str | Path) -> MediaInfo:
    """Describe a video file or a folder of images without decoding it all; the answer is kept while the files stay.

    A folder without images of its own may hold them in one sub-folder named as in `FRAME_FOLDERS`. Raises UserError for
    input that is missing, empty, unreadable, without video, cut short, or of mixed sizes.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_dir():
        folder, files = _image_files(path)
        return _probe_folder(folder, tuple((file, *_stamp(file)) for file in files))
    return _probe_video(path, _stamp(path))


def check_several_frames(info: MediaInfo) -> None:
    """Raise UserError for a single frame: nothing moves in it."""
    if info.frames < 2:
        raise UserError(f"{info.path}: holds 1 frame; at least 2 are needed")


def usual_colour(size: Size) -> Colour:
    """What untagged video of this size is taken for: BT.709 from 720 lines on, else BT.601; limited range."""
    return Colour(matrix=1 if size[1] >= 720 else 6, full_range=False, primaries=1, transfer=1)


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _image_files(path: Path) -> tuple[Path, list[Path]]:
    """The folder that holds the images, and the images in natural order (2 before 10)."""
    named = [path / name for name in FRAME_FOLDERS if (path / name).is_dir()]
    found = [(folder, files) for folder in [path, *named] if (files := _images_in(folder))]
    if found and (found[0][0] == path or len(found) == 1):
        return found[0]
    if found:
        raise UserError(f"{path}: several folders of frames ({', '.join(f.name for f, _ in found)}); name one of them")
    raise UserError(f"{path}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")


def _images_in(folder: Path) -> list[Path]:
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")]
    return sorted(files, key=_natural_order)


def _natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"(\d+)", file.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts], file.name


@functools.lru_cache(maxsize=16)
def _probe_folder(folder: Path, stamped: tuple[tuple[Path, int, int], ...]) -> MediaInfo:
    files = [file for file, _, _ in stamped]
    headers = [image_header(file) for file in files]
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


def _other_size(file: Path, size: Size, first: Path, first_size: Size) -> UserError:
    return UserError(
        f"{file}: {size[0]}x{size[1]}, but {first.name} is {first_size[0]}x{first_size[1]}; one size is needed"
    )


@functools.lru_cache(maxsize=16)
def _probe_video(path: Path, stamp: tuple[int, int]) -> MediaInfo:
    pts, time_base = _frame_pts(path, stamp)
    pixels = _pixels(path, stamp)
    with _open(path) as container:
        stream = _video_stream(path, container)
        context = stream.codec_context
        timestamps = tuple((value - pts[0]) * time_base for value in pts)
        matrix = next(number for number, name in _MATRICES.items() if name == pixels.matrix)
        return MediaInfo(
            path=path,
            kind="video",
            size=pixels.size,
            frames=len(pts),
            fps=_frame_rate(stream, timestamps),
            timestamps=timestamps,
            bit_depth=pixels.bit_depth,
            has_audio=bool(container.streams.audio),
            fingerprint=_file_fingerprint(path),
            codec=context.name,
            pixel_format=context.pix_fmt or "",
            colour=Colour(matrix, pixels.full_range, context.color_primaries, context.color_trc),
        )


def _frame_rate(stream: VideoStream, timestamps: Sequence[Fraction]) -> Fraction:
    rate = stream.average_rate or stream.guessed_rate
    if rate:
        return rate
    return (len(timestamps) - 1) / timestamps[-1] if timestamps[-1] else IMAGE_FOLDER_FPS


def _file_fingerprint(path: Path) -> str:
    """Hash of the size and of a mebibyte at the beginning, the middle and the end."""
    length, piece = path.stat().st_size, 1 << 20
    digest = hashlib.sha256(str(length).encode())
    with path.open("rb") as file:
        for position in (0, length // 2, max(0, length - piece)):
            file.seek(position)
            digest.update(file.read(piece))
    return digest.hexdigest()


# ------------------------------------------------------------------------------------------------------------- decoding


@contextlib.contextmanager
def _open(path: Path) -> Iterator[InputContainer]:
    if path.stat().st_size == 0:
        raise UserError(f"{path}: the file is empty")
    try:
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        container = av.open(f"file:{path}")
    except av.error.FFmpegError as error:
        raise UserError(f"{path}: not a readable video; the file is cut short, damaged or of another kind") from error
    with container:
        yield container


def _video_stream(path: Path, container: InputContainer) -> VideoStream:
    # FFmpeg takes any text file for terminal art (format "tty"); sound files may carry a cover picture.
    pictures = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not pictures or container.format.name == "tty":
        found = ", ".join(sorted({s.type for s in container.streams})) if container.format.name != "tty" else "text"
        raise UserError(f"{path}: holds no video ({found or 'nothing'} only)")
    if pictures[0].codec_context is None:
        raise UserError(f"{path}: the video's codec is unknown to this FFmpeg")
    pictures[0].thread_type = "AUTO"
    return pictures[0]


def _decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames in display order. Packets that cannot be decoded are passed over: the caller knows which frames to expect."""
    for packet in container.demux(stream):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()


def _first_frame(path: Path, container: InputContainer, stream: VideoStream) -> VideoFrame:
    frame = next(_decoded(container, stream), None)
    if frame is None:
        raise UserError(f"{path}: no frame can be decoded; the file is cut short or damaged")
    return frame


@functools.lru_cache(maxsize=16)
def _frame_pts(path: Path, stamp: tuple[int, int]) -> tuple[tuple[int, ...], Fraction]:
    """Times of all frames that decoding shows, sorted, in units of the stream's time base; and that time base."""
    with _open(path) as container:
        stream = _video_stream(path, container)
        first = _first_frame(path, container, stream)
        time_base = stream.time_base or Fraction(1, 90000)
    with _open(path) as container:
        stream = _video_stream(path, container)
        # VP8 and MPEG-4 have packets without a picture; raw streams have packets without times.
        if stream.codec_context.name in ("vp8", "mpeg4") or first.pts is None:
            shown = [frame.pts for frame in _decoded(container, stream)]
        else:
            shown = _packet_times(path, container, stream)
    if None in shown or first.pts is None:
        step = 1 / (_rate_of(path) * time_base)
        return tuple(round(index * step) for index in range(len(shown))), time_base
    # Frames before the first one shown lean on others that are not in the file.
    return tuple(sorted({pts for pts in shown if pts is not None and pts >= first.pts})), time_base


def _rate_of(path: Path) -> Fraction:
    with _open(path) as container:
        return _frame_rate(_video_stream(path, container), [Fraction(0)])


def _packet_times(path: Path, container: InputContainer, stream: VideoStream) -> list[int | None]:
    """Times of the packets, from a walk over the whole file, which also shows whether its end is missing."""
    times: list[int | None] = []
    packets, end_seconds = 0, Fraction(0)
    for packet in container.demux():
        if packet.size == 0:
            continue  # the flush at the end
        if packet.pts is not None:
            end_seconds = max(end_seconds, (packet.pts + (packet.duration or 0)) * packet.time_base)
        if packet.stream.index != stream.index:
            continue
        packets += not packet.is_corrupt
        if not packet.is_discard and not packet.is_corrupt:
            times.append(packet.pts if packet.pts is not None else packet.dts)
    promised_seconds = Fraction(container.duration or 0, av.time_base)
    # Only these two formats note at the front how much is to come; others guess it from what is there.
    if container.format.name.startswith("mov") and packets < stream.frames:
        raise UserError(f"{path}: cut short; {packets} of {stream.frames} frames are there")
    if container.format.name.startswith("matroska") and end_seconds + Fraction(1, 2) < promised_seconds:
        raise UserError(
            f"{path}: cut short; {float(end_seconds):.1f} of {float(promised_seconds):.1f} seconds are there"
        )
    return times


@functools.lru_cache(maxsize=16)
def _pixels(path: Path, stamp: tuple[int, int]) -> _Pixels:
    with _open(path) as container:
        stream = _video_stream(path, container)
        frame = _first_frame(path, container, stream)
        aspect = stream.sample_aspect_ratio or Fraction(1)
    matrix = usual_colour((frame.width, frame.height)).matrix if frame.colorspace == _UNSPECIFIED else frame.colorspace
    is_rgb = frame.format.is_rgb or frame.format.has_palette
    if not is_rgb and matrix not in _MATRICES:
        raise UserError(f"{path}: colour matrix number {matrix} is not supported; BT.601, BT.709 and BT.2020 are")
    display_matrix = _display_matrix(frame)
    # Stretched, never shrunk, to square pixels; then turned.
    wide = max(Fraction(1), aspect), max(Fraction(1), 1 / aspect)
    size = round(frame.width * wide[0]), round(frame.height * wide[1])
    turned = abs(display_matrix[1]) > abs(display_matrix[0])
    return _Pixels(
        coded_size=(frame.width, frame.height),
        size=size[::-1] if turned else size,
        bit_depth=16 if max(component.bits for component in frame.format.components) > 8 else 8,
        matrix=_MATRICES[1] if is_rgb else _MATRICES[matrix],
        full_range=frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj"),
        display_matrix=display_matrix,
    )


def _display_matrix(frame: VideoFrame) -> tuple[int, int, int, int]:
    """The upper 2×2 of the container's display matrix: (x, y) is shown at (a·x + c·y, b·x + d·y)."""
    side_data = frame.side_data.get("DISPLAYMATRIX")
    if side_data is None:
        return 1, 0, 0, 1
    values = np.frombuffer(bytes(side_data), np.int32)
    return int(values[0]), int(values[1]), int(values[3]), int(values[4])


def read_frames(
    path: str | Path, start: int = 0, stop: int | None = None, size: Size | None = None
) -> Iterator[UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"]]:
    """Frames start … stop − 1 as full-range RGB, one at a time; `size` = (width, height) resamples them.

    uint8, or uint16 at full scale where the source is deeper than 8 bits. Alpha is left out, interlaced frames are given
    as they are. Raises UserError for a bad input or range, and for a frame that cannot be decoded, when it comes to it.
    """
    info = probe(path)
    stop = info.frames if stop is None else stop
    if not 0 <= start <= stop <= info.frames:
        raise UserError(f"{info.path}: frames {start}:{stop} asked for, it holds 0:{info.frames}")
    if start == stop:
        return
    frames = _read_images(info, start, stop) if info.kind == "images" else _read_video(info.path, start, stop)
    for frame in frames:
        yield frame if size is None else _resize(frame, size)


def _resize(image: Num[np.ndarray, "h w 3"], size: Size) -> Num[np.ndarray, "H W 3"]:
    """Area averages when shrinking, cubic when enlarging."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)


def _read_images(info: MediaInfo, start: int, stop: int) -> Iterator[Num[np.ndarray, "h w 3"]]:
    files = _images_in(info.path)
    for file in files[start:stop]:
        image = read_image(file)
        if (image.shape[1], image.shape[0]) != info.size:
            raise _other_size(file, (image.shape[1], image.shape[0]), files[0], info.size)
        if image.shape[2] < 3:
            raise UserError(f"{file}: {image.shape[2]} channels; frames need R, G and B")
        yield at_depth(image[..., :3], info.bit_depth)


def _read_video(path: Path, start: int, stop: int) -> Iterator[Num[np.ndarray, "h w 3"]]:
    stamp = _stamp(path)
    pts, pixels = _frame_pts(path, stamp)[0], _pixels(path, stamp)
    reformatter = VideoReformatter()
    number = start
    for frame in _frames_from(path, pts, start):
        if frame.pts is not None and frame.pts != pts[number]:
            break
        if (frame.width, frame.height) != pixels.coded_size:
            raise UserError(f"{path}: the size changes at frame {number}; one size is needed")
        yield _upright(_to_rgb(frame, pixels, reformatter), pixels)
        number += 1
        if number == stop:
            return
    raise UserError(f"{path}: frame {number} cannot be decoded; the file is damaged")


def _frames_from(path: Path, pts: Sequence[int], start: int) -> Iterator[VideoFrame]:
    """Decoded frames from number `start` on: from the keyframe before it where the container has an index."""
    with _open(path) as container:
        stream = _video_stream(path, container)
        if start > 0 and container.format.name.startswith(("mov", "matroska")):
            # Indices go by decoding time, which runs ahead of display time by no more than the reordered frames.
            container.seek(pts[max(0, start - 16)], stream=stream)
            frames = _decoded(container, stream)
            first = next(frames, None)
            if first is not None and first.pts is not None and first.pts <= pts[start]:
                if first.pts == pts[start]:
                    yield first
                yield from (frame for frame in frames if frame.pts is None or frame.pts >= pts[start])
                return
    with _open(path) as container:
        for number, frame in enumerate(_decoded(container, _video_stream(path, container))):
            if frame.pts >= pts[start] if frame.pts is not None else number >= start:
                yield frame


def _to_rgb(frame: VideoFrame, pixels: _Pixels, reformatter: VideoReformatter) -> Num[np.ndarray, "h w 3"]:
    deep = pixels.bit_depth == 16
    converted = reformatter.reformat(
        frame,
        format="rgb48le" if deep else "rgb24",
        src_colorspace=pixels.matrix,
        dst_colorspace=pixels.matrix,
        src_color_range=ColorRange.JPEG if pixels.full_range or frame.format.is_rgb else ColorRange.MPEG,
        dst_color_range=ColorRange.JPEG,
        interpolation=_QUALITY,
    )
    rgb = converted.to_ndarray()
    if not deep or frame.format.is_rgb:
        return rgb
    # swscale's 16-bit white falls short of 65535: it is the 8-bit white (limited range) or the source's largest value
    # (full range) shifted left.
    bits = frame.format.components[0].bits
    white = ((1 << bits) - 1) << (16 - bits) if pixels.full_range else 255 << 8
    return _white_to(65535, white)[rgb]


@functools.lru_cache(maxsize=4)
def _white_to(to: int, white: int) -> UInt16[np.ndarray, "65536"]:
    """Table that scales 16-bit values so that `white` becomes `to`."""
    return np.minimum(np.arange(65536) * (to / white) + 0.5, 65535).astype(np.uint16)


def _upright(image: Num[np.ndarray, "h w 3"], pixels: _Pixels) -> Num[np.ndarray, "H W 3"]:
    """Square pixels, then the display matrix (to the nearest quarter turn, mirrored or not)."""
    a, b, c, d = pixels.display_matrix
    turned = abs(b) > abs(a)
    image = _resize(image, pixels.size[::-1] if turned else pixels.size)
    if turned:
        image = image.transpose(1, 0, 2)
    across, down = (c, b) if turned else (a, d)
    return np.ascontiguousarray(image[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


# -------------------------------------------------------------------------------------------------------------- writing


@dataclass(frozen=True)
class _Encoder:
    """`formats` are the pixel formats for (8 bit, deeper); `odd_formats` those for sizes that 4:2:0 cannot hold."""

    name: str
    suffixes: tuple[str, ...]
    formats: tuple[str, str]
    odd_formats: tuple[str, str]
    alpha_formats: tuple[str, str] | None
    options: dict[str, str]
    bytes_per_pixel: float


_ENCODERS = {
    "h264": _Encoder(
        "libx264",
        (".mp4", ".mov", ".mkv"),
        ("yuv420p", "yuv420p"),  # few players decode 10-bit H.264
        ("yuv444p", "yuv444p"),
        None,
        {"crf": "15", "preset": "medium"},
        0.2,
    ),
    "hevc": _Encoder(
        "libx265",
        (".mp4", ".mov", ".mkv"),
        ("yuv420p", "yuv420p10le"),
        ("yuv444p", "yuv444p10le"),
        None,
        {"crf": "15", "preset": "medium", "x265-params": "log-level=none"},
        0.2,
    ),
    "prores": _Encoder(
        "prores_ks",
        (".mov",),
        ("yuv422p10le", "yuv422p10le"),
        ("yuv422p10le", "yuv422p10le"),
        None,
        {"profile": "hq", "vendor": "apl0"},
        0.6,
    ),
    "ffv1": _Encoder(
        "ffv1",
        (".mkv",),
        ("bgr0", "gbrp16le"),
        ("bgr0", "gbrp16le"),
        ("bgra", "gbrap16le"),
        {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"},
        2.0,
    ),
}
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_SEQUENCE_BYTES_PER_PIXEL = {".png": 2.5, ".jpg": 0.8, ".jpeg": 0.8, ".exr": 9.0}


class FrameWriter(Protocol):
    """What `open_writer` gives."""

    def write(self, frame: Num[np.ndarray, "h w c"]) -> None:
        """Append one frame: uint8, uint16 at full scale, or floats in [0, 1]; RGB, or RGBA where the target holds alpha."""
        ...


def check_output(
    output: str | Path,
    overwrite: bool = False,
    codec: str | None = None,
    size: Size | None = None,
    frames: int | None = None,
) -> None:
    """Raise UserError for an output that cannot be written, before any work is done.

    Checked: that extension and codec are known and fit, that nothing is in the way (unless `overwrite`), that the folder
    exists (a pattern's own folder is made) and can be written to, and, with `size` and `frames`, that the disk has room
    for what they usually need.
    """
    path = Path(output)
    bytes_per_pixel = _check_kind(path, codec)
    existing = next(_files_of_pattern(path), None) if "%" in path.name else path
    if existing is not None and existing.exists() and not overwrite:
        raise UserError(f"{existing}: exists already; choose another name or allow overwriting")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    folder = path.parent
    if "%" in path.name and not folder.exists():
        folder = folder.parent
    _check_folder(folder)
    if size is not None and frames is not None:
        needed = size[0] * size[1] * frames * bytes_per_pixel
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise UserError(f"{path}: needs about {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")


def _check_kind(path: Path, codec: str | None) -> float:
    """Raise UserError unless extension and codec fit; gives the bytes that a pixel needs, by experience."""
    suffix = path.suffix.lower()
    if "%" in str(path):
        if not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", path.name) or "%" in str(path.parent):
            raise UserError(f"{path}: a pattern has one number in its file name, as in frames/%05d.png")
        if suffix not in _SEQUENCE_BYTES_PER_PIXEL:
            raise UserError(f"{path}: image sequences are written as {', '.join(_SEQUENCE_BYTES_PER_PIXEL)}")
        if codec is not None:
            raise UserError(f"{path}: an image sequence takes no codec ('{codec}')")
        return _SEQUENCE_BYTES_PER_PIXEL[suffix]
    if suffix not in _CONTAINERS:
        allowed = f"{', '.join(_CONTAINERS)}, or a pattern such as frames/%05d.png"
        raise UserError(f"{path}: unknown kind of output '{suffix}'; allowed are {allowed}")
    if codec is not None and codec not in _ENCODERS:
        raise UserError(f"{path}: unknown codec '{codec}'; allowed are {', '.join(_ENCODERS)}")
    encoder = _ENCODERS[codec or "h264"]
    if suffix not in encoder.suffixes:
        raise UserError(f"{path}: {codec} goes into {', '.join(encoder.suffixes)}, not into '{suffix}'")
    return encoder.bytes_per_pixel


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise UserError(f"{folder}: the output's folder does not exist")
    try:
        # Permissions do not tell about read-only disks, so try.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: the output's folder cannot be written to ({error.strerror})") from error


def _files_of_pattern(pattern: Path) -> Iterator[Path]:
    """Files there already that the pattern could have made."""
    before, after = re.split(r"%(?:0\d+)?d", pattern.name)
    if pattern.parent.is_dir():
        for file in sorted(pattern.parent.iterdir()):
            if re.fullmatch(re.escape(before) + r"\d+" + re.escape(after), file.name):
                yield file


@contextlib.contextmanager
def open_writer(
    output: str | Path,
    size: Size,
    timestamps: Sequence[Fraction],
    fps: Fraction,
    codec: str | None = None,
    audio_from: Path | None = None,
    audio_start: Fraction = Fraction(0),
    audio_duration: Fraction | None = None,
    overwrite: bool = False,
    colour: Colour | None = None,
) -> Iterator[FrameWriter]:
    """Write frames to a video file (.mp4, .mov, .mkv) or an image sequence (`frames/%05d.png`, numbered from 0).

    `timestamps` gives each frame's seconds, one per frame to be written, rising from 0; they are kept exactly (Matroska
    itself rounds to milliseconds), and the last frame is shown for 1 / fps. Codecs: "h264" (the default; 8 bit), "hevc"
    (10 bit for deep frames), "prores" (422 HQ, .mov), "ffv1" (.mkv, lossless RGB or RGBA of 8 or 16 bits). H.264 and HEVC
    with an odd width or height are stored as 4:4:4, as 4:2:0 would crop them. The first frame's type decides the depth.

    The sound of `audio_from`, where it has any (its best track), goes along, `audio_duration` seconds of it (None: all)
    from `audio_start` seconds after that file's first frame. It is copied, cut at packets, if the container takes its
    codec, else encoded to AAC. `colour` is the source's (MediaInfo.colour), None is `usual_colour`.

    Nothing appears at `output` unless the block ends without error. Raises UserError as `check_output`, and ValueError
    for frames of another size or number than announced.
    """
    path = Path(output)
    if not timestamps:
        raise ValueError("no timestamps: nothing to write")
    check_output(path, overwrite, codec, size, len(timestamps))
    try:
        if "%" in path.name:
            with _image_sequence(path, size) as writer:
                yield writer
                _check_count(writer.written, len(timestamps))
            return
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic_file(path))
            options = {"movflags": "+faststart"} if path.suffix.lower() != ".mkv" else {}
            container = stack.enter_context(
                av.open(f"file:{temporary}", "w", format=_CONTAINERS[path.suffix.lower()], options=options)
            )
            sound = _Sound(audio_from, audio_start, audio_duration)
            stack.callback(sound.close)
            encoder = _ENCODERS[codec or "h264"]
            writer = _VideoWriter(container, encoder, size, timestamps, fps, colour or usual_colour(size), sound)
            yield writer
            _check_count(writer.written, len(timestamps))
            writer.finish()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise UserError(f"{path}: the disk is full; nothing was written") from error
        raise


def _check_count(written: int, announced: int) -> None:
    if written != announced:
        raise ValueError(f"{written} frames were written, {announced} were announced")


def _check_frame(frame: Num[np.ndarray, "h w c"], size: Size) -> None:
    if (frame.shape[1], frame.shape[0]) != size:
        raise ValueError(f"a frame of {frame.shape[1]}x{frame.shape[0]}, {size[0]}x{size[1]} was announced")


class _SequenceWriter:
    def __init__(self, folder: Path, name: str, size: Size) -> None:
        self.written = 0
        self._folder, self._name, self._size = folder, name, size

    def write(self, frame: Num[np.ndarray, "h w c"]) -> None:
        _check_frame(frame, self._size)
        write_image(self._folder / (self._name % self.written), frame)
        self.written += 1


@contextlib.contextmanager
def _image_sequence(pattern: Path, size: Size) -> Iterator[_SequenceWriter]:
    """Write into a temporary folder on the same disk; move everything in at the end, in place of what was there."""
    folder = pattern.parent
    temporary = (folder if folder.exists() else folder.parent) / f".{uuid.uuid4().hex[:8]}.partial"
    temporary.mkdir()
    try:
        yield _SequenceWriter(temporary, pattern.name, size)
        if not folder.exists():
            temporary.rename(folder)
            return
        for old in list(_files_of_pattern(pattern)):
            old.unlink()
        for file in temporary.iterdir():
            file.rename(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _VideoWriter:
    """Encodes frames as they come, and slips the sound in between, so that both lie together in the file."""

    def __init__(
        self,
        container: OutputContainer,
        encoder: _Encoder,
        size: Size,
        timestamps: Sequence[Fraction],
        fps: Fraction,
        colour: Colour,
        sound: "_Sound",
    ) -> None:
        self.written = 0
        self._container, self._encoder, self._size, self._colour, self._sound = container, encoder, size, colour, sound
        self._fps = fps
        self._time_base = _common_time_base(timestamps, fps)
        self._pts = [round(seconds / self._time_base) for seconds in timestamps]
        if any(later <= earlier for earlier, later in zip(self._pts, self._pts[1:], strict=False)):
            raise ValueError("timestamps must rise")
        last = self._pts[-1] + max(1, round(1 / (fps * self._time_base)))
        self._durations = {a: b - a for a, b in zip(self._pts, [*self._pts[1:], last], strict=True)}
        self._stream: VideoStream | None = None
        self._reformatter = VideoReformatter()

    def write(self, frame: Num[np.ndarray, "h w c"]) -> None:
        _check_frame(frame, self._size)
        if self.written == len(self._pts):
            raise ValueError(f"more frames than the {len(self._pts)} announced")
        if self._stream is None:
            self._stream = self._add_stream(deep=frame.dtype != np.uint8, alpha=frame.shape[2] == 4)
            self._sound.add_to(self._container)
        picture = self._picture(frame, self._stream)
        picture.pts, picture.time_base = self._pts[self.written], self._time_base
        self.written += 1
        self._mux(self._stream.encode(picture))

    def finish(self) -> None:
        assert self._stream is not None
        self._mux(self._stream.encode(None))
        self._sound.mux_until(None)

    def _mux(self, packets: Iterable["av.Packet[VideoStream]"]) -> None:
        for packet in packets:
            assert packet.pts is not None
            # Encoders leave the duration out or guess it; the last frame's is known from here alone.
            packet.duration = self._durations[packet.pts]
            self._sound.mux_until(packet.pts * self._time_base)
            self._container.mux_one(packet)

    def _add_stream(self, deep: bool, alpha: bool) -> VideoStream:
        encoder, (width, height) = self._encoder, self._size
        if alpha and encoder.alpha_formats is None:
            raise UserError(f"{encoder.name} holds no alpha; ffv1 and .png or .exr sequences do")
        formats = encoder.odd_formats if width % 2 or height % 2 else encoder.formats
        stream = self._container.add_stream(encoder.name, rate=self._fps, options=dict(encoder.options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width, height
        stream.pix_fmt = ((encoder.alpha_formats or formats) if alpha else formats)[deep]
        stream.codec_context.time_base = self._time_base
        if encoder.name == "libx265" and self._container.format.name != "matroska":
            stream.codec_context.codec_tag = "hvc1"  # the tag that Apple's players know
        if not stream.format.is_rgb:
            context, colour = stream.codec_context, self._colour
            context.colorspace, context.color_primaries, context.color_trc = (
                colour.matrix,
                colour.primaries,
                colour.transfer,
            )
            context.color_range = ColorRange.JPEG if self._full_range else ColorRange.MPEG
        return stream

    @property
    def _full_range(self) -> bool:
        return self._colour.full_range and self._encoder.name != "prores_ks"  # ProRes has limited range only

    def _picture(self, frame: Num[np.ndarray, "h w c"], stream: VideoStream) -> VideoFrame:
        deep = stream.format.components[0].bits > 8 and frame.dtype != np.uint8
        pixels = at_depth(frame, 16 if deep else 8)
        if deep and not stream.format.is_rgb:
            pixels = _white_to(255 << 8, 65535)[pixels]  # where swscale has its white
        source = ("rgba64le" if deep else "rgba") if frame.shape[2] == 4 else ("rgb48le" if deep else "rgb24")
        matrix = _MATRICES[self._colour.matrix]
        picture = self._reformatter.reformat(
            VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format=source),
            format=stream.pix_fmt,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=ColorRange.JPEG,
            dst_color_range=ColorRange.JPEG if self._full_range or stream.format.is_rgb else ColorRange.MPEG,
            interpolation=_QUALITY,
        )
        if not stream.format.is_rgb:
            picture.colorspace = self._colour.matrix
            picture.color_primaries, picture.color_trc = self._colour.primaries, self._colour.transfer
        return picture


def _common_time_base(timestamps: Sequence[Fraction], fps: Fraction) -> Fraction:
    """The coarsest clock that shows all times exactly; microseconds where that would be finer than files can note."""
    denominator = math.lcm(
        *(seconds.denominator for seconds in timestamps), fps.numerator if len(timestamps) < 2 else 1
    )
    return Fraction(1, denominator if denominator < 1 << 31 else 1_000_000)


# ---------------------------------------------------------------------------------------------------------------- sound


class _Sound:
    """The best sound track of a file from one time to another, handed on a packet at a time. Silent without a source."""

    def __init__(self, source: Path | None, start: Fraction, duration: Fraction | None) -> None:
        self._stack = contextlib.ExitStack()
        self._stream: AudioStream | None = None
        self._packets: Iterator[tuple[Fraction, "av.Packet[AudioStream]"]] = iter(())
        self._waiting: tuple[Fraction, "av.Packet[AudioStream]"] | None = None
        self._output: OutputContainer | None = None
        self._duration = duration
        if source is None or Path(source).is_dir():
            return
        source = Path(source)
        with _open(source) as container:
            stream = _video_stream(source, container)
            first = _first_frame(source, container, stream)
            assert stream.time_base is not None
            self._origin = (first.pts or 0) * stream.time_base + start
        self._container = self._stack.enter_context(_open(source))
        self._stream = self._container.streams.best("audio")

    def close(self) -> None:
        self._stack.close()

    def add_to(self, output: OutputContainer) -> None:
        """Add the track to `output`, which must have written no packet yet."""
        if self._stream is None:
            return
        self._output = output
        try:
            self._packets = self._copied(self._stream, output.add_stream_from_template(self._stream))
        except ValueError:  # the container does not take this codec
            encoder = output.add_stream("aac", rate=48000)
            assert isinstance(encoder, AudioStream)
            encoder.bit_rate = 256_000
            encoder.layout = self._stream.layout
            self._packets = self._encoded(self._stream, encoder)
        self._waiting = next(self._packets, None)

    def mux_until(self, seconds: Fraction | None) -> None:
        """Write what begins before `seconds`; None: all."""
        while self._output and self._waiting and (seconds is None or self._waiting[0] <= seconds):
            self._output.mux_one(self._waiting[1])
            self._waiting = next(self._packets, None)

    def _copied(self, source: AudioStream, target: AudioStream) -> Iterator[tuple[Fraction, "av.Packet[AudioStream]"]]:
        assert source.time_base is not None and self._output is not None
        shift = round(self._origin / source.time_base)
        # MP4 and MOV hide what lies before time 0 behind an edit list, so a decoder can warm up on one packet more.
        warm_up = 0 if self._output.format.name == "matroska" else 1
        for packet in self._container.demux(source):
            if packet.pts is None:
                continue
            length = packet.duration or 0
            packet.pts -= shift
            packet.dts = packet.pts
            seconds = packet.pts * source.time_base
            if self._duration is not None and seconds >= self._duration:
                return
            if packet.pts + length * (1 + warm_up) > 0:
                packet.stream = target
                yield seconds, packet

    def _encoded(self, source: AudioStream, target: AudioStream) -> Iterator[tuple[Fraction, "av.Packet[AudioStream]"]]:
        rate = target.sample_rate
        resampler = av.AudioResampler(target.format, target.layout, rate)
        shift = round(self._origin * rate)
        end = None if self._duration is None else round(self._duration * rate)
        decoded = (frame for packet in self._container.demux(source) for frame in packet.decode())
        for frame in decoded:
            for piece in resampler.resample(frame):
                assert piece.pts is not None
                begin = piece.pts - shift
                samples = piece.to_ndarray()[:, max(0, -begin) : None if end is None else max(0, end - begin)]
                if samples.shape[1] == 0:
                    continue
                cut = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), piece.format.name, piece.layout.name)
                cut.sample_rate, cut.pts, cut.time_base = rate, max(begin, 0), Fraction(1, rate)
                yield from ((Fraction(p.pts or 0, rate), p) for p in target.encode(cut))
        yield from ((Fraction(p.pts or 0, rate), p) for p in target.encode(None))
