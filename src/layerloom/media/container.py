"""Open and decode a file, with errors that a user can read: one filter round whatever FFmpeg or PyAV meets in it."""

import contextlib
import os
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
from av.codec.context import CodecContext
from av.container import InputContainer
from av.stream import Disposition
from av.video import VideoFrame, VideoStream
from av.video.codeccontext import VideoCodecContext

from layerloom.core.errors import LayerloomError
from layerloom.media.limits import check_size

PLAYLISTS = {"hls", "concat", "dash", "imf", "webm_dash_manifest", "rtsp", "sdp"}
"""Formats whose files name other files to be read: refused."""

UNREADABLE = (
    av.error.FFmpegError,
    *(UnicodeError, ValueError, OverflowError, NotImplementedError, RuntimeError, MemoryError),
)
"""What the libraries raise for the contents of a file. (Some FFmpegErrors are OSErrors, such as "no permission".)"""


@contextlib.contextmanager
def reading(path: Path, what: str = "not a readable video") -> Generator[None]:
    """LayerloomError, one line that names the file, for whatever its contents make the libraries raise."""
    try:
        yield
    except UNREADABLE as error:
        reason = "the file is cut short, damaged or of another kind"
        if isinstance(error, MemoryError):
            reason = "it needs more memory than there is"
        raise LayerloomError(f"{path}: {what}; {reason}") from error


@contextlib.contextmanager
def open_container(path: Path) -> Generator[InputContainer]:
    """An open file; texts in it that are no UTF-8 are read with replacement characters."""
    if not path.is_file():
        raise LayerloomError(f"{path}: no such file")
    if not os.access(path, os.R_OK):
        raise LayerloomError(f"{path}: no permission to read it")
    if path.stat().st_size == 0:
        raise LayerloomError(f"{path}: the file is empty")
    with reading(path):
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        container = av.open(f"file:{path}", metadata_errors="replace", options={"protocol_whitelist": "file"})
    with container:
        if PLAYLISTS & set(container.format.name.split(",")):
            raise LayerloomError(f"{path}: a list of other files; name the video itself")
        yield container


def video_stream(path: Path, container: InputContainer) -> VideoStream:
    """The first stream of moving pictures. LayerloomError if there is none, or none that can be decoded."""
    # FFmpeg takes any text file for terminal art (format "tty"); sound files may carry a cover picture.
    with reading(path):
        pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        kinds = ", ".join(sorted({s.type for s in container.streams}))
        if not pictures or container.format.name == "tty":
            found = kinds if container.format.name != "tty" else "text"
            raise LayerloomError(f"{path}: holds no video ({found or 'nothing'} only)")
        stream = pictures[0]
        # PyAV gives a stream without a decoder no context, whatever its annotations say.
        context = cast("VideoCodecContext | None", stream.codec_context)
        if context is None or not context.name:
            raise LayerloomError(f"{path}: the video's codec is unknown to this FFmpeg")
        check_size(path, (context.width, context.height))
        stream.thread_type = "AUTO"
    return stream


def decoder_of(stream: VideoStream) -> VideoCodecContext:
    """The stream's decoder. FFmpeg's own one for VP8 and VP9 leaves alpha out; the library's gives it."""
    name = stream.codec_context.name
    if name in ("vp8", "vp9") and "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE")):
        context = CodecContext.create("libvpx" if name == "vp8" else "libvpx-vp9", "r")
        assert isinstance(context, VideoCodecContext)
        return context
    return stream.codec_context


def decoded_frames(
    path: Path, container: InputContainer, stream: VideoStream, watch: "PacketLog | None" = None
) -> Iterator[VideoFrame]:
    """Frames in display order. Packets that cannot be decoded are passed over; `watch` takes note of them.

    An error of the container in the middle ends them as the end of the file does.
    """
    decoder, log = decoder_of(stream), watch or PacketLog()
    with reading(path):
        for packet in _packets(container, stream, log):
            yield from _decode(decoder, packet, log)
        yield from _decode(decoder, None, log)


@dataclass
class PacketLog:
    """What came by on the way to decoded frames: times of the packets, and how many could not be decoded.

    end: where the last packet of any stream ends, in seconds.
    """

    pts: list[int | None] = field(default_factory=list[int | None])
    dts: list[int | None] = field(default_factory=list[int | None])
    failed: int = 0
    end: Fraction = Fraction(0)


def _packets(container: InputContainer, stream: VideoStream, log: PacketLog) -> Iterator["av.Packet[VideoStream]"]:
    """The stream's packets; those of the other streams only leave their times."""
    try:
        for packet in container.demux():
            if packet.pts is not None and packet.time_base:
                log.end = max(log.end, (packet.pts + (packet.duration or 0)) * packet.time_base)
            if packet.stream_index == stream.index and packet.size:
                if not packet.is_discard:
                    log.pts.append(packet.pts)
                    log.dts.append(packet.dts)
                yield cast("av.Packet[VideoStream]", packet)
    except av.error.FFmpegError:
        log.failed += 1


def _decode(
    decoder: VideoCodecContext, packet: "av.Packet[VideoStream] | None", log: PacketLog
) -> Sequence[VideoFrame]:
    try:
        return decoder.decode(packet)
    except av.error.FFmpegError:
        log.failed += 1
        return ()


def first_frame(path: Path, container: InputContainer, stream: VideoStream) -> VideoFrame:
    """LayerloomError where not one frame can be decoded."""
    frame = next(decoded_frames(path, container, stream), None)
    if frame is None:
        raise LayerloomError(f"{path}: no frame can be decoded; the file is cut short or damaged")
    return frame
