"""The sound of a source, cut to a time range and slipped into an output."""

import contextlib
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from av.audio import AudioStream
from av.container import OutputContainer
from jaxtyping import Float32

from layerloom.media.container import first_frame, open_container, video_stream

_COMPRESSED = {"aac", "mp3", "ac3", "eac3", "alac"}
_PCM = {"pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_s16be", "pcm_s24be", "pcm_s32be", "pcm_f32be"}
COPIED_CODECS = {
    "mp4": _COMPRESSED | {"opus", "flac", "mp2"},
    "mov": _COMPRESSED | _PCM,
    "matroska": _COMPRESSED | {name for name in _PCM if name.endswith("le")} | {"opus", "flac", "mp2", "vorbis", "dts"},
    "webm": {"opus", "vorbis"},
}
"""Sound codecs that a container holds and players expect there; others are encoded anew, to AAC, in WebM to Opus."""

SAMPLE_FORMAT = "fltp"
"""A plane of floats for each channel; encoders convert it to what they take."""

TimedPacket = tuple[Fraction, "av.Packet[AudioStream]"]
"""A packet and the second at which it begins in the output."""


class SoundTrack:
    """The first sound track of a file from one time to another, a packet at a time. Silent without a source."""

    def __init__(self, source: Path | None, start: Fraction, duration: Fraction | None) -> None:
        self._stack = contextlib.ExitStack()
        self._stream: AudioStream | None = None
        self._packets: Iterator[TimedPacket] = iter(())
        self._waiting: TimedPacket | None = None
        self._output: OutputContainer | None = None
        self._duration = duration
        if source is None or Path(source).is_dir():
            return
        source = Path(source)
        with open_container(source) as container:
            stream = video_stream(source, container)
            first = first_frame(source, container, stream)
            assert stream.time_base is not None
            self._origin = (first.pts or 0) * stream.time_base + start
        self._container = self._stack.enter_context(open_container(source))
        self._stream = next(iter(self._container.streams.audio), None)

    def close(self) -> None:
        self._stack.close()

    def add_to(self, output: OutputContainer) -> None:
        """Add the track to `output`, which must have written no packet yet."""
        if self._stream is None:
            return
        self._output = output
        if self._stream.codec.canonical_name in COPIED_CODECS[output.format.name]:
            self._packets = self._copied(self._stream, output.add_stream_from_template(self._stream))
        else:
            encoder = output.add_stream("libopus" if output.format.name == "webm" else "aac", rate=48000)
            assert isinstance(encoder, AudioStream)
            encoder.bit_rate = 256_000
            # Files may count channels without saying where they sound.
            unplaced = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}
            encoder.layout = unplaced.get(self._stream.layout.nb_channels, "stereo")
            self._packets = self._encoded(self._stream, encoder)
        self._waiting = next(self._packets, None)

    def mux_until(self, seconds: Fraction | None) -> None:
        """Write what begins before `seconds`; None: all."""
        while self._output and self._waiting and (seconds is None or self._waiting[0] <= seconds):
            self._output.mux_one(self._waiting[1])
            self._waiting = next(self._packets, None)

    def _copied(self, source: AudioStream, target: AudioStream) -> Iterator[TimedPacket]:
        assert source.time_base is not None and self._output is not None
        shift = round(self._origin / source.time_base)
        # MP4 and MOV hide what lies before time 0 behind an edit list, so a decoder can warm up on one packet more.
        warm_up = 0 if self._output.format.name in ("matroska", "webm") else 1
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

    def _encoded(self, source: AudioStream, target: AudioStream) -> Iterator[TimedPacket]:
        position = 0
        for samples in self._samples(source, target):
            frame = av.AudioFrame.from_ndarray(samples, SAMPLE_FORMAT, target.layout.name)
            frame.sample_rate, frame.pts, frame.time_base = (
                target.sample_rate,
                position,
                Fraction(1, target.sample_rate),
            )
            position += samples.shape[1]
            yield from (
                (packet.pts * packet.time_base, packet) for packet in target.encode(frame) if packet.pts is not None
            )
        yield from ((packet.pts * packet.time_base, packet) for packet in target.encode(None) if packet.pts is not None)

    def _samples(self, source: AudioStream, target: AudioStream) -> Iterator[Float32[np.ndarray, "channels samples"]]:
        """The range's sound from time 0 on, without a gap: what is missing is silence, what comes twice is dropped."""
        rate = target.sample_rate
        resampler = av.AudioResampler(SAMPLE_FORMAT, target.layout, rate)
        shift = round(self._origin * rate)
        end = None if self._duration is None else round(self._duration * rate)
        position = 0
        for packet in self._container.demux(source):
            for piece in itertools.chain.from_iterable(map(resampler.resample, _decoded(packet))):
                begin = round((piece.pts or 0) * (piece.time_base or 0) * rate) - shift
                samples = np.ascontiguousarray(piece.to_ndarray(), np.float32)
                # Containers round times to a millisecond; only more than a few of them are a real gap or overlap.
                if abs(begin - position) > rate // 100:
                    samples = samples[:, max(0, position - begin) :]
                    silence = np.zeros((samples.shape[0], max(0, begin - position)), np.float32)
                    samples = np.concatenate([silence, samples], 1)
                samples = samples[:, : None if end is None else max(0, end - position)]
                position += samples.shape[1]
                if samples.shape[1]:
                    yield np.ascontiguousarray(samples)


def _decoded(packet: "av.Packet[AudioStream]") -> list[av.AudioFrame]:
    """A packet that cannot be decoded gives nothing, which becomes silence."""
    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []
