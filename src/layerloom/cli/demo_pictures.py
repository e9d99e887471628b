"""What the demo draws: badges to edit with, and pictures of what came out."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

from layerloom import media
from layerloom.core.geometry import Size
from layerloom.core.imaging import resize
from layerloom.data.mattes import mattes
from layerloom.data.project import Project

INK, FIELD = (250, 240, 70), (30, 60, 150)
FINER = 4
"""Badges are drawn so much larger, then reduced: smooth outlines."""
CAPTION_ROWS = 22


def widest_place(mask: Bool[np.ndarray, "h w"]) -> tuple[tuple[float, float], float]:
    """Centre (x, y) and radius of the largest disc that fits into a mask."""
    framed = np.pad(mask.astype(np.uint8), 1)
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    row, column = np.unravel_index(int(distance.argmax()), distance.shape)
    return (float(column) + 0.5, float(row) + 0.5), float(distance.max())


def badge(
    size: Size, centre: tuple[float, float], radius: float, text: str
) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
    """A disc with a ring and a word in it: its colour (straight, everywhere) and its cover."""
    width, height = size
    picture = np.full((FINER * height, FINER * width, 3), FIELD, np.uint8)
    cover = np.zeros(picture.shape[:2], np.uint8)
    middle = round(FINER * centre[0]), round(FINER * centre[1])
    reach = FINER * radius
    cv2.circle(cover, middle, round(reach), 255, -1, cv2.LINE_AA)
    cv2.circle(picture, middle, round(0.86 * reach), INK, max(1, round(0.09 * reach)), cv2.LINE_AA)
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1, 1)
    scale = min(1.4 * reach / wide, 0.6 * reach / high)
    word = np.zeros_like(cover)
    start = round(middle[0] - scale * wide / 2), round(middle[1] + scale * high / 2)
    cv2.putText(word, text, start, cv2.FONT_HERSHEY_DUPLEX, scale, (255,), max(1, round(2.2 * scale)), cv2.LINE_AA)
    # The text's announced size is not quite that of its ink, which is moved to the middle.
    left, top, inked_width, inked_height = cv2.boundingRect(word)
    shift = middle[0] - left - inked_width // 2, middle[1] - top - inked_height // 2
    word = np.roll(word, shift[::-1], (0, 1))
    picture[word > 0] = INK
    small = [resize(part, size) for part in (picture, cover)]
    return media.to_float(small[0]), media.to_float(small[1])


def lay_over(
    below: Float32[np.ndarray, "h w 3"], colour: Float32[np.ndarray, "h w 3"], cover: Float32[np.ndarray, "h w"]
) -> Float32[np.ndarray, "h w 3"]:
    """A straight colour over a picture."""
    return below + cover[..., None] * (colour - below)


def overview(rows: Mapping[str, UInt8[np.ndarray, "t h w 3"]], numbers: Sequence[int]) -> UInt8[np.ndarray, "H W 3"]:
    """A strip of frames for each row, with its caption above."""
    parts: list[np.ndarray] = []
    for caption, frames in rows.items():
        strip = np.concatenate([frames[number] for number in numbers], 1)
        bar = np.full((CAPTION_ROWS, strip.shape[1], 3), 24, np.uint8)
        cv2.putText(bar, caption, (6, 15), cv2.FONT_HERSHEY_DUPLEX, 0.45, (225, 225, 225), 1, cv2.LINE_AA)
        parts += [bar, strip]
    return np.concatenate(parts)


def learned(project: Project, frame: int) -> UInt8[np.ndarray, "H W 3"]:
    """A row for each layer: its texture (dark where unseen); its matte and lighting (middle grey is 1) in a frame."""
    height = project.source.size[1]
    shares = mattes(project, frame)
    rows: list[np.ndarray] = []
    for number, layer in enumerate(project.layers):
        seen = layer.texture[..., :3] * layer.texture[..., 3:]
        texture = resize(seen, (round(seen.shape[1] * height / seen.shape[0]), height))
        matte = np.repeat(shares[number][..., None], 3, 2)
        light = np.clip(project.lighting(number, frame) / 2, 0, 1)
        rows.append(media.quantise(np.concatenate([texture, matte, light], 1), 8))
    width = max(row.shape[1] for row in rows)
    return np.concatenate([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
