"""Masks a user gives: every layout of files there is, read, numbered and resized."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Num, UInt8
from PIL import Image

from layerloom import media
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.imaging import resize
from layerloom.core.parallel import do_in_threads, in_threads
from layerloom.data.clip import Masks, check_layer_names
from layerloom.media.formats import IMAGE_SUFFIXES, PILLOW_FORMATS, image_header, kind_of
from layerloom.prepare.masks.documents import DOCUMENT_SUFFIXES, MaskSource, document_masks
from layerloom.prepare.masks.numbering import number_frames

VOID_INDEX = 255  # palette images of segmentation datasets mark undecided pixels with it
STRAY_SHARE = 1e-3
"""Of the largest object: an index of fewer pixels comes from smoothing a palette image, and is undecided."""
LEAST_PIXELS = 16
"""Of an object, at training size, in the frame where it is largest."""
FULL_COVERAGE = 128
"""A grey mask reaches at least this, of 255, where its object is."""


def load_masks(
    directory: str | Path,
    frames: range,
    size: Size,
    source_frames: int | None = None,
    names: Sequence[str] = (),
    on_note: Callable[[str], None] = lambda note: None,
) -> Masks:
    """Read the masks of the source's `frames` and resize them to the training `size` = (width, height).

    `directory` holds one folder of images, or one matte video, per object (`horse/00000.png`, `horse.mp4`: the names
    are the objects'), or one series of images: grey ones are a single object, `object`; indexed-palette ones hold an
    object per index (`object1`, …), 255 being undecided. It may be a matte video itself, or annotations in JSON (COCO,
    YouTube-VIS) or arrays in a .npz: see `annotations` and `arrays`. Images are of any kind that
    `media.read_image` reads. Grey values keep their softness; of colour palettes only the index counts. Images with
    transparency are read by their alpha.

    Which frame a file is for: see `number_frames`; `names` are those of the source's own files. Frames without a file
    have coverage 0 and trust 0. A matte video has as many frames as the source. Objects are front to back in the order
    of their names, and where two overlap the one in front keeps the pixel.

    Raises LayerloomError for whatever does not fit; with `source_frames` given also for numbers past the source's end.
    `on_note` is told what was taken for undecided.
    """
    directory = Path(directory)
    source = MaskSource(frames, size, source_frames, names)
    is_document = directory.is_file() and directory.suffix.lower() in DOCUMENT_SUFFIXES
    videos = {} if is_document else _videos(directory)
    if is_document:
        masks = _load_document(directory, source)
    elif videos:
        masks = _load_videos(videos, source)
    else:
        masks = _load_files(directory, source, on_note)
    check_objects(directory, masks)
    return masks


def _load_files(directory: Path, source: MaskSource, on_note: Callable[[str], None]) -> Masks:
    frames, size = source.frames, source.size
    numbered = number_frames(_series(directory), frames, source.source_frames, source.names)
    used = {name: {n - frames.start: p for n, p in files.items() if n in frames} for name, files in numbered.items()}
    if not any(used.values()):
        numbers = [number for files in numbered.values() for number in files]
        raise LayerloomError(
            f"{directory}: masks are numbered {min(numbers)} to {max(numbers)},"
            f" but the frames used are {frames[0]} to {frames[-1]}"
        )
    mask_size = _common_size([path for files in used.values() for path in files.values()])
    _check_aspect(directory, mask_size, size)
    if _is_indexed(used):
        return _load_indexed(directory, used[""], source, on_note)
    objects = {name or "object": files for name, files in used.items()}
    masks = _missing_masks(tuple(objects), len(frames), size)
    for i, files in enumerate(objects.values()):
        read = in_threads(lambda path: resize(_read_grey(path), size), files.values())
        for frame, mask in zip(files, read, strict=True):
            masks.coverage[i, frame] = mask
            masks.trust[i, frame] = 255
    return _laid_over(directory, masks)


def _series(directory: Path) -> dict[str, list[Path]]:
    """Image files per object, sorted; a single series has the empty name."""
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


def _videos(directory: Path) -> dict[str, Path]:
    """Matte videos by object: the file itself, or those of a folder that holds nothing else to read."""
    if directory.is_file():
        return {"object": directory}
    if not directory.is_dir():
        raise LayerloomError(f"{directory}: no such folder of masks")
    files = [path for path in sorted(directory.iterdir()) if path.is_file() and path.suffix.lower() in VIDEO_SUFFIXES]
    if not files or _images(directory):
        return {}
    check_layer_names([path.stem for path in files])
    return {path.stem: path for path in files}


VIDEO_SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"}


def _load_videos(videos: Mapping[str, Path], source: MaskSource) -> Masks:
    frames, size = source.frames, source.size
    masks = _missing_masks(tuple(videos), len(frames), size)
    masks.trust[:] = 255
    for i, path in enumerate(videos.values()):
        info = media.probe(path)
        if info.frames != (source.source_frames or info.frames) or info.frames < frames.stop:
            raise LayerloomError(
                f"{path}: {info.frames} frames of masks for {source.source_frames or frames.stop} of the source"
            )
        _check_aspect(path, info.size, size)
        alpha = info.description.alpha != "none"
        pictures = media.read_frames(path, frames.start, frames.stop, alpha=alpha)
        for frame, picture in enumerate(pictures):
            masks.coverage[i, frame] = resize(_grey(picture, path, is_video=True), size)
    return _laid_over(next(iter(videos.values())), masks)


def _load_document(path: Path, source: MaskSource) -> Masks:
    """Frames of which nothing is said are unknown; where some object is shown, the others are not."""
    found: dict[str, dict[int, UInt8[np.ndarray, "h w"]]] = {}
    for name, frame, mask in document_masks(path, source):
        _check_aspect(path, (mask.shape[1], mask.shape[0]), source.size)
        found.setdefault(name, {})[frame - source.frames.start] = resize(mask, source.size)
    if not found:
        raise LayerloomError(f"{path}: holds no masks of the frames used")
    masks = _missing_masks(tuple(sorted(found)), len(source.frames), source.size)
    for i, name in enumerate(masks.names):
        for frame, mask in found[name].items():
            masks.coverage[i, frame] = mask
            masks.trust[:, frame] = 255
    return _laid_over(path, masks)


def _common_size(paths: Sequence[Path]) -> Size:
    sizes = [header.size for header in in_threads(image_header, paths)]
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
    return any(_palette_indices(path) is not None for path in used.get("", {}).values())


def _palette_indices(path: Path) -> UInt8[np.ndarray, "h w"] | None:
    """The indices of an image with a colour palette; a palette of greys is just a grey image. LayerloomError."""
    kind = kind_of(path)
    if kind not in ("png", "gif", "tiff", "bmp"):
        return None
    try:
        with Image.open(path, formats=[PILLOW_FORMATS[kind]]) as image:
            if image.mode != "P":
                return None
            palette = np.array(image.getpalette("RGB")).reshape(-1, 3)
            return np.asarray(image) if (palette != palette[:, :1]).any() else None
    except Exception as error:  # Parsers raise whatever they meet in a damaged file; another reader may know this kind.
        if kind == "tiff":
            return None
        raise LayerloomError(f"{path}: not a readable image ({error})") from error


def _load_indexed(
    directory: Path, files: Mapping[int, Path], source: MaskSource, on_note: Callable[[str], None]
) -> Masks:
    images = dict(zip(files, in_threads(_read_indices, files.values()), strict=True))
    counts = np.sum(list(in_threads(_count_indices, images.values())), 0)
    present = [int(index) for index in np.flatnonzero(counts) if index not in (0, VOID_INDEX)]
    if not present:
        only = f"; index {VOID_INDEX} marks undecided pixels" if counts[VOID_INDEX] else ""
        raise LayerloomError(f"{directory}: all masks are empty{only}")
    largest = max(counts[index] for index in present)
    indices = [index for index in present if counts[index] >= STRAY_SHARE * largest]
    strays = [index for index in present if index not in indices]
    if counts[VOID_INDEX]:
        on_note(f"palette index {VOID_INDEX} of the masks is undecided: these pixels are found by learning")
    if strays:
        few = ", ".join(str(index) for index in strays[:8]) + (", …" if len(strays) > 8 else "")
        on_note(f"palette indices {few} of the masks have next to no pixels: taken for undecided")
    masks = _missing_masks(tuple(f"object{index}" for index in indices), len(source.frames), source.size)

    def store(frame: int) -> None:
        for i, index in enumerate(indices):
            masks.coverage[i, frame] = resize((images[frame] == index).astype(np.uint8) * 255, source.size)
        undecided = np.isin(images[frame], [VOID_INDEX, *strays]).astype(np.uint8) * 255
        masks.trust[:, frame] = 255 - resize(undecided, source.size)

    do_in_threads(store, images)
    return masks


def _read_indices(path: Path) -> UInt8[np.ndarray, "h w"]:
    indices = _palette_indices(path)
    if indices is None:
        raise LayerloomError(f"{path}: not an indexed-palette image, as others in its folder are")
    return indices


def _count_indices(image: UInt8[np.ndarray, "h w"]) -> Num[np.ndarray, "256"]:
    return np.bincount(image.ravel(), minlength=256)


def _laid_over(directory: Path, masks: Masks) -> Masks:
    """Each object with what those in front of it leave to it. LayerloomError for empty ones."""
    for name, coverage in zip(masks.names, masks.coverage, strict=True):
        brightest = int(coverage.max())
        if brightest == 0:
            raise LayerloomError(
                f"{directory}: all masks of '{name}' are empty in the frames used; leave its folder out"
            )
        if brightest < FULL_COVERAGE:
            raise LayerloomError(f"{directory}: masks of '{name}' reach only {brightest} of 255; full coverage is 255")
    for frame in range(masks.coverage.shape[1]):
        masks.coverage[:, frame] = without_overlaps(masks.coverage[:, frame])
    for i, name in enumerate(masks.names):
        if not masks.coverage[i].any():
            raise LayerloomError(
                f"{directory}: '{name}' lies wholly behind objects in front of it; objects are front to back by name"
            )
    return masks


def check_objects(directory: Path | str, masks: Masks) -> None:
    """LayerloomError for objects too small to be learned."""
    for name, coverage in zip(masks.names, masks.coverage, strict=True):
        pixels = int((coverage >= FULL_COVERAGE).sum((1, 2)).max())
        if pixels < LEAST_PIXELS:
            raise LayerloomError(
                f"{directory}: '{name}' covers {pixels} pixels of {_times(coverage.shape[:0:-1])} where it is largest;"
                f" at least {LEAST_PIXELS} are needed: leave it out, or learn at a larger size"
            )


def _missing_masks(names: tuple[str, ...], frames: int, size: Size) -> Masks:
    shape = (len(names), frames, size[1], size[0])
    return Masks(names, np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))


def _read_grey(path: Path) -> UInt8[np.ndarray, "h w"]:
    indices = _palette_indices(path)
    if indices is not None:
        return (indices > 0).astype(np.uint8) * 255
    return _grey(media.read_image(path), path)


COLOUR_TOLERANCE = 12 / 255
"""By which colours of a matte video may differ: codecs do not keep grey exactly."""


def _grey(pixels: Num[np.ndarray, "h w c"], path: Path, is_video: bool = False) -> UInt8[np.ndarray, "h w"]:
    """A mask's coverage: its alpha where it has any transparency, else its grey."""
    values = np.nan_to_num(media.to_float(pixels))
    if values.shape[2] == 4 and (values[..., 3] < 1).any():
        return media.quantise(values[..., 3], 8)
    spread = values[..., :3].max(-1) - values[..., :3].min(-1)
    if values.shape[2] < 3 or (spread > (COLOUR_TOLERANCE if is_video else 0)).any():
        raise LayerloomError(
            f"{path}: a colour image; masks are grey (255 = object), transparent or indexed-palette images"
        )
    return media.quantise(values[..., 1], 8)


def without_overlaps(coverage: UInt8[np.ndarray, "objects h w"]) -> UInt8[np.ndarray, "objects h w"]:
    """Leave to each object only what those before it do not cover."""
    free, kept = np.full(coverage.shape[1:], 255, np.uint8), np.empty_like(coverage)
    for i, mask in enumerate(coverage):
        kept[i] = np.minimum(mask, free)
        free -= kept[i]
    return kept
