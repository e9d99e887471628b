"""Masks from annotation files in JSON: COCO's images and YouTube-VIS's videos, with run lengths or polygons.

    {"images": [{"id", "file_name", "width", "height"}], "annotations": [{"image_id", "category_id", "segmentation"}],
     "categories": [{"id", "name"}]}
    {"videos": [{"id", "width", "height", "file_names"}], "annotations": [{"category_id", "segmentations": […]}]}

A segmentation is {"size": [h, w], "counts": run lengths down the columns, as a list or COCO's text}, or polygons
[[x, y, x, y, …], …]. An object is a track (`track_id`) where annotations name one, an annotation of a video, or a
category: several of a category in an image are one object then.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import msgspec
import numpy as np
from jaxtyping import UInt8

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.records import read_text
from layerloom.media.limits import check_size

LARGEST_COORDINATE = 1e6
MOST_POINTS = 1_000_000
"""Of one segmentation's polygons."""


class RunLengths(msgspec.Struct):
    size: tuple[int, int]
    counts: list[int] | str


class _Annotation(msgspec.Struct):
    image_id: int | str | None = None
    category_id: int | None = None
    track_id: int | str | None = None
    segmentation: RunLengths | list[list[float]] | None = None
    segmentations: list[RunLengths | list[list[float]] | None] | None = None


class _Image(msgspec.Struct):
    id: int | str
    width: int
    height: int
    file_name: str = ""


class _Category(msgspec.Struct):
    id: int
    name: str


class _Video(msgspec.Struct):
    width: int
    height: int
    file_names: list[str] = []


class _File(msgspec.Struct):
    annotations: list[_Annotation]
    images: list[_Image] = []
    videos: list[_Video] = []
    categories: list[_Category] = []


class FrameMask(msgspec.Struct, frozen=True):
    """One object in one file of footage, not yet drawn. file: its name, or the number of the frame as text."""

    name: str
    file: str
    size: Size
    segmentation: RunLengths | list[list[float]]


def read_annotations(path: Path) -> list[FrameMask]:
    """All segmentations of a file. LayerloomError, which names it, for any other file."""
    try:
        found = msgspec.json.decode(read_text(path), type=_File)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise LayerloomError(f"{path}: not annotations as COCO or YouTube-VIS have them ({error})") from None
    masks = list(_of_videos(path, found) if found.videos else _of_images(path, found))
    if not masks:
        raise LayerloomError(f"{path}: holds no segmentations")
    return masks


def _of_images(path: Path, found: _File) -> Iterator[FrameMask]:
    images = {image.id: image for image in found.images}
    names = {category.id: category.name for category in found.categories}
    for each in found.annotations:
        if each.segmentation is None or each.segmentation == []:
            continue
        image = images.get(each.image_id) if each.image_id is not None else None
        if image is None:
            raise LayerloomError(f"{path}: an annotation of image {each.image_id}, which is not among its images")
        file = Path(image.file_name).stem or str(image.id)
        yield FrameMask(_name(each, names), file, (image.width, image.height), each.segmentation)


def _of_videos(path: Path, found: _File) -> Iterator[FrameMask]:
    if len(found.videos) > 1:
        raise LayerloomError(f"{path}: holds {len(found.videos)} videos; one is wanted")
    (video,) = found.videos
    names = {category.id: category.name for category in found.categories}
    plain = [_name(each, names) for each in found.annotations]
    for number, each in enumerate(found.annotations):
        name = plain[number] if plain.count(plain[number]) == 1 else f"{plain[number]}-{number + 1}"
        for frame, segmentation in enumerate(each.segmentations or ()):
            if segmentation is not None and segmentation != []:
                file = Path(video.file_names[frame]).stem if frame < len(video.file_names) else str(frame)
                yield FrameMask(name, file, (video.width, video.height), segmentation)


def _name(each: _Annotation, categories: dict[int, str]) -> str:
    """As a layer may be called."""
    category = categories.get(each.category_id, "object") if each.category_id is not None else "object"
    name = category if each.track_id is None else f"{category}-{each.track_id}"
    return re.sub(r"[^\w.-]", "-", name)[:200].lstrip(".") or "object"


def draw(path: Path, mask: FrameMask) -> UInt8[np.ndarray, "h w"]:
    """255 where the object is. LayerloomError for segmentations that do not fit their picture."""
    width, height = mask.size
    if min(mask.size) < 1:
        raise LayerloomError(f"{path}: a picture of {width}x{height} pixels")
    check_size(path, mask.size)
    if isinstance(mask.segmentation, RunLengths):
        if mask.segmentation.size != (height, width):
            rows, columns = mask.segmentation.size
            raise LayerloomError(f"{path}: run lengths of {columns}x{rows} for a picture of {width}x{height}")
        try:
            return decode_run_lengths(mask.segmentation.counts, (width, height))
        except ValueError as error:
            raise LayerloomError(f"{path}: '{mask.name}' in {mask.file}: {error}") from None
    return _fill(path, mask.segmentation, mask.size)


def decode_run_lengths(counts: Sequence[int] | str, size: Size) -> UInt8[np.ndarray, "h w"]:
    """255 in every second run, the first being outside; runs go down the columns. ValueError for wrong ones."""
    lengths = np.array(_from_text(counts) if isinstance(counts, str) else counts, np.int64)
    width, height = size
    if lengths.size and (lengths.min() < 0 or lengths.max() > width * height):
        raise ValueError("run lengths are negative or longer than the picture")
    if lengths.sum() != width * height:
        raise ValueError(f"run lengths add up to {lengths.sum()}, not {width * height}")
    values = np.arange(len(lengths)) % 2 * 255
    return np.ascontiguousarray(np.repeat(values.astype(np.uint8), lengths).reshape(width, height).T)


def _from_text(text: str) -> list[int]:
    """COCO's text: five bits a letter from '0' on, the sixth says that more follow; from the fourth, differences."""
    found: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 35:
            raise ValueError("run lengths hold letters that they cannot have")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        found.append(value + (found[-2] if len(found) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths end within a number")
    return found


def _fill(path: Path, polygons: Sequence[Sequence[float]], size: Size) -> UInt8[np.ndarray, "h w"]:
    mask = np.zeros(size[::-1], np.uint8)
    if sum(map(len, polygons)) > 2 * MOST_POINTS:
        raise LayerloomError(f"{path}: polygons of more than {MOST_POINTS} points")
    for polygon in polygons:
        points = np.array(polygon, np.float64)
        if points.size < 6 or points.size % 2 or not (np.abs(points) <= LARGEST_COORDINATE).all():
            raise LayerloomError(f"{path}: a polygon has x, y of three points at least, within {LARGEST_COORDINATE:g}")
        # OpenCV's whole positions are pixels' centres; four bits are fractions of a pixel.
        fixed = np.round(16 * (points.reshape(-1, 2) - 0.5)).astype(np.int32)
        cv2.fillPoly(mask, [fixed], 255, shift=4)
    return mask
