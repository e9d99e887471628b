"""Masks a user gives: every layout of files there is, read, numbered and resized."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import do_in_threads, in_threads
from layerloom.data.clip import Masks, check_layer_names

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
VOID_INDEX = 255  # palette images of segmentation datasets mark undecided pixels with it


def load_masks(directory: str | Path, frames: range, size: Size, source_frames: int | None = None) -> Masks:
    """Read the masks of the source's `frames` and resize them to the training `size` = (width, height).

    `directory` holds one folder of images per object (`horse/00000.png`: its names are the objects'), or one series of
    images: grey ones are a single object, `object`; indexed-palette ones hold an object per index (`object1`, …),
    255 being undecided. Grey values keep their softness; of colour palettes only the index counts. Images with
    transparency are read by their alpha.

    A file name's last number is the source's frame, counted from 0. Files numbered without a gap from 1, or from a
    number past the last frame used (1001, …), are counted from there if they reach that frame. Frames without a file
    have coverage 0 and trust 0; files without numbers must be as many as the frames. Objects are front to back in the
    order of their names, and where two overlap the one in front keeps the pixel.

    Raises LayerloomError for whatever does not fit; with `source_frames` given also for numbers past the source's end.
    """
    directory = Path(directory)
    series = _series(directory)
    numbered = _number_frames(series, frames, source_frames)
    used = {name: {n - frames.start: p for n, p in files.items() if n in frames} for name, files in numbered.items()}
    if not any(used.values()):
        first, last = _span(numbered)
        raise LayerloomError(
            f"{directory}: masks are numbered {first} to {last}, but the frames used are {frames[0]} to {frames[-1]}"
        )
    mask_size = _common_size([path for files in used.values() for path in files.values()])
    _check_aspect(directory, mask_size, size)
    if _is_indexed(used):
        return _load_indexed(directory, used[""], len(frames), size)
    return _load_grey(directory, {name or "object": files for name, files in used.items()}, len(frames), size)


def _series(directory: Path) -> dict[str, list[Path]]:
    """Image files per object, sorted; a single series has the empty name."""
    if not directory.is_dir():
        raise LayerloomError(f"{directory}: no such folder of masks")
    images = _images(directory)
    folders = {path.name: _images(path) for path in sorted(directory.iterdir()) if path.is_dir()}
    folders = {name: files for name, files in folders.items() if files and not name.startswith(".")}
    if images and folders:
        raise LayerloomError(
            f"{directory}: holds both images and folders of images ({', '.join(folders)}); keep one kind"
        )
    if not images and not folders:
        raise LayerloomError(f"{directory}: holds no mask images ({', '.join(sorted(IMAGE_SUFFIXES))})")
    check_layer_names(tuple(folders))
    return folders or {"": images}


def _images(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES and not p.name.startswith("."))


def _number_frames(
    series: Mapping[str, list[Path]], frames: range, source_frames: int | None
) -> dict[str, dict[int, Path]]:
    """Source frame of each file, per object."""
    found = {path: re.search(r"(\d+)\D*$", path.stem) for files in series.values() for path in files}
    if any(match is None for match in found.values()):
        return {name: _in_order(files, frames) for name, files in series.items()}
    numbers = {path: int(match[1]) for path, match in found.items() if match}
    first = _first_number(set(numbers.values()), frames)
    numbered: dict[str, dict[int, Path]] = {}
    for name, files in series.items():
        numbered[name] = {}
        for path in files:
            frame = numbers[path] - first
            if source_frames is not None and frame >= source_frames:
                raise LayerloomError(
                    f"{path}: a mask for frame {frame}, but the source's last frame is {source_frames - 1}"
                )
            if frame in numbered[name]:
                raise LayerloomError(f"{path}: a second mask for frame {frame}, beside {numbered[name][frame].name}")
            numbered[name][frame] = path
    return numbered


def _in_order(files: list[Path], frames: range) -> dict[int, Path]:
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


def _span(numbered: Mapping[str, Mapping[int, Path]]) -> tuple[int, int]:
    numbers = [number for files in numbered.values() for number in files]
    return min(numbers), max(numbers)


def _open(path: Path, header_only: bool = False) -> Image.Image:
    try:
        with Image.open(path) as image:
            if not header_only:
                image.load()
            return image
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise LayerloomError(f"{path}: not a readable image ({error})") from error


def _common_size(paths: Sequence[Path]) -> Size:
    sizes = [_open(path, header_only=True).size for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise LayerloomError(f"{path}: {_times(size)}, but {paths[0].name} is {_times(sizes[0])}")
    return sizes[0]


def _times(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _check_aspect(directory: Path, mask_size: Size, size: Size) -> None:
    """Masks may be of any size, but of the frames' shape within 1 % (or what rounding the training size costs)."""
    expected_height = mask_size[1] * size[0] / mask_size[0]
    if abs(expected_height - size[1]) > max(0.01 * size[1], 2):
        raise LayerloomError(
            f"{directory}: masks are {_times(mask_size)}, another shape than the frames ({_times(size)} for learning)"
        )


def _is_indexed(used: Mapping[str, Mapping[int, Path]]) -> bool:
    palettes = [path for path in used.get("", {}).values() if _open(path, header_only=True).mode == "P"]
    return any(_has_colour_palette(_open(path)) for path in palettes)


def _has_colour_palette(image: Image.Image) -> bool:
    """Whether this is an index image; a palette of greys is just a grey image."""
    if image.mode != "P":
        return False
    palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
    return bool((palette != palette[:, :1]).any())


def _load_indexed(directory: Path, files: Mapping[int, Path], frames: int, size: Size) -> Masks:
    images = dict(zip(files, in_threads(_read_indices, files.values()), strict=True))
    indices = sorted(set().union(*in_threads(_values, images.values())) - {0, VOID_INDEX})
    if not indices:
        raise LayerloomError(f"{directory}: all masks are empty")
    masks = _missing_masks(tuple(f"object{index}" for index in indices), frames, size)

    def store(frame: int) -> None:
        for i, index in enumerate(indices):
            masks.coverage[i, frame] = resize_mask((images[frame] == index).astype(np.uint8) * 255, size)
        masks.trust[:, frame] = 255 - resize_mask((images[frame] == VOID_INDEX).astype(np.uint8) * 255, size)

    do_in_threads(store, images)
    return masks


def _read_indices(path: Path) -> UInt8[np.ndarray, "h w"]:
    image = _open(path)
    if image.mode != "P":
        raise LayerloomError(f"{path}: not an indexed-palette image, as others in its folder are")
    return np.asarray(image)


def _values(image: UInt8[np.ndarray, "h w"]) -> set[int]:
    return set(np.flatnonzero(np.bincount(image.ravel())).tolist())


def _load_grey(directory: Path, objects: Mapping[str, Mapping[int, Path]], frames: int, size: Size) -> Masks:
    masks = _missing_masks(tuple(objects), frames, size)
    for i, (name, files) in enumerate(objects.items()):
        read = in_threads(lambda path: resize_mask(_read_grey(path), size), files.values())
        for frame, mask in zip(files, read, strict=True):
            masks.coverage[i, frame] = mask
            masks.trust[i, frame] = 255
        brightest = int(masks.coverage[i].max())
        if brightest == 0:
            raise LayerloomError(
                f"{directory}: all masks of '{name}' are empty in the frames used; leave its folder out"
            )
        if brightest < 16:
            raise LayerloomError(f"{directory}: masks of '{name}' reach only {brightest} of 255; full coverage is 255")
    for frame in range(frames):
        masks.coverage[:, frame] = without_overlaps(masks.coverage[:, frame])
    return masks


def _missing_masks(names: tuple[str, ...], frames: int, size: Size) -> Masks:
    shape = (len(names), frames, size[1], size[0])
    return Masks(names, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    image = _open(path)
    if image.mode.startswith("I"):  # 16 bit
        return (np.clip(np.asarray(image), 0, 65535) / 257).round().astype(np.uint8)
    if _has_colour_palette(image):
        return (np.asarray(image) > 0).astype(np.uint8) * 255
    colour = np.asarray(image.convert("RGBA"))
    if (colour[..., 3] < 255).any():
        return colour[..., 3].copy()
    if (colour[..., :3] != colour[..., :1]).any():
        raise LayerloomError(
            f"{path}: a colour image; masks are grey (255 = object), transparent or indexed-palette images"
        )
    return colour[..., 0].copy()


def resize_mask(mask: UInt8[np.ndarray, "h0 w0"], size: Size) -> UInt8[np.ndarray, "h w"]:
    shrinking = mask.shape[1] > size[0]
    return cv2.resize(mask, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def without_overlaps(coverage: UInt8[np.ndarray, "objects h w"]) -> UInt8[np.ndarray, "objects h w"]:
    """Leave to each object only what those before it do not cover."""
    free, kept = np.full(coverage.shape[1:], 255, np.uint8), np.empty_like(coverage)
    for i, mask in enumerate(coverage):
        kept[i] = np.minimum(mask, free)
        free -= kept[i]
    return kept
