"""Sound, subtitles and timecode of a source: found, cut to a time range and slipped into an output."""

import contextlib
import functools
import heapq
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
from av.audio import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Disposition, Stream

from layerloom.media.container import UNREADABLE, first_frame, open_container, reading, video_stream
from layerloom.media.description import Track
from layerloom.media.sound import TimedPacket, encoded_sound
from layerloom.media.times import stamp

_COMPRESSED = {"aac", "mp3", "ac3", "eac3", "alac"}
_PCM = {"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be"}
COPIED_SOUND = {
    "mp4": _COMPRESSED | {"opus", "flac", "mp2"},
    "mov": _COMPRESSED | _PCM,
    "matroska": _COMPRESSED | {name for name in _PCM if name.endswith("le")} | {"opus", "flac", "mp2", "vorbis", "dts"},
    "webm": {"opus", "vorbis"},
}
"""Sound codecs that a container holds and players expect there; others are encoded anew, to AAC, in WebM to Opus."""

COPIED_SUBTITLES = {
    "mp4": {"mov_text"},
    "mov": {"mov_text"},
    "matroska": {"subrip", "srt", "ass", "ssa", "webvtt", "hdmv_pgs_subtitle", "dvd_subtitle", "text"},
    "webm": {"webvtt"},
}
"""Subtitles are copied or left out, and that is said."""

QUICKTIME_LANGUAGES = {"deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "zho": "chi"}
"""MOV knows these by other codes than ISO 639-2/T's."""

TRIED_PACKETS = 24
"""Of a sound track, until it counts as one that cannot be decoded."""


@dataclass(frozen=True)
class SourceRange:
    """Where an output's sound and subtitles come from: `duration` seconds (None: all) from `start` after the first
    frame of the video file `path`.
    """

    path: Path
    start: Fraction = Fraction(0)
    duration: Fraction | None = None


def find_tracks(path: Path) -> tuple[Track, ...]:
    """The tracks of sound and subtitles of a file, and which of them can be decoded."""
    return _find_tracks(path, stamp(path))


@functools.lru_cache(maxsize=16)
def _find_tracks(path: Path, stamp: tuple[int, int]) -> tuple[Track, ...]:
    with open_container(path) as container, reading(path):
        found = [stream for stream in container.streams if stream.type in ("audio", "subtitle")]
        tracks = [_describe(stream) for stream in found]
    return tuple(track if _decodes(path, track) else _undecodable(track) for track in tracks)


def _describe(stream: Stream) -> Track:
    # PyAV gives a stream without a decoder no context, whatever its annotations say.
    context = cast("object | None", stream.codec_context)
    language = stream.language or ""
    return Track(
        kind="sound" if stream.type == "audio" else "subtitles",
        index=stream.index,
        codec=stream.codec_context.name if context is not None else "",
        language="" if language == "und" else language,
        title=stream.metadata.get("title", ""),
        default=bool(stream.disposition & Disposition.default),
        decodable=context is not None,
    )


def _undecodable(track: Track) -> Track:
    return Track(track.kind, track.index, track.codec, track.language, track.title, track.default, False)


def _decodes(path: Path, track: Track) -> bool:
    """Whether something comes out of a sound track's first packets. Subtitles are copied as they are."""
    if not track.decodable or track.kind == "subtitles":
        return track.decodable
    packets = 0
    with open_container(path) as container, contextlib.suppress(*UNREADABLE, AttributeError):
        for packet in container.demux(container.streams[track.index]):
            with contextlib.suppress(av.error.FFmpegError):
                if packet.decode():
                    return True
            packets += 1
            if packets > TRIED_PACKETS:
                return False
    return False


TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;.]\d\d")


def find_timecode(path: Path, container: InputContainer) -> str:
    """The timecode of the first frame, HH:MM:SS:FF (;FF if frames are dropped); empty without one."""
    with reading(path):
        texts = [container.metadata, *(stream.metadata for stream in container.streams)]
        found = [value for text in texts for key, value in text.items() if key.lower() == "timecode"]
    return next((value for value in found if TIMECODE.fullmatch(value)), "")


