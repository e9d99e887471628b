"""A contact sheet: frames of a clip with the objects' outlines and names, to see whether masks are right."""

import cv2
import numpy as np
from jaxtyping import UInt8

from layerloom.core.geometry import Size, fit_long_edge
from layerloom.core.imaging import image_size, resize
from layerloom.data.clip import Masks
from layerloom.data.selection import Selection

PICTURES = 12
COLUMNS = 4
PICTURE_LONG_EDGE = 400
GAP_PIXELS = 6
COLOURS = ((235, 64, 52), (52, 152, 235), (250, 200, 40), (120, 220, 90), (200, 90, 230), (70, 220, 210))
"""RGB, one object after the other, from the front; then from the first again."""
TINT = 0.25

Picture = UInt8[np.ndarray, "_ _ 3"]


def contact_sheet(
    frames: UInt8[np.ndarray, "t h w 3"],
    masks: Masks,
    selection: Selection | None = None,
    source: Size | None = None,
    first_frame: int = 0,
) -> Picture:
    """Frames over the clip, each with its number, and each object's outline, tint and name, and its hints.

    Up to PICTURES, evenly, those with hints first. source: of the footage, whose pixels hints are in. first_frame: the
    number of frames[0].
    """
    size = source or (frames.shape[2], frames.shape[1])
    pictures: list[Picture] = []
    for t in _chosen(len(frames), selection, first_frame):
        picture = _picture(frames[t], masks.names, masks.coverage[:, t], t + first_frame)
        if selection is not None:
            _draw_hints(picture, selection, t + first_frame, picture.shape[1] / size[0])
        pictures.append(picture)
    height, width = pictures[0].shape[:2]
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + GAP_PIXELS), columns * (width + GAP_PIXELS), 3), 24, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = (number // columns) * (height + GAP_PIXELS), (number % columns) * (width + GAP_PIXELS)
        sheet[top : top + height, left : left + width] = picture
    return sheet[:-GAP_PIXELS, :-GAP_PIXELS]


def _chosen(count: int, selection: Selection | None, first: int) -> list[int]:
    hinted = sorted({hint.frame - first for each in selection.objects for hint in each.hints} if selection else ())
    hinted = [hinted[i] for i in np.unique(np.linspace(0, len(hinted) - 1, PICTURES).round().astype(int)) if hinted]
    free = min(PICTURES, count) - len(hinted)
    chosen = set(hinted)
    for t in np.linspace(0, count - 1, max(free, 0)).round().astype(int):
        # An even one that has hints anyway gives its place to the nearest that has none.
        others = [other for other in range(count) if other not in chosen]
        if others:
            chosen.add(min(others, key=lambda other: abs(other - int(t))))
    return sorted(chosen)


def _draw_hints(picture: Picture, selection: Selection, frame: int, scale: float) -> None:
    """Boxes as rectangles; points as dots, light inside the object and dark outside; the rest in words."""
    for index, each in enumerate(selection.objects):
        colour = COLOURS[index % len(COLOURS)]
        for hint in each.in_frame(frame):
            if hint.box is not None:
                left, top, width, height = (round(value * scale) for value in hint.box)
                cv2.rectangle(picture, (left, top), (left + width, top + height), colour, 1)
            for points, tone in ((hint.include, (255, 255, 255)), (hint.exclude, (0, 0, 0))):
                for x, y in points:
                    cv2.circle(picture, (round(x * scale), round(y * scale)), 4, tone, -1, cv2.LINE_AA)
                    cv2.circle(picture, (round(x * scale), round(y * scale)), 4, colour, 1, cv2.LINE_AA)
            if hint.absent or hint.mask is not None:
                says = f"{each.name}: {'absent' if hint.absent else 'mask given'}"
                _write(picture, says, (4, 16 + 16 * index), colour)


def _picture(
    frame: Picture, names: tuple[str, ...], coverage: UInt8[np.ndarray, "objects h w"], number: int
) -> Picture:
    size = fit_long_edge((frame.shape[1], frame.shape[0]), PICTURE_LONG_EDGE)
    picture = resize(frame, size).copy()
    for index, (name, mask) in enumerate(zip(names, coverage, strict=True)):
        inside = (resize(mask, size) > 127).astype(np.uint8)
        if not inside.any():
            continue
        colour = COLOURS[index % len(COLOURS)]
        tinted = (1 - TINT) * picture[inside > 0] + TINT * np.array(colour)
        picture[inside > 0] = tinted.astype(np.uint8)
        outlines, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outlines, -1, colour, 1, cv2.LINE_AA)
        left, top, _, _ = cv2.boundingRect(inside)
        _write(picture, name, (left, top - 4), colour)
    _write(picture, f"frame {number}", (4, image_size(picture[..., 0])[1] - 6), (255, 255, 255))
    return picture


def _write(picture: Picture, text: str, place: tuple[int, int], colour: tuple[int, int, int]) -> None:
    """Text with a dark rim, kept inside the picture; `place` is where its baseline begins."""
    plain = text.encode("ascii", "replace").decode()  # OpenCV's font knows no other letters
    (width, height), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, 0.45, 1)
    left = int(np.clip(place[0], 2, max(picture.shape[1] - width - 2, 2)))
    base = int(np.clip(place[1], height + 2, max(picture.shape[0] - 4, height + 2)))
    for thickness, tone in ((3, (16, 16, 16)), (1, colour)):
        cv2.putText(picture, plain, (left, base), cv2.FONT_HERSHEY_SIMPLEX, 0.45, tone, thickness, cv2.LINE_AA)
