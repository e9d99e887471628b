"""Folders of images, and patterns such as frames/%05d.png: which files are frames, in which order, of which numbers."""

import itertools
import re
from dataclasses import dataclass
from pathlib import Path

from layerloom.core.errors import LayerloomError
from layerloom.media.formats import IMAGE_SUFFIXES
from layerloom.media.limits import check_count

FRAME_FOLDERS = ("video_frames", "frames", "images", "JPEGImages")
"""Names under which a clip's folder keeps its frames."""

NUMBER = re.compile(r"%(?:0(\d{1,2}))?d")
"""The number in a pattern's name, as in frames/%05d.png."""


@dataclass(frozen=True)
class ImageSequence:
    """Frames in order. path: the folder or pattern that names them. numbers: of the files, where all have their own."""

    path: Path
    files: tuple[Path, ...]
    numbers: tuple[int, ...] | None


def is_pattern(path: Path) -> bool:
    """Whether a file's name stands for numbered ones: it holds one %d or %05d. A % elsewhere is a letter."""
    return len(NUMBER.findall(path.name)) == 1


def find_sequence(path: Path) -> ImageSequence:
    """The images of a folder, in natural order (2 before 10), or those that a pattern names, by number.

    A folder without images of its own may hold them in one sub-folder named as in `FRAME_FOLDERS`. LayerloomError.
    """
    if is_pattern(path) and not path.exists():
        files = files_of_pattern(path)
        if not files:
            raise LayerloomError(f"{path}: no files of this pattern")
        check_count(path, len(files))
        return ImageSequence(path, tuple(file for _, file in files), tuple(number for number, _ in files))
    folder, files = _image_files(path)
    check_count(folder, len(files))
    return ImageSequence(folder, tuple(files), file_numbers(files))


def files_of_pattern(pattern: Path) -> list[tuple[int, Path]]:
    """Numbers and files that a pattern could have made, by number."""
    match = NUMBER.search(pattern.name)
    if match is None or not pattern.parent.is_dir():
        return []
    before, after = pattern.name[: match.start()], pattern.name[match.end() :]
    width = int(match[1] or 1)
    digits = rf"(\d{{{width},18}})"
    found = (
        (file, re.fullmatch(re.escape(before) + digits + re.escape(after), file.name))
        for file in pattern.parent.iterdir()
    )
    return sorted((int(number[1]), file) for file, number in found if number)


def file_numbers(files: list[Path]) -> tuple[int, ...] | None:
    """Each file's last number; None unless all have one, rising, with the same name around it."""
    found = [re.fullmatch(r"(.*?)(\d{1,18})(\D*)", file.name) for file in files]
    matches = [match for match in found if match]
    if len(matches) < len(files) or len({(match[1], match[3]) for match in matches}) > 1:
        return None
    numbers = tuple(int(match[2]) for match in matches)
    return numbers if all(a < b for a, b in itertools.pairwise(numbers)) else None


def missing_numbers(numbers: tuple[int, ...] | None) -> str:
    """Numbers that a sequence lacks, in words; empty if none, or if it counts in equal steps."""
    if numbers is None or len(numbers) < 3:
        return ""
    steps = [b - a for a, b in itertools.pairwise(numbers)]
    if len(set(steps)) == 1:
        return ""
    gaps = [(a + 1, b - 1) for a, b in itertools.pairwise(numbers) if b - a > 1]
    words = [str(first) if first == last else f"{first} to {last}" for first, last in gaps[:3]]
    return ", ".join(words) + (" and others" if len(gaps) > 3 else "")


def _image_files(path: Path) -> tuple[Path, list[Path]]:
    named = [path / name for name in FRAME_FOLDERS if (path / name).is_dir()]
    found = [(folder, files) for folder in [path, *named] if (files := images_in(folder))]
    if found and (found[0][0] == path or len(found) == 1):
        return found[0]
    if found:
        raise LayerloomError(
            f"{path}: several folders of frames ({', '.join(f.name for f, _ in found)}); name one of them"
        )
    raise LayerloomError(f"{path}: the folder holds no images ({', '.join(sorted(IMAGE_SUFFIXES))})")


def images_in(folder: Path) -> list[Path]:
    """A folder's images in natural order; hidden files are none."""
    files = [f for f in folder.iterdir() if f.suffix.lower() in IMAGE_SUFFIXES and not f.name.startswith(".")]
    return sorted(files, key=_natural_order)


def _natural_order(file: Path) -> tuple[list[tuple[int, str]], str]:
    parts = re.split(r"([0-9]+)", file.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], file.name
