"""How large what is read may be, checked before it is decoded. Environment variables raise (or lower) the limits.

LAYERLOOM_MAX_PIXELS     pixels of a picture (default 2**28: 16384 × 16384)
LAYERLOOM_MAX_FRAMES     frames of a video, images of a folder (100,000)
LAYERLOOM_MAX_LAYERS     layers of a document, parts of an EXR (1,000)
"""

import os
from pathlib import Path

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size

DEFAULTS = {"LAYERLOOM_MAX_PIXELS": 1 << 28, "LAYERLOOM_MAX_FRAMES": 100_000, "LAYERLOOM_MAX_LAYERS": 1_000}


def limit(name: str) -> int:
    """A limit's value. LayerloomError where the environment says something that is no count."""
    text = os.environ.get(name, "")
    if not text:
        return DEFAULTS[name]
    if not (text.isascii() and text.isdigit() and len(text) < 16 and int(text) > 0):
        raise LayerloomError(f"{name}={text[:40]}: a whole number above 0 is allowed")
    return int(text)


def check_size(path: Path, size: Size) -> None:
    """LayerloomError for pictures of more pixels than the limit. Unknown sizes, 0, pass."""
    most = limit("LAYERLOOM_MAX_PIXELS")
    if size[0] * size[1] > most:
        raise LayerloomError(
            f"{path}: {size[0]}x{size[1]} pixels; at most {most} are read (LAYERLOOM_MAX_PIXELS raises the limit)"
        )


MOST_PIXELS_PER_BYTE = 9_000
"""Of a file: what deflate makes of bits that are all alike; the other ways to compress images make less of them."""


def check_length(path: Path, size: Size) -> None:
    """LayerloomError for an image file that is too short to hold what its header promises: it is not decoded."""
    length = path.stat().st_size
    if size[0] * size[1] > MOST_PIXELS_PER_BYTE * length:
        raise LayerloomError(f"{path}: {size[0]}x{size[1]} pixels in {length} bytes; the file is damaged or cut short")


def check_count(path: Path, count: int, what: str = "frames") -> None:
    """LayerloomError for more frames or layers (`what`) than the limit."""
    name = "LAYERLOOM_MAX_FRAMES" if what == "frames" else "LAYERLOOM_MAX_LAYERS"
    if count > limit(name):
        raise LayerloomError(f"{path}: {count} {what}; at most {limit(name)} are read ({name} raises the limit)")
