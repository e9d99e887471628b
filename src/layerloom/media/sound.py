"""The sound of a source, cut to a time range and slipped into an output."""

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio import AudioStream
from av.container import OutputContainer

from layerloom.media.container import first_frame, open_container, video_stream


class SoundTrack:
    """The first sound track of a file from one time to another, a packet at a time. Silent without a source."""

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
