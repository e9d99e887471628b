"""read_frames(): the frames of a video, an animation or a folder of images as upright, square, full-range RGB."""

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float, Num, UInt8, UInt16

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import in_threads
from layerloom.media.animations import animation_frames
from layerloom.media.description import Encoding, ReadOptions
from layerloom.media.exr import read_exr
from layerloom.media.formats import kind_of
from layerloom.media.images import read_image
from layerloom.media.pixels import at_depth, to_float
from layerloom.media.probe import MediaInfo, other_size, probe
from layerloom.media.scene_linear import encode
from layerloom.media.sequences import find_sequence
from layerloom.media.video_frames import read_video, resize, with_alpha


def read_frames(
    path: str | Path,
    start: int = 0,
    stop: int | None = None,
    size: Size | None = None,
    alpha: bool = False,
    options: ReadOptions | None = None,
) -> Iterator[UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"]]:
    """Frames start … stop − 1 as full-range RGB, one at a time; `size` = (width, height) resamples them.

    uint8, or uint16 at full scale where the source is deeper than 8 bits. Scene-linear footage comes in the display
    encoding that its description names. With `alpha` they are RGBA, straight; opaque where the source has no alpha.
    Interlaced frames are made progressive. Raises LayerloomError for a bad input or range, and for a frame that cannot
    be decoded when its turn comes.
    """
    info = probe(path, options)
    stop = info.frames if stop is None else stop
    if not 0 <= start <= stop <= info.frames:
        raise LayerloomError(f"{info.path}: frames {start}:{stop} asked for, it holds 0:{info.frames}")
    if start == stop:
        return
    for frame in _frames(info, start, stop, alpha):
        yield frame if size is None else resize(frame, size)


def read_stored(
    path: str | Path, start: int, stop: int, options: ReadOptions | None = None
) -> Iterator[Float[np.ndarray, "h w c"]]:
    """Frames of a folder of EXR as they are stored: half or float, RGB or RGBA, alpha associated."""
    info = probe(path, options)
    files = find_sequence(info.path).files[start:stop]
    return in_threads(partial(read_exr, layer=info.description.options.layer), files)


def _frames(info: MediaInfo, start: int, stop: int, alpha: bool) -> Iterator[Num[np.ndarray, "h w c"]]:
    encoding = info.description.encoding
    if info.kind == "images":
        files = find_sequence(info.path).files
        read: Callable[[Path], np.ndarray] = partial(_read_file, info, files[0], alpha)
        return in_threads(read, files[start:stop])
    if info.kind == "animation":
        pictures = itertools.islice(animation_frames(info.path, start), stop - start)
        return (_encoded(picture if alpha else picture[..., :3], encoding, 8) for picture in pictures)
    pictures = read_video(info.path, start, stop, alpha)
    return (_encoded(picture, encoding, 8 * picture.itemsize) for picture in pictures)


def _read_file(info: MediaInfo, first: Path, alpha: bool, file: Path) -> Num[np.ndarray, "h w c"]:
    linear = info.description.encoding.name != "display"
    layer = info.description.options.layer
    # Light is added up as it is stored: what an EXR's alpha is associated with is part of the picture.
    image = read_exr(file, layer) if linear and kind_of(file) == "exr" else read_image(file, layer)
    if (image.shape[1], image.shape[0]) != info.size:
        raise other_size(file, (image.shape[1], image.shape[0]), first, info.size)
    if image.shape[2] < 3:
        raise LayerloomError(f"{file}: {image.shape[2]} channels; frames need R, G and B")
    pixels = _encoded(image, info.description.encoding, info.bit_depth)
    return with_alpha(pixels, pixels[..., 3] if pixels.shape[2] == 4 else None) if alpha else pixels[..., :3]


def _encoded(image: Num[np.ndarray, "h w c"], encoding: Encoding, bit_depth: int) -> Num[np.ndarray, "h w c"]:
    """Any pixels as `read_frames` gives them; alpha is never encoded."""
    if encoding.name == "display":
        return at_depth(image, bit_depth)
    colour = encode(to_float(image[..., :3]), encoding)
    return np.dstack([colour, at_depth(to_float(image[..., 3:]), 16)]) if image.shape[2] == 4 else colour
