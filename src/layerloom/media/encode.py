"""open_writer(): frames to a video file or an image sequence, with sound, all or nothing."""

import contextlib
import errno
import math
import re
import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video import VideoFrame, VideoStream
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, VideoReformatter
from jaxtyping import Float64, Num, UInt8, UInt16

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.media.colour import MATRICES, QUALITY, Colour, rgb_to_yuv, usual_colour
from layerloom.media.images import at_depth, write_image
from layerloom.media.sound import SoundTrack


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
        # Close to "medium" at 15 in picture and size, much faster; without trellis flat colours shift.
        {"crf": "14", "preset": "veryfast", "trellis": "1"},
        0.05,
    ),
    "hevc": _Encoder(
        "libx265",
        (".mp4", ".mov", ".mkv"),
        ("yuv420p", "yuv420p10le"),
        ("yuv444p", "yuv444p10le"),
        None,
        {"crf": "15", "preset": "medium", "x265-params": "log-level=none"},
        0.05,
    ),
    "prores": _Encoder(
        "prores_ks",
        (".mov",),
        ("yuv422p10le", "yuv422p10le"),
        ("yuv422p10le", "yuv422p10le"),
        None,
        {"profile": "hq", "vendor": "apl0"},
        0.4,
    ),
    "prores4444": _Encoder(
        "prores_ks",
        (".mov",),
        ("yuv444p10le", "yuv444p10le"),
        ("yuv444p10le", "yuv444p10le"),
        ("yuva444p10le", "yuva444p10le"),
        {"profile": "4444", "vendor": "apl0"},
        0.8,
    ),
    "vp9": _Encoder(
        "libvpx-vp9",
        (".webm", ".mkv"),
        ("yuv420p", "yuv420p"),
        ("yuv420p", "yuv420p"),  # VP9 holds odd sizes as they are
        ("yuva420p", "yuva420p"),
        {"crf": "15", "b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1"},
        0.1,
    ),
    "ffv1": _Encoder(
        "ffv1",
        (".mkv",),
        ("bgr0", "gbrp16le"),
        ("bgr0", "gbrp16le"),
        ("bgra", "gbrap16le"),
        {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"},
        1.0,
    ),
}
_CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
_USUAL_CODECS = {".mp4": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9"}
_SEQUENCE_BYTES_PER_PIXEL = {".png": 1.0, ".jpg": 0.4, ".jpeg": 0.4, ".exr": 6.0}


class FrameWriter(Protocol):
    """What `open_writer` gives."""

    def write(self, frame: Num[np.ndarray, "h w c"]) -> None:
        """Append one frame, RGB, or RGBA where the target holds alpha: uint8, full-scale uint16, floats in [0, 1]."""
        ...


def check_output(
    output: str | Path,
    overwrite: bool = False,
    codec: str | None = None,
    size: Size | None = None,
    frames: int | None = None,
) -> None:
    """Raise LayerloomError for an output that cannot be written, before any work is done.

    Checked: that extension and codec are known and fit, that nothing is in the way (unless `overwrite`), that the
    folder exists (a pattern's own folder is made) and can be written to, and, with `size` and `frames`, that the disk
    has room for what they usually need.
    """
    path = Path(output)
    bytes_per_pixel = _check_kind(path, codec)
    existing = next(_files_of_pattern(path), None) if "%" in path.name else path
    if existing is not None and existing.exists() and not overwrite:
        raise LayerloomError(f"{existing}: exists already; remove it or choose another name")
    if path.is_dir():
        raise LayerloomError(f"{path}: is a folder; name a file")
    folder = path.parent
    if "%" in path.name and not folder.exists():
        folder = folder.parent
    _check_folder(folder)
    if size is not None and frames is not None:
        needed = size[0] * size[1] * frames * bytes_per_pixel
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise LayerloomError(f"{path}: needs about {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")


def _check_kind(path: Path, codec: str | None) -> float:
    """Raise LayerloomError unless extension and codec fit; gives the bytes that a pixel needs, by experience."""
    suffix = path.suffix.lower()
    if "%" in str(path):
        if not re.fullmatch(r"[^%]*%(0\d+)?d[^%]*", path.name) or "%" in str(path.parent):
            raise LayerloomError(f"{path}: a pattern has one number in its file name, as in frames/%05d.png")
        if suffix not in _SEQUENCE_BYTES_PER_PIXEL:
            raise LayerloomError(f"{path}: image sequences are written as {', '.join(_SEQUENCE_BYTES_PER_PIXEL)}")
        if codec is not None:
            raise LayerloomError(f"{path}: an image sequence takes no codec ('{codec}')")
        return _SEQUENCE_BYTES_PER_PIXEL[suffix]
    if suffix not in _CONTAINERS:
        allowed = f"{', '.join(_CONTAINERS)}, or a pattern such as frames/%05d.png"
        raise LayerloomError(f"{path}: unknown kind of output '{suffix}'; allowed are {allowed}")
    if codec is not None and codec not in _ENCODERS:
        raise LayerloomError(f"{path}: unknown codec '{codec}'; allowed are {', '.join(_ENCODERS)}")
    encoder = _ENCODERS[codec or _USUAL_CODECS[suffix]]
    if suffix not in encoder.suffixes:
        raise LayerloomError(f"{path}: {codec} goes into {', '.join(encoder.suffixes)}, not into '{suffix}'")
    return encoder.bytes_per_pixel


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise LayerloomError(f"{folder}: the output's folder does not exist")
    try:
        # Permissions do not tell about read-only disks, so try.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LayerloomError(f"{folder}: the output's folder cannot be written to ({error.strerror})") from error


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
) -> Generator[FrameWriter]:
    """Write frames to a video file (.mp4, .mov, .mkv, .webm) or an image sequence (`frames/%05d.png`, numbered from 0).

    `timestamps` gives each frame's seconds, one per frame to be written, rising. Their distances are kept exactly
    (Matroska itself rounds to milliseconds); the first frame is shown at 0, the last one for 1 / fps.

    Codecs: "h264" (the default; 8 bit), "hevc" (10 bit for deep frames), "prores" (422 HQ, .mov), "prores4444" (.mov,
    10 bit, with alpha where the frames have it), "vp9" (.webm, whose default it is, and .mkv; 8 bit, with alpha),
    "ffv1" (.mkv, lossless RGB or RGBA of 8 or 16 bits). Alpha is straight and full range. H.264 and HEVC with an odd
    width or height are stored as 4:4:4, as 4:2:0 would crop them. The first frame's type decides the depth.

    The sound of `audio_from`, where it has any (its first track), comes along: `audio_duration` seconds (None: all)
    from `audio_start` seconds after that file's first frame. It is copied, cut at packets, if the container takes its
    codec, else encoded to AAC (WebM: to Opus). `colour` is the source's (MediaInfo.colour), None is `usual_colour`.

    Nothing appears at `output` unless the block ends without error. Raises LayerloomError as `check_output`, and
    ValueError for frames of another size or number than announced.
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
            options = {"movflags": "+faststart"} if path.suffix.lower() in (".mp4", ".mov") else {}
            container = stack.enter_context(
                av.open(f"file:{temporary}", "w", format=_CONTAINERS[path.suffix.lower()], options=options)
            )
            sound = SoundTrack(audio_from, audio_start, audio_duration)
            stack.callback(sound.close)
            encoder = _ENCODERS[codec or _USUAL_CODECS[path.suffix.lower()]]
            writer = _VideoWriter(container, encoder, size, timestamps, fps, colour or usual_colour(size), sound)
            yield writer
            _check_count(writer.written, len(timestamps))
            writer.finish()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise LayerloomError(f"{path}: the disk is full; nothing was written") from error
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
def _image_sequence(pattern: Path, size: Size) -> Generator[_SequenceWriter]:
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
        sound: "SoundTrack",
    ) -> None:
        self.written = 0
        self._container, self._encoder, self._size, self._sound = container, encoder, size, sound
        self._fps = fps
        # ProRes has limited range only.
        self._stored_colour = replace(colour, full_range=colour.full_range and encoder.name != "prores_ks")
        self._time_base = _common_time_base(timestamps, fps)
        self._pts = [round((seconds - timestamps[0]) / self._time_base) for seconds in timestamps]
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
            codec = next(codec for codec, each in _ENCODERS.items() if each is encoder)
            raise LayerloomError(f"{codec} holds no alpha; ffv1, prores4444, vp9 and .png or .exr sequences do")
        formats = encoder.odd_formats if width % 2 or height % 2 else encoder.formats
        stream = self._container.add_stream(encoder.name, rate=self._fps, options=dict(encoder.options))
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width, height
        stream.thread_type = "AUTO"  # else x264 cuts every picture into slices
        stream.pix_fmt = ((encoder.alpha_formats or formats) if alpha else formats)[deep]
        if alpha and encoder.name == "libvpx-vp9":
            stream.metadata["alpha_mode"] = "1"  # without it players take VP9 for opaque
        stream.codec_context.time_base = self._time_base
        if len(set(self._durations.values())) > 1 or len(self._pts) < 3:
            # Files store distances between decoding times: with reordered frames those of uneven times do not add up.
            # And x265 gives impossible times to the reordered frames of a clip of two.
            stream.codec_context.max_b_frames = 0
        if encoder.name == "libx265" and self._container.format.name != "matroska":
            stream.codec_context.codec_tag = "hvc1"  # the tag that Apple's players know
        if not stream.format.is_rgb:
            context, tag = stream.codec_context, self._stored_colour
            context.colorspace, context.color_primaries, context.color_trc = tag.matrix, tag.primaries, tag.transfer
            context.color_range = ColorRange.JPEG if tag.full_range else ColorRange.MPEG
        return stream

    def _picture(self, frame: Num[np.ndarray, "h w c"], stream: VideoStream) -> VideoFrame:
        bits = stream.format.components[0].bits
        pixels = np.ascontiguousarray(at_depth(frame, 8 if bits == 8 or frame.dtype == np.uint8 else 16))
        if stream.format.is_rgb:
            channels = "rgba" if pixels.shape[2] == 4 else "rgb"
            depth = ("64le" if channels == "rgba" else "48le") if pixels.dtype == np.uint16 else ""
            source = "rgb24" if channels + depth == "rgb" else channels + depth
            return self._reformatter.reformat(VideoFrame.from_ndarray(pixels, format=source), format=stream.pix_fmt)
        # swscale's own step from RGB to full range has chroma half a level too low, so it only subsamples here.
        white = int(np.iinfo(pixels.dtype).max)
        colour = np.ascontiguousarray(pixels[..., :3])
        picture = _yuv_frame(colour, rgb_to_yuv(self._stored_colour, bits, white), bits)
        tag, matrix = self._stored_colour, MATRICES[self._stored_colour.matrix]
        value_range = ColorRange.JPEG if tag.full_range else ColorRange.MPEG
        picture = self._reformatter.reformat(
            picture,
            format=stream.pix_fmt,
            src_colorspace=matrix,
            dst_colorspace=matrix,
            src_color_range=value_range,
            dst_color_range=value_range,
            interpolation=QUALITY,
        )
        picture.colorspace, picture.color_primaries, picture.color_trc = tag.matrix, tag.primaries, tag.transfer
        picture.color_range = value_range
        if pixels.shape[2] == 4:
            alpha = np.rint(pixels[..., 3] * (((1 << bits) - 1) / white))
            _fill_plane(picture.planes[3], alpha.astype(np.uint8 if bits == 8 else np.uint16))
        return picture


def _yuv_frame(
    pixels: UInt8[np.ndarray, "h w 3"] | UInt16[np.ndarray, "h w 3"], matrix: Float64[np.ndarray, "3 4"], bits: int
) -> VideoFrame:
    """RGB through `matrix` as 4:4:4 of so many bits."""
    wide = pixels if bits == 8 else pixels.astype(np.uint16)
    yuv = cv2.transform(wide, matrix)
    frame = VideoFrame(pixels.shape[1], pixels.shape[0], "yuv444p" if bits == 8 else f"yuv444p{bits}le")
    for plane, values in zip(frame.planes, cv2.split(yuv), strict=True):
        _fill_plane(plane, values)
    return frame


def _fill_plane(plane: VideoPlane, values: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]) -> None:
    rows = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
    rows[:, : plane.width] = values
    plane.update(rows.tobytes())


def _common_time_base(timestamps: Sequence[Fraction], fps: Fraction) -> Fraction:
    """The coarsest clock that shows all times exactly; microseconds where that would be finer than files can note."""
    denominator = math.lcm(
        *((seconds - timestamps[0]).denominator for seconds in timestamps), fps.numerator if len(timestamps) < 2 else 1
    )
    return Fraction(1, denominator if denominator < 1 << 31 else 1_000_000)
