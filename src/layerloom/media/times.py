"""When the frames of a video are shown: from the frames that are decoded, not from what the container promises."""

import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video import VideoStream

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.media.container import PacketLog, decoded_frames, open_container, video_stream
from layerloom.media.limits import check_count

USUAL_RATE = Fraction(24)
"""Of images, which carry no time, and of videos that do not tell."""

COARSE = Fraction(1, 4)
"""A clock's tick is told from a frame's length up to this share of it: then times lie on a grid or they do not."""


@dataclass(frozen=True)
class VideoScan:
    """What decoding all frames once has shown.

    pts: display times, rising, in ticks of `clock` seconds. A stream without times of its own (a raw one, an AVI) has
    them by the order of its frames, and decoded frames can only be counted (`are_in_stream` is false). seconds: after
    the first frame; on the grid of `fps` where every time lies within a tick of it.
    """

    pts: tuple[int, ...]
    clock: Fraction
    are_in_stream: bool
    seconds: tuple[Fraction, ...]
    fps: Fraction
    interlaced: bool


def stamp(file: Path) -> tuple[int, int]:
    """Length and time of change: while they stay, so does what was found in the file."""
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def scan_video(path: Path) -> VideoScan:
    """Decode all frames of a file, once while it stays the same. LayerloomError if it is cut short."""
    return _scan(path, stamp(path))


@functools.lru_cache(maxsize=16)
def _scan(path: Path, stamp: tuple[int, int]) -> VideoScan:
    log = PacketLog()
    shown: list[int | None] = []
    interlaced, size = False, None
    with open_container(path) as container:
        stream = video_stream(path, container)
        check_count(path, stream.frames)
        for frame in decoded_frames(path, container, stream, log):
            size = size or (frame.width, frame.height)
            if (frame.width, frame.height) != size:
                raise _other_size(path, len(shown), (frame.width, frame.height), size)
            shown.append(frame.pts)
            interlaced = interlaced or frame.interlaced_frame
            check_count(path, len(shown))
        _check_whole(path, container, stream, log)
        if not shown:
            raise LayerloomError(f"{path}: no frame can be decoded; the file is cut short or damaged")
        rate = stream.average_rate or stream.guessed_rate or USUAL_RATE
        clock = stream.time_base or 1 / rate
        pts = None if container.format.name == "avi" else _display_times(shown, log)
        rates = [rate, stream.guessed_rate, stream.base_rate]
        delay = stream.codec_context.reorder_depth
    are_in_stream = pts is not None
    if pts is None:
        pts, clock = _counted(len(shown), log, delay, clock, rate)
    seconds = [(time - pts[0]) * clock for time in pts]
    grid = next((fps for fps in rates if fps and _on_grid(seconds, fps, clock)), None)
    if grid is not None:
        seconds = [round(second * grid) / grid for second in seconds]
        # A grid that few frames follow one another on is a clock, not a rate.
        rate = grid if seconds[-1] * grid < 2 * len(seconds) else rate
    return VideoScan(pts, clock, are_in_stream, tuple(seconds), rate, interlaced)


def _other_size(path: Path, number: int, size: Size, first: Size) -> LayerloomError:
    return LayerloomError(
        f"{path}: the size changes at frame {number} from {first[0]}x{first[1]} to {size[0]}x{size[1]};"
        " one size is needed"
    )


def _check_whole(path: Path, container: InputContainer, stream: VideoStream, log: PacketLog) -> None:
    """LayerloomError where the end is missing: MP4 and Matroska note at the front how much is to come."""
    kind, length = container.format.name, path.stat().st_size
    if kind.startswith("mov"):
        entries = list(stream.index_entries)
        there = sum(entry.pos + entry.size <= length for entry in entries)
        if there < len(entries):
            raise LayerloomError(f"{path}: cut short; {there} of {len(entries)} frames are there")
    promised = Fraction(container.duration or 0, av.time_base)
    if kind.startswith("matroska") and log.end + Fraction(1, 2) < promised:
        there, whole = float(log.end), float(promised)
        raise LayerloomError(f"{path}: cut short; {there:.1f} of {whole:.1f} seconds are there")


def _display_times(shown: Sequence[int | None], log: PacketLog) -> tuple[int, ...] | None:
    """Times of the frames, those included that are there and cannot be decoded; None where some have no time."""
    times = {pts for pts in shown if pts is not None}
    if len(times) < len(shown) and None in shown:
        return None
    if log.failed:
        # Frames before the first one shown lean on others that are not in the file.
        times |= {pts for pts in log.pts if pts is not None and pts >= min(times)}
    return tuple(sorted(times))


def _counted(
    count: int, log: PacketLog, delay: int, clock: Fraction, rate: Fraction
) -> tuple[tuple[int, ...], Fraction]:
    """Times of frames that have none: those at which their packets are decoded, if these are as many; else a grid.

    An AVI counts in the order of decoding, which runs `delay` frames ahead of display where pictures are reordered, and
    leaves numbers out where it has no frame.
    """
    order = sorted({dts for dts in log.dts if dts is not None})
    if len(order) != count:
        return tuple(range(count)), 1 / rate
    ahead = min(delay, count - 1)
    times = [time - ahead for time in order[ahead:]]
    return (*times, *(times[-1] + k for k in range(1, ahead + 1))), clock


def _on_grid(seconds: Sequence[Fraction], fps: Fraction, clock: Fraction) -> bool:
    """Whether each time lies within a tick of k / fps, each with a k of its own."""
    if clock * fps > COARSE:
        return False
    steps = [round(second * fps) for second in seconds]
    rises = all(a < b for a, b in itertools.pairwise(steps))
    return rises and all(abs(k / fps - second) <= clock for k, second in zip(steps, seconds, strict=True))
