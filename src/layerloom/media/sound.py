"""Sound encoded anew: decoded, resampled and cut to a time range, without gaps."""

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import cast

import av
import av.error
import numpy as np
from av.audio import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from jaxtyping import Float32

SAMPLE_FORMAT = "fltp"
"""A plane of floats for each channel; encoders convert it to what they take."""

TimedPacket = tuple[Fraction, "Packet[Stream]"]
"""A packet and the second at which it begins in the output."""


def encoded_sound(
    container: InputContainer, source: AudioStream, target: AudioStream, origin: Fraction, duration: Fraction | None
) -> Iterator[TimedPacket]:
    """The sound from second `origin` of the file on, as packets of the encoder `target`."""
    position = 0
    for samples in _samples(container, source, target, origin, duration):
        frame = av.AudioFrame.from_ndarray(samples, SAMPLE_FORMAT, target.layout.name)
        frame.sample_rate, frame.pts, frame.time_base = target.sample_rate, position, Fraction(1, target.sample_rate)
        position += samples.shape[1]
        yield from _timed(target.encode(frame))
    yield from _timed(target.encode(None))


def _timed(packets: Sequence["Packet[AudioStream]"]) -> Iterator[TimedPacket]:
    for packet in packets:
        if packet.pts is not None:
            yield packet.pts * packet.time_base, cast("Packet[Stream]", packet)


def _samples(
    container: InputContainer, source: AudioStream, target: AudioStream, origin: Fraction, duration: Fraction | None
) -> Iterator[Float32[np.ndarray, "channels samples"]]:
    """The range's sound from time 0 on, without a gap: what is missing is silence, what comes twice is dropped."""
    rate = target.sample_rate
    resampler = av.AudioResampler(SAMPLE_FORMAT, target.layout, rate)
    shift = round(origin * rate)
    end = None if duration is None else round(duration * rate)
    position = 0
    for packet in container.demux(source):
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


def _decoded(packet: "Packet[AudioStream]") -> list[av.AudioFrame]:
    """A packet that cannot be decoded gives nothing, which becomes silence."""
    try:
        return packet.decode()
    except av.error.FFmpegError:
        return []
