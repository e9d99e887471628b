"""Masks of all frames in one file: annotations in JSON, arrays in a .npz."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.data.clip import check_layer_names
from layerloom.prepare.masks.annotations import FrameMask, draw, read_annotations
from layerloom.prepare.masks.arrays import as_coverage, read_arrays
from layerloom.prepare.masks.numbering import number_frames

DOCUMENT_SUFFIXES = (".json", ".npz")


@dataclass(frozen=True)
class MaskSource:
    """What masks are read for.

    frames: of the source, that are used. size: at training. source_frames: how many the source has. names: of its own
    files, without suffix, where it is a folder of images.
    """

    frames: range
    size: Size
    source_frames: int | None = None
    names: Sequence[str] = ()


def document_masks(path: Path, source: MaskSource) -> Iterator[tuple[str, int, UInt8[np.ndarray, "_ _"]]]:
    """Each object's masks in the frames used: its name, the source's frame, 0…255 at the file's own size.

    LayerloomError for files that cannot be read or do not fit the source.
    """
    return _annotated(path, source) if path.suffix.lower() == ".json" else _arrays(path, source)


def _annotated(path: Path, source: MaskSource) -> Iterator[tuple[str, int, UInt8[np.ndarray, "_ _"]]]:
    by_file: dict[str, dict[str, list[FrameMask]]] = {}
    for mask in read_annotations(path):
        by_file.setdefault(mask.name, {}).setdefault(mask.file, []).append(mask)
    check_layer_names(tuple(by_file))
    # A name may hold dots: the suffix is for `stem` to take away.
    series = {name: [path.with_name(f"{file}.json") for file in files] for name, files in by_file.items()}
    numbered = number_frames(series, source.frames, source.source_frames, source.names)
    for name, places in numbered.items():
        for frame, file in places.items():
            if frame in source.frames:
                drawn = [draw(path, mask) for mask in by_file[name][file.stem]]
                if any(each.shape != drawn[0].shape for each in drawn):
                    raise LayerloomError(f"{path}: pictures of several sizes in {file.stem}")
                yield name, frame, np.max(drawn, 0)


def _arrays(path: Path, source: MaskSource) -> Iterator[tuple[str, int, UInt8[np.ndarray, "_ _"]]]:
    objects = read_arrays(path)
    check_layer_names([each.name for each in objects])
    wanted = source.source_frames or source.frames.stop
    for each in objects:
        if len(each.masks) != wanted:
            raise LayerloomError(f"{path}: {len(each.masks)} frames of '{each.name}' for {wanted} of the source")
        for frame in source.frames:
            yield each.name, frame, as_coverage(path, each.masks[frame])