def timecode_after(timecode: str, frames: int, fps: Fraction) -> str:
    """The timecode so many frames later (SMPTE ST 12-1); with `;` two frames (at 59.94: four) a minute are dropped."""
    rate = round(fps)
    if not TIMECODE.fullmatch(timecode) or rate < 1:
        return timecode
    hours, minutes, seconds, count = (int(part) for part in re.split("[:;.]", timecode))
    drops = rate // 15 if timecode[8] in ";." and rate in (30, 60) else 0
    whole_minutes = 60 * hours + minutes
    number = ((whole_minutes * 60) + seconds) * rate + count - drops * (whole_minutes - whole_minutes // 10) + frames
    if drops:
        ten_minutes = 600 * rate - 9 * drops
        tens, rest = divmod(number, ten_minutes)
        number += 9 * drops * tens + drops * max(0, (rest - drops) // (60 * rate - drops))
    seconds, count = divmod(number, rate)
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{timecode[8]}{count:02}"


class TrackCopier:
    """All tracks of a source that an output can hold, a packet at a time, in the order of their times."""

    def __init__(self, source: SourceRange | None) -> None:
        self._stack = contextlib.ExitStack()
        self._tracks: tuple[Track, ...] = ()
        self._waiting: TimedPacket | None = None
        self._packets: Iterator[TimedPacket] = iter(())
        self._output: OutputContainer | None = None
        if source is None or not source.path.is_file():
            return
        with open_container(source.path) as container:
            stream = video_stream(source.path, container)
            first = first_frame(source.path, container, stream)
            clock = stream.time_base or Fraction(0)
            self._origin = (first.pts or 0) * clock + source.start
        self._source = source
        self._tracks = tuple(track for track in find_tracks(source.path) if track.decodable)

    def close(self) -> None:
        self._stack.close()

    def add_to(self, output: OutputContainer) -> None:
        """Add the tracks to `output`, which must have written no packet yet."""
        self._output = output
        kind = output.format.name
        takers: list[Iterator[TimedPacket]] = []
        for track in self._tracks:
            if track.kind == "subtitles" and track.codec not in COPIED_SUBTITLES[kind]:
                continue
            # Each is read by itself: tracks may lie far apart in the file.
            container = self._stack.enter_context(open_container(self._source.path))
            takers.append(self._add(track, container, output))
        self._packets = heapq.merge(*takers, key=lambda timed: timed[0])
        self._waiting = next(self._packets, None)

    def mux_until(self, seconds: Fraction | None) -> None:
        """Write what begins before `seconds`; None: all."""
        while self._output and self._waiting and (seconds is None or self._waiting[0] <= seconds):
            self._output.mux_one(self._waiting[1])
            self._waiting = next(self._packets, None)

    def _add(self, track: Track, container: InputContainer, output: OutputContainer) -> Iterator[TimedPacket]:
        stream = container.streams[track.index]
        copied = COPIED_SOUND[output.format.name]
        if isinstance(stream, AudioStream) and stream.codec.canonical_name not in copied:
            encoder = output.add_stream("libopus" if output.format.name == "webm" else "aac", rate=48000)
            assert isinstance(encoder, AudioStream)
            encoder.bit_rate = 256_000
            # Files may count channels without saying where they sound.
            unplaced = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
            encoder.layout = unplaced.get(stream.layout.nb_channels, "stereo")
            target: Stream = encoder
            packets = encoded_sound(container, stream, encoder, self._origin, self._source.duration)
        else:
            # MP4 and MOV hide what lies before time 0 behind an edit list, so a decoder can warm up on one packet more.
            warm_up = track.kind == "sound" and output.format.name not in ("matroska", "webm")
            target = output.add_stream_from_template(stream)
            packets = self._copied(container, stream, target, warm_up)
        if track.language:
            quicktime = QUICKTIME_LANGUAGES if output.format.name == "mov" else {}
            target.metadata["language"] = quicktime.get(track.language, track.language)
        if track.title:
            target.metadata["title"] = track.title
        target.disposition = Disposition.default if track.default else Disposition(0)
        return packets

    def _copied(
        self, container: InputContainer, source: Stream, target: Stream, warm_up: bool
    ) -> Iterator[TimedPacket]:
        clock = source.time_base or Fraction(1, 1000)
        shift, duration = round(self._origin / clock), self._source.duration
        end = None if duration is None else round(duration / clock)
        with reading(self._source.path):
            for packet in container.demux(source):
                if packet.pts is None or not packet.size:
                    continue
                length = packet.duration or 0
                packet.pts -= shift
                packet.dts = packet.pts
                if end is not None and packet.pts >= end:
                    return
                if packet.pts + length * (1 + warm_up) <= 0:
                    continue
                if source.type == "subtitle":
                    _clip(packet, end)
                packet.stream = target
                yield packet.pts * clock, packet


def _clip(packet: "Packet[Stream]", end: int | None) -> None:
    """A subtitle is shown from time 0 on, and no longer than there are pictures."""
    assert packet.pts is not None
    last = packet.pts + (packet.duration or 0)
    packet.pts = packet.dts = max(0, packet.pts)
    packet.duration = max(1, (last if end is None else min(last, end)) - packet.pts)


def left_out_tracks(tracks: Sequence[Track], kind: str) -> list[str]:
    """A line for each track that an output of that container cannot hold."""
    lost = [t for t in tracks if t.kind == "subtitles" and t.decodable and t.codec not in COPIED_SUBTITLES[kind]]
    return [
        f"subtitles ({t.codec}{', ' + t.language if t.language else ''}) do not fit into {kind} and are left out"
        for t in lost
    ]
