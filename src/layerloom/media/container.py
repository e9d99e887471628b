"""Open a video file and decode its picture stream, with errors that a user can read."""

import contextlib
from collections.abc import Generator, Iterator
from pathlib import Path

import av
import av.error
from av.container import InputContainer
from av.stream import Disposition
from av.video import VideoFrame, VideoStream

from layerloom.core.errors import LayerloomError


@contextlib.contextmanager
def open_container(path: Path) -> Generator[InputContainer]:
    if not path.is_file():
        raise LayerloomError(f"{path}: no such file")
    if path.stat().st_size == 0:
        raise LayerloomError(f"{path}: the file is empty")
    try:
        # "file:" keeps FFmpeg from reading a colon in the name as a protocol.
        container = av.open(f"file:{path}")
    except av.error.FFmpegError as error:
        raise LayerloomError(
            f"{path}: not a readable video; the file is cut short, damaged or of another kind"
        ) from error
    with container:
        yield container


def video_stream(path: Path, container: InputContainer) -> VideoStream:
    # FFmpeg takes any text file for terminal art (format "tty"); sound files may carry a cover picture.
    pictures = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not pictures or container.format.name == "tty":
        found = ", ".join(sorted({s.type for s in container.streams})) if container.format.name != "tty" else "text"
        raise LayerloomError(f"{path}: holds no video ({found or 'nothing'} only)")
    if pictures[0].name is None:
        raise LayerloomError(f"{path}: the video's codec is unknown to this FFmpeg")
    pictures[0].thread_type = "AUTO"
    return pictures[0]


def decoded_frames(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Frames in display order. Packets that cannot be decoded are passed over: the caller knows what to expect."""
    for packet in container.demux(stream):
        with contextlib.suppress(av.error.InvalidDataError):
            yield from packet.decode()


def first_frame(path: Path, container: InputContainer, stream: VideoStream) -> VideoFrame:
    frame = next(decoded_frames(container, stream), None)
    if frame is None:
        raise LayerloomError(f"{path}: no frame can be decoded; the file is cut short or damaged")
    return frame
