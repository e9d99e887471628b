"""Masks from arrays in a .npz, as segmenters leave them: of each name a video of one object, or all in one array."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8

from layerloom.core.errors import LayerloomError
from layerloom.media.limits import check_count, check_size

UNNAMED = ("masks", "mask", "arr_0", "segmentation", "segmentations")
"""Keys that say nothing of the object."""
_UNREADABLE = (
    *(zipfile.BadZipFile, zlib.error, struct.error, ValueError, OverflowError, KeyError),
    *(OSError, EOFError, NotImplementedError, RuntimeError),
)
"""What zipfile and NumPy raise for archives whose tables lie: sizes, places, kinds of packing, encryption."""


class ObjectArray(NamedTuple):
    """An object's masks, bool, integer or float of any scale that `as_coverage` knows."""

    name: str
    masks: Shaped[np.ndarray, "t h w"]


def read_arrays(path: Path) -> list[ObjectArray]:
    """All objects of a .npz. Arrays are `t h w`, or `objects t h w`, of bool, whole numbers or floats.

    Types, shapes and sizes are looked at before anything is read; nothing in the file is run. LayerloomError.
    """
    found: list[ObjectArray] = []
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            check_count(path, len(entries), "arrays")
            for entry in entries:
                _check_header(path, archive, entry)
            with np.load(path, allow_pickle=False) as arrays:
                for key in arrays.files:
                    found += _objects(key, arrays[key])
    except _UNREADABLE as error:
        raise LayerloomError(f"{path}: not readable arrays ({error})") from None
    if not found:
        raise LayerloomError(f"{path}: holds no arrays")
    return found


def _check_header(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    name = entry.filename.removesuffix(".npy")
    with archive.open(entry) as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read(file)
    if dtype.kind not in "buif" or len(shape) not in (3, 4) or min(shape) < 1:
        sizes = "×".join(str(side) for side in shape) or "1"
        raise LayerloomError(
            f"{path}: '{name}' is {sizes} of {dtype}; masks are frames × height × width, or objects before these,"
            " of bool, whole numbers or floats"
        )
    check_size(path, (shape[-1], shape[-2]))
    check_count(path, shape[-3], "frames")
    if len(shape) == 4:
        check_count(path, shape[0], "layers")
    if np.prod([int(side) for side in shape], dtype=object) * dtype.itemsize > entry.file_size:
        raise LayerloomError(f"{path}: '{name}' is shorter than it says")


def _objects(key: str, array: Shaped[np.ndarray, "..."]) -> list[ObjectArray]:
    name = "object" if key in UNNAMED else key
    if array.ndim == 3:
        return [ObjectArray(name, array)]
    return [ObjectArray(f"{name}{number}", masks) for number, masks in enumerate(array, 1)]


def as_coverage(path: Path, masks: Shaped[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """0…255: floats are shares in [0, 1]; of whole numbers anything but 0 is the object, unless some exceed 1."""
    if masks.dtype.kind == "f":
        shares = masks.astype(np.float32)
        if not ((shares >= 0) & (shares <= 1)).all():
            raise LayerloomError(f"{path}: floats are shares from 0 to 1; of scores, say which are inside (scores > 0)")
        return np.round(255 * shares).astype(np.uint8)
    if masks.dtype == np.uint8 and masks.max() > 1:
        return masks
    return (masks != 0).astype(np.uint8) * 255
