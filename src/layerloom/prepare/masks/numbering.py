"""Which frame of the source each mask file is for."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from layerloom.core.errors import LayerloomError

NumberedFiles = dict[str, dict[int, Path]]
"""Files by the source's frame, counted from 0, by object."""


def number_frames(
    series: Mapping[str, Sequence[Path]], frames: range, source_frames: int | None, names: Sequence[str]
) -> NumberedFiles:
    """The source frame of each file, per object.

    names: of the source's own files, without suffix, where it is a folder of images. Masks that bear them, or the
    numbers in them, belong to those frames, gaps or not. Otherwise a name's last number is the frame, counted from 0;
    files numbered without a gap from 1, or from a number past the last frame used, are counted from there if they reach
    that frame. Files without numbers must be as many as the frames.

    LayerloomError for two masks of one frame, and for numbers past the source's end.
    """
    files = [path for some in series.values() for path in some]
    places = {name: place for place, name in enumerate(names)}
    if all(path.stem in places for path in files):
        return _checked(series, {path: places[path.stem] for path in files}, source_frames)
    found = {path: last_number(path.stem) for path in files}
    if any(number is None for number in found.values()):
        return {name: _in_order(some, frames) for name, some in series.items()}
    numbers = {path: number for path, number in found.items() if number is not None}
    own = {number: place for place, name in enumerate(names) if (number := last_number(name)) is not None}
    if len(own) == len(names) and all(number in own for number in numbers.values()):
        return _checked(series, {path: own[number] for path, number in numbers.items()}, source_frames)
    first = _first_number(set(numbers.values()), frames)
    return _checked(series, {path: number - first for path, number in numbers.items()}, source_frames)


def last_number(name: str) -> int | None:
    """The last number in a name; None without one."""
    match = re.search(r"([0-9]{1,18})[^0-9]*$", name)
    return int(match[1]) if match else None


def _checked(
    series: Mapping[str, Sequence[Path]], places: Mapping[Path, int], source_frames: int | None
) -> NumberedFiles:
    numbered: NumberedFiles = {}
    for name, files in series.items():
        numbered[name] = {}
        for path in files:
            frame = places[path]
            if source_frames is not None and frame >= source_frames:
                raise LayerloomError(
                    f"{path}: a mask for frame {frame}, but the source's last frame is {source_frames - 1}"
                )
            if frame in numbered[name]:
                raise LayerloomError(f"{path}: a second mask for frame {frame}, beside {numbered[name][frame].name}")
            numbered[name][frame] = path
    return numbered


def _in_order(files: Sequence[Path], frames: range) -> dict[int, Path]:
    if len(files) != len(frames):
        raise LayerloomError(
            f"{files[0].parent}: {len(files)} masks for {len(frames)} frames; "
            "names without frame numbers must be as many as the frames"
        )
    return dict(zip(frames, files, strict=True))


def _first_number(numbers: set[int], frames: range) -> int:
    """The number that stands for the source's frame 0."""
    lowest, count = min(numbers), len(numbers)
    gapless = max(numbers) - lowest + 1 == count
    if gapless and count >= frames.stop and (lowest == 1 or lowest >= frames.stop):
        return lowest
    return 0
