"""Animated WebP and GIF: footage that Pillow reads. (Animated PNG is FFmpeg's.)"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageSequence

from layerloom.core.errors import LayerloomError
from layerloom.media.formats import PILLOW_FORMATS, image_header, kind_of
from layerloom.media.limits import check_count

SHORTEST = Fraction(1, 100)
"""Seconds of a picture that is said to last no time; browsers take such ones for a tenth of a second."""
USUAL = Fraction(1, 10)


def is_animation(path: Path) -> bool:
    """Whether a file is an animated WebP or GIF, of two pictures or more."""
    return path.is_file() and kind_of(path) in ("webp", "gif") and image_header(path).pictures > 1


def animation_durations(path: Path) -> tuple[Fraction, ...]:
    """Seconds that each picture is shown for. LayerloomError for a damaged file or one of too many pictures."""
    check_count(path, image_header(path).pictures)
    return tuple(duration for duration, _ in _pictures(path, convert=False))


def animation_frames(path: Path, start: int) -> Iterator[UInt8[np.ndarray, "h w 4"]]:
    """Straight RGBA from picture number `start` on."""
    for number, (_, picture) in enumerate(_pictures(path, convert=True)):
        if number >= start:
            yield picture


def _pictures(path: Path, convert: bool) -> Iterator[tuple[Fraction, UInt8[np.ndarray, "h w 4"]]]:
    kind = kind_of(path)
    assert kind in ("webp", "gif")
    try:
        with Image.open(path, formats=[PILLOW_FORMATS[kind]]) as file:
            for picture in ImageSequence.Iterator(file):
                picture.load()  # the duration is known from then on
                seconds = Fraction(int(picture.info.get("duration", 0)), 1000)
                pixels = np.array(picture.convert("RGBA")) if convert else np.zeros((1, 1, 4), np.uint8)
                yield seconds if seconds > SHORTEST else USUAL, pixels
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise LayerloomError(f"{path}: an animation that cannot be read to its end; the file is damaged") from error
