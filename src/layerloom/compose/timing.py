"""Time: which moment of the footage, and of each layer, an output frame shows, and when it is shown."""

from collections.abc import Sequence
from fractions import Fraction

from layerloom.compose.shot_plan import Retiming
from layerloom.data.project import Project


def output_times(frames: range, speed: float) -> list[float]:
    """Moments that the output's frames show, in frames; as many as fill the slower or faster shot, one at least.

    Slowed, the last ones stay on the last frame: nothing comes after it.
    """
    count = max(1, round(len(frames) / speed))
    return [min(frames.start + number * speed, float(frames[-1])) for number in range(count)]


def output_timestamps(project: Project, frames: range, speed: float) -> list[Fraction]:
    """When the output's frames are shown, in seconds from 0, with the source's own, maybe uneven, distances."""
    stamps = [stamp - project.source.timestamps[frames.start] for stamp in project.source.timestamps]
    count, factor = len(output_times(frames, speed)), Fraction(speed).limit_denominator(10**6)
    times = [frames.start + number * factor for number in range(count)]
    return [_timestamp(stamps, time, frames.stop, 1 / project.source.fps) / factor for time in times]


def layer_times(layers: int, retimings: Sequence[Retiming], frames: range, time: float) -> list[float]:
    """The moment, in the project's frames, that each layer shows at a time of a shot that runs through `frames`."""
    times = [time] * layers
    for retiming in retimings:
        backwards = frames.start + frames[-1] - time
        times[retiming.layer] = backwards if retiming.frame is None else float(retiming.frame)
    return times


def _timestamp(stamps: Sequence[Fraction], time: Fraction, stop: int, frame_seconds: Fraction) -> Fraction:
    """Straight between frames; past the last one, which lasts for `frame_seconds`, as long as time goes on."""
    frame = min(int(time), stop - 1)
    length = stamps[frame + 1] - stamps[frame] if frame + 1 < stop else frame_seconds
    return stamps[frame] + (time - frame) * length
