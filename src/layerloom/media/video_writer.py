"""Encodes frames as they come, and slips sound and subtitles in between."""

import itertools
import math
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from av.container import OutputContainer
from av.packet import Packet
from av.video import VideoFrame, VideoStream
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, VideoReformatter
from jaxtyping import Float64, Num, UInt8, UInt16

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import Hand, thread_count
from layerloom.media.colour import MATRICES, QUALITY, rgb_to_yuv, usual_colour
from layerloom.media.description import SourceDescription
from layerloom.media.encoders import ENCODERS, NVENC, Encoder, mastering_options
from layerloom.media.output_pixels import check_frame, for_display
from layerloom.media.outputs import OutputOptions
from layerloom.media.pixels import at_depth
from layerloom.media.tracks import TrackCopier

MOST_CONVERTED = 4
"""Frames that are converted, or wait to be encoded."""


@dataclass(frozen=True)
class FrameClock:
    """When frames are shown: `pts` and `durations` (by pts) in ticks of `time_base` seconds."""

    fps: Fraction
    time_base: Fraction
    pts: tuple[int, ...]
    durations: dict[int, int]

    @staticmethod
    def of(timestamps: Sequence[Fraction], fps: Fraction) -> "FrameClock":
        """The first frame is shown at 0, the last one for 1 / fps. ValueError unless times rise."""
        time_base = _common_time_base(timestamps, fps)
        pts = tuple(round((seconds - timestamps[0]) / time_base) for seconds in timestamps)
        if any(later <= earlier for earlier, later in itertools.pairwise(pts)):
            raise ValueError("timestamps must rise")
        last = pts[-1] + max(1, round(1 / (fps * time_base)))
        return FrameClock(fps, time_base, pts, {a: b - a for a, b in zip(pts, [*pts[1:], last], strict=True)})

    @property
    def is_even(self) -> bool:
        return len(set(self.durations.values())) == 1


class VideoWriter:
    """Encodes frames as they come, and slips the sound in between, so that both lie together in the file.

    Who writes goes on meanwhile: frames are converted in some threads and encoded in one. `close` ends them.
    """

    def __init__(
        self,
        container: OutputContainer,
        encoder: Encoder,
        size: Size,
        clock: FrameClock,
        tracks: TrackCopier,
        options: OutputOptions,
    ) -> None:
        self.written = 0
        self._container, self._encoder, self._size, self._tracks = container, encoder, size, tracks
        self._clock, self._timecode = clock, options.timecode
        self._description = options.description or SourceDescription(usual_colour(size))
        colour = self._description.colour
        # ProRes has limited range only.
        self._stored_colour = replace(colour, full_range=colour.full_range and encoder.name != "prores_ks")
        self._stream: VideoStream | None = None
        self._converters = threading.local()
        self._conversions = ThreadPoolExecutor(min(thread_count(), MOST_CONVERTED))
        self._encoding = Hand(self._encode, MOST_CONVERTED)

    def write(self, frame: Num[np.ndarray, "h w c"]) -> None:
        check_frame(frame, self._size)
        if self.written == len(self._clock.pts):
            raise ValueError(f"more frames than the {len(self._clock.pts)} announced")
        if self._stream is None:
            self._stream = self._add_stream(deep=frame.dtype != np.uint8, alpha=frame.shape[2] == 4)
            self._tracks.add_to(self._container)
        pts = self._clock.pts[self.written]
        self.written += 1
        self._encoding.put(self._conversions.submit(self._timed_picture, frame, self._stream, pts))

    def finish(self) -> None:
        assert self._stream is not None
        self._encoding.finish()
        self._mux(self._stream.encode(None))
        self._tracks.mux_until(None)

    def close(self) -> None:
        """End all threads; what is not encoded by now is left."""
        self._encoding.close()
        self._conversions.shutdown(cancel_futures=True)
        # It refers back to this: without it the encoder's memory is given back at once.
        del self._encoding

    def _encode(self, picture: Future[VideoFrame]) -> None:
        assert self._stream is not None
        self._mux(self._stream.encode(picture.result()))

    def _timed_picture(self, frame: Num[np.ndarray, "h w c"], stream: VideoStream, pts: int) -> VideoFrame:
        picture = self._picture(for_display(frame, self._description.encoding), stream)
        picture.pts, picture.time_base = pts, self._clock.time_base
        return picture

    @property
    def _reformatter(self) -> VideoReformatter:
        """Of this thread."""
        if not hasattr(self._converters, "reformatter"):
            self._converters.reformatter = VideoReformatter()
        return self._converters.reformatter

    def _mux(self, packets: Iterable["Packet[VideoStream]"]) -> None:
        for packet in packets:
            assert packet.pts is not None
            # Encoders leave the duration out or guess it; the last frame's is known from here alone.
            packet.duration = self._clock.durations[packet.pts]
            self._tracks.mux_until(packet.pts * self._clock.time_base)
            self._container.mux_one(packet)

    def _add_stream(self, deep: bool, alpha: bool) -> VideoStream:
        encoder, (width, height) = self._encoder, self._size
        if alpha and encoder.alpha_formats is None:
            every = (*ENCODERS.items(), *NVENC.items())
            codec = next(codec for codec, each in every if each is encoder)
            raise LayerloomError(f"{codec} holds no alpha; ffv1, prores4444, vp9 and .png or .exr sequences do")
        formats = encoder.odd_formats if width % 2 or height % 2 else encoder.formats
        told = mastering_options(encoder, self._description.mastering)
        stream = self._container.add_stream(encoder.name, rate=self._clock.fps, options=told)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height = width, height
        stream.thread_type = "AUTO"  # else x264 cuts every picture into slices
        stream.pix_fmt = ((encoder.alpha_formats or formats) if alpha else formats)[deep]
        if alpha and encoder.name == "libvpx-vp9":
            stream.metadata["alpha_mode"] = "1"  # without it players take VP9 for opaque
        stream.codec_context.time_base = self._clock.time_base
        if not self._clock.is_even or len(self._clock.pts) < 3:
            # Files store distances between decoding times: with reordered frames those of uneven times do not add up.
            # And x265 gives impossible times to the reordered frames of a clip of two.
            stream.codec_context.max_b_frames = 0
        if self._timecode:
            stream.metadata["timecode"] = self._timecode
        if encoder.name in ("libx265", "hevc_nvenc") and self._container.format.name != "matroska":
            stream.codec_context.codec_tag = "hvc1"  # the tag that Apple's players know
        context, tag = stream.codec_context, self._stored_colour
        context.color_primaries, context.color_trc = tag.primaries, tag.transfer
        if not stream.format.is_rgb:
            context.colorspace = tag.matrix
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
