"""Masks as files for other programs: images of each object, indexed images, EXR with a channel per object, videos.

Files have the footage's own size. They bear its images' names where it is a folder of them, else the number of the
source's frame, so that `--masks` takes them for the frames they belong to.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from layerloom import media
from layerloom.core.atomic import new_folder
from layerloom.core.errors import LayerloomError
from layerloom.core.imaging import resize
from layerloom.data.mattes import upsample
from layerloom.data.selection import ObjectHints, Selection
from layerloom.prepare.masks.colours import index_colours
from layerloom.prepare.prepare import MasksAlone
from layerloom.prepare.select.selected import held

Layout = Literal["folders", "indexed", "exr"]
MOST_INDEXED = 254
"""Index 0 is the background; 255 is kept for what is undecided."""


class MaskOutput(NamedTuple):
    """What is to be written. folder: for images, in a layout; matte: a video file; soft: outlines keep their ramps."""

    folder: Path | None = None
    layout: Layout = "folders"
    matte: Path | None = None
    soft: bool = False


def check_mask_output(output: MaskOutput) -> None:
    """LayerloomError for an output that cannot be written, before any work is done."""
    if output.folder is None and output.matte is None:
        raise LayerloomError("nothing to write: name a folder or a video", "to", "matte")
    if output.layout == "indexed" and output.soft:
        raise LayerloomError("indexed images hold whole pixels, no soft outlines", "indexed", "soft")
    folder = output.folder
    if folder is not None and folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise LayerloomError(f"{folder}: exists already; remove it or choose another name")
    if output.matte is not None:
        media.check_output(output.matte)


def write_masks(
    made: MasksAlone,
    selection: Selection | None,
    output: MaskOutput,
    progress: Callable[[float], None] = lambda done: None,
) -> list[Path]:
    """Write what is asked for, each folder and video complete or not at all; what was written.

    A video of several objects is one file an object, FILE-NAME.mov beside FILE.mov. Raises LayerloomError.
    """
    names, count = made.masks.names, len(made.used)
    if not names:
        raise LayerloomError(f"{made.info.path}: no objects were found; show where they are", "select")
    if output.layout == "indexed" and len(names) > MOST_INDEXED:
        raise LayerloomError(f"{len(names)} objects; indexed images hold up to {MOST_INDEXED}", "indexed")
    hints = {each.name: each for each in selection.objects} if selection else {}
    stems = _stems(made)
    written: list[Path] = []
    with contextlib.ExitStack() as stack:
        folder = None
        if output.folder is not None:
            folder = stack.enter_context(new_folder(output.folder))
            written.append(output.folder)
            if output.layout == "folders":
                for name in names:
                    (folder / name).mkdir()
        writers: list[media.FrameWriter] = []
        for file in _videos(output.matte, names):
            start = made.info.timestamps[made.used.start]
            times = [stamp - start for stamp in made.info.timestamps[made.used.start : made.used.stop]]
            media.check_output(file)
            writers.append(stack.enter_context(media.open_writer(file, made.info.size, times, made.info.fps)))
            written.append(file)
        for number, masks in enumerate(_full_size(made, hints, output.soft)):
            if folder is not None:
                _write_frame(folder, output.layout, stems[number], dict(zip(names, masks, strict=True)))
            for writer, mask in zip(writers, masks, strict=bool(writers)):
                writer.write(np.repeat(mask[..., None], 3, 2))
            progress((number + 1) / count)
    return written


def _videos(matte: Path | None, names: tuple[str, ...]) -> list[Path]:
    if matte is None:
        return []
    return [matte] if len(names) == 1 else [matte.with_name(f"{matte.stem}-{name}{matte.suffix}") for name in names]


def _stems(made: MasksAlone) -> list[str]:
    own = [made.info.names[frame] for frame in made.used] if made.info.names else []
    return own if len(set(own)) == len(made.used) else [f"{frame:05d}" for frame in made.used]


def _full_size(
    made: MasksAlone, hints: dict[str, ObjectHints], soft: bool
) -> Iterator[UInt8[np.ndarray, "objects h w"]]:
    """Frame by frame at the footage's own size: led by its colours, and hints hold exactly."""
    size, first = made.info.size, made.used.start
    options = made.info.description.options
    pictures = media.read_frames(made.info.path, first, made.used.stop, options=options)
    is_small = size != (made.frames.shape[2], made.frames.shape[1])
    for number, picture in enumerate(pictures):
        shares = made.masks.coverage[:, number]
        if is_small:
            objects = media.to_float(shares)
            rest = np.clip(1 - objects.sum(0), 0, 1)[None]
            guide = np.clip(media.to_float(picture)[..., :3], 0, 1)
            led = media.quantise(upsample(np.concatenate([objects, rest]), guide)[:-1], 8)
            tiny = [index for index, mask in enumerate(shares) if (mask > 127).any() and not (led[index] > 127).any()]
            for index in tiny:  # what would vanish between the pixels stays as it was
                led[index] = resize(shares[index], size)
            shares = led
        if not soft:
            shares = np.where(shares > 127, np.uint8(255), np.uint8(0))
        yield np.stack(
            [
                held(mask, hints[name], first + number) if name in hints else mask
                for name, mask in zip(made.masks.names, shares, strict=True)
            ]
        )


def _write_frame(folder: Path, layout: Layout, stem: str, masks: dict[str, UInt8[np.ndarray, "h w"]]) -> None:
    if layout == "folders":
        for name, mask in masks.items():
            media.write_image(folder / name / f"{stem}.png", mask)
    elif layout == "exr":
        media.write_exr_channels(folder / f"{stem}.exr", masks)
    else:
        indices = np.zeros(next(iter(masks.values())).shape, np.uint8)
        for index, mask in reversed(list(enumerate(masks.values(), 1))):
            indices[mask > 127] = index
        image = Image.fromarray(indices, "P")
        image.putpalette(index_colours().ravel().tolist())
        image.save(folder / f"{stem}.png")
