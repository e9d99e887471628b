"""Masks a user gives: read them, fill missing frames along the flow, and say how far each pixel can be trusted."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from layerloom.clip import FlowField, Masks, check_layer_names
from layerloom.conventions import Size, rescale_positions
from layerloom.errors import UserError
from layerloom.parallel import do_in_threads, in_threads

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}
OUTLINE_TRUST = 0.25  # of a given mask along its outline: it may become soft there, but not wander off
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

    Raises UserError for whatever does not fit; with `source_frames` given also for numbers past the source's end.
    """
    directory = Path(directory)
    series = _series(directory)
    numbered = _number_frames(series, frames, source_frames)
    used = {name: {n - frames.start: p for n, p in files.items() if n in frames} for name, files in numbered.items()}
    if not any(used.values()):
        first, last = _span(numbered)
        raise UserError(
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
        raise UserError(f"{directory}: no such folder of masks")
    images = _images(directory)
    folders = {path.name: _images(path) for path in sorted(directory.iterdir()) if path.is_dir()}
    folders = {name: files for name, files in folders.items() if files and not name.startswith(".")}
    if images and folders:
        raise UserError(f"{directory}: holds both images and folders of images ({', '.join(folders)}); keep one kind")
    if not images and not folders:
        raise UserError(f"{directory}: holds no mask images ({', '.join(sorted(IMAGE_SUFFIXES))})")
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
                raise UserError(f"{path}: a mask for frame {frame}, but the source's last frame is {source_frames - 1}")
            if frame in numbered[name]:
                raise UserError(f"{path}: a second mask for frame {frame}, beside {numbered[name][frame].name}")
            numbered[name][frame] = path
    return numbered


def _in_order(files: list[Path], frames: range) -> dict[int, Path]:
    if len(files) != len(frames):
        raise UserError(
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
        raise UserError(f"{path}: not a readable image ({error})") from error


def _common_size(paths: Sequence[Path]) -> Size:
    sizes = [_open(path, header_only=True).size for path in paths]
    for path, size in zip(paths, sizes, strict=True):
        if size != sizes[0]:
            raise UserError(f"{path}: {_times(size)}, but {paths[0].name} is {_times(sizes[0])}")
    return sizes[0]


def _times(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _check_aspect(directory: Path, mask_size: Size, size: Size) -> None:
    """Masks may be of any size, but of the frames' shape within 1 % (or what rounding the training size costs)."""
    expected_height = mask_size[1] * size[0] / mask_size[0]
    if abs(expected_height - size[1]) > max(0.01 * size[1], 2):
        raise UserError(
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
        raise UserError(f"{directory}: all masks are empty")
    masks = _missing_masks(tuple(f"object{index}" for index in indices), frames, size)

    def store(frame: int) -> None:
        for i, index in enumerate(indices):
            masks.coverage[i, frame] = _resize((images[frame] == index).astype(np.uint8) * 255, size)
        masks.trust[:, frame] = 255 - _resize((images[frame] == VOID_INDEX).astype(np.uint8) * 255, size)

    do_in_threads(store, images)
    return masks


def _read_indices(path: Path) -> UInt8[np.ndarray, "h w"]:
    image = _open(path)
    if image.mode != "P":
        raise UserError(f"{path}: not an indexed-palette image, as others in its folder are")
    return np.asarray(image)


def _values(image: UInt8[np.ndarray, "h w"]) -> set[int]:
    return set(np.flatnonzero(np.bincount(image.ravel())).tolist())


def _load_grey(directory: Path, objects: Mapping[str, Mapping[int, Path]], frames: int, size: Size) -> Masks:
    masks = _missing_masks(tuple(objects), frames, size)
    for i, (name, files) in enumerate(objects.items()):
        read = in_threads(lambda path: _resize(_read_grey(path), size), files.values())
        for frame, mask in zip(files, read, strict=True):
            masks.coverage[i, frame] = mask
            masks.trust[i, frame] = 255
        brightest = int(masks.coverage[i].max())
        if brightest == 0:
            raise UserError(f"{directory}: all masks of '{name}' are empty in the frames used")
        if brightest < 16:
            raise UserError(f"{directory}: masks of '{name}' reach only {brightest} of 255; full coverage is 255")
    for frame in range(frames):
        masks.coverage[:, frame] = _without_overlaps(masks.coverage[:, frame])
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
        raise UserError(f"{path}: a colour image; masks are grey (255 = object), transparent or indexed-palette images")
    return colour[..., 0].copy()


def _resize(mask: UInt8[np.ndarray, "h0 w0"], size: Size) -> UInt8[np.ndarray, "h w"]:
    shrinking = mask.shape[1] > size[0]
    return cv2.resize(mask, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)


def _without_overlaps(coverage: UInt8[np.ndarray, "objects h w"]) -> UInt8[np.ndarray, "objects h w"]:
    """Leave to each object only what those before it do not cover."""
    free, kept = np.full(coverage.shape[1:], 255, np.uint8), np.empty_like(coverage)
    for i, mask in enumerate(coverage):
        kept[i] = np.minimum(mask, free)
        free -= kept[i]
    return kept


class Link(NamedTuple):
    """Where another frame shows what this frame shows: for `cv2.remap`, whose pixel centres are at whole numbers."""

    frame: int
    distance: int
    x: Float32[np.ndarray, "h w"]
    y: Float32[np.ndarray, "h w"]
    confidence: Float32[np.ndarray, "h w"]

    def bring(self, image: np.ndarray) -> np.ndarray:
        """The other frame's `image` ("h w" or "h w c"), moved to where this frame shows the same."""
        return cv2.remap(image, self.x, self.y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def links_of(frame: int, flow: Sequence[FlowField], size: Size) -> Iterator[Link]:
    """All frames that the flow connects `frame` with, before and after it, at `size`; confidence in [0, 1]."""
    for field in flow:
        pairs = len(field.forward)
        if frame < pairs:
            yield _link(frame + field.step, field.step, field.forward[frame], field.forward_confidence[frame], size)
        if 0 <= (before := frame - field.step) < pairs:
            yield _link(before, field.step, field.backward[before], field.backward_confidence[before], size)


def _link(frame: int, distance: int, vectors: np.ndarray, confidence: UInt8[np.ndarray, "h0 w0"], size: Size) -> Link:
    field_size = (vectors.shape[1], vectors.shape[0])
    sureness = confidence.astype(np.float32) / 255
    if field_size != size:
        vectors = rescale_positions(cv2.resize(vectors.astype(np.float32), size), field_size, size)
        sureness = cv2.resize(sureness, size)
    x = np.arange(size[0], dtype=np.float32) + vectors[..., 0]
    y = np.arange(size[1], dtype=np.float32)[:, None] + vectors[..., 1]
    return Link(frame, distance, x, y, sureness)


def complete_masks(masks: Masks, flow: Sequence[FlowField]) -> Masks:
    """Fill missing frames (trust 0 everywhere) along the flow, and set how far each pixel can be trusted.

    Coverage of given frames is not touched. Trust is lowered in two places: to a quarter along the outline, rising
    to full 3 px from it, where a hard mask says nothing about softness; and where the masks that confident flow brings
    from other frames say something else (full up to a mean disagreement of 0.15, none from 0.4). So precise masks
    stay trusted up to their outline, while of masks that jitter or swell the sure inside and outside remain.
    A filled frame is the mean of the nearest known masks, weighted by the flow's confidence over the distance; its
    trust is at most half, and none where that mean is undecided. It takes no pixel from another object's given mask.
    """
    coverage, trust = masks.coverage.copy(), np.zeros_like(masks.trust)
    given = np.asarray(masks.trust.any((2, 3)))
    for i, known in enumerate(given):
        _fill_missing(coverage[i], known, flow)
    for frame in np.flatnonzero(~given.all(0)):
        order = np.argsort(~given[:, frame], kind="stable")  # what is filled gives way to what is given
        coverage[order, frame] = _without_overlaps(coverage[order, frame])
    small = _at_flow_size(coverage, flow)

    def set_trust(frame: int) -> None:
        doubts = _disagreement(small, given, frame, flow)
        for i, known in enumerate(given[:, frame]):
            if known:
                doubt = cv2.resize(doubts[i], coverage.shape[:1:-1])
                sureness = masks.trust[i, frame] * (1 - _ramp(doubt, 0.15, 0.4))
            else:
                decided = np.abs(coverage[i, frame] / np.float32(127.5) - 1)
                sureness = 128 * _ramp(decided, 0.5, 0.9) * given[i].any()
            from_outline = _ramp(_outline_distance(coverage[i, frame]), 1.0, 3.0)
            floor = OUTLINE_TRUST if known else 0.0
            trust[i, frame] = np.round(sureness * (floor + (1 - floor) * from_outline))

    do_in_threads(set_trust, range(coverage.shape[1]))
    return Masks(masks.names, coverage, trust)


def _at_flow_size(
    coverage: UInt8[np.ndarray, "objects t h w"], flow: Sequence[FlowField]
) -> UInt8[np.ndarray, "objects t _ _"]:
    """Masks as small as the flow, where it is smaller."""
    objects, frames, height, width = coverage.shape
    size = min((field.size for field in flow), default=(width, height))
    if size >= (width, height):
        return coverage
    small = np.empty((objects, frames, size[1], size[0]), np.uint8)

    def shrink(frame: int) -> None:
        for i in range(objects):
            small[i, frame] = _resize(coverage[i, frame], size)

    do_in_threads(shrink, range(frames))
    return small


def _ramp(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 up to `low`, 1 from `high`."""
    return np.clip((values - low) / (high - low), 0, 1)


def _outline_distance(mask: UInt8[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """Pixels to the nearest pixel on the other side of the outline: 1 for those along it."""
    inside = (mask > 127).astype(np.uint8)
    distances = (cv2.distanceTransform(side, cv2.DIST_L2, cv2.DIST_MASK_5) for side in (inside, 1 - inside))
    return np.maximum(*distances)


def _fill_missing(mask: UInt8[np.ndarray, "t h w"], known: Bool[np.ndarray, " t"], flow: Sequence[FlowField]) -> None:
    """Frame after frame away from the known ones, each from neighbours that lie nearer to a known one."""
    if not known.any():
        return
    away = np.abs(np.arange(len(known))[:, None] - np.flatnonzero(known)).min(1)
    for distance in range(1, away.max() + 1):

        def fill(frame: int, distance: int = distance) -> None:
            total, weights = np.zeros(mask.shape[1:], np.float32), np.zeros(mask.shape[1:], np.float32)
            for link in links_of(frame, flow, (mask.shape[2], mask.shape[1])):
                if away[link.frame] < distance:
                    weight = (link.confidence + 0.02) / (link.distance * (1 + away[link.frame]))
                    total += weight * link.bring(mask[link.frame])
                    weights += weight
            mask[frame] = np.round(total / np.maximum(weights, 1e-6))

        do_in_threads(fill, np.flatnonzero(away == distance).tolist())


def _disagreement(
    masks: UInt8[np.ndarray, "objects t h w"],
    known: Bool[np.ndarray, "objects t"],
    frame: int,
    flow: Sequence[FlowField],
) -> Float32[np.ndarray, "objects h w"]:
    """How far other frames' known masks, brought here, differ from it in the mean: 0…1; 0 where flow is unsure."""
    objects, _, height, width = masks.shape
    total = np.zeros((objects, height, width), np.float32)
    weights = np.full_like(total, 0.3)  # one uncertain neighbour alone cannot take trust away
    for link in links_of(frame, flow, (width, height)):
        weight = link.confidence**2 / link.distance
        for i in np.flatnonzero(known[:, link.frame]):
            total[i] += weight * (link.bring(masks[i, link.frame]).astype(np.float32) - masks[i, frame])
            weights[i] += weight
    return np.abs(total) / (255 * weights)
