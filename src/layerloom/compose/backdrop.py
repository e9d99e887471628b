"""A still picture, or a colour, in place of the background layer."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.compose.blend import resize
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.edits.canvas import parse_colour
from layerloom.edits.document import Background

Picture = Float32[np.ndarray, "h w 3"]


class Backdrop:
    """What is shown where the background was. Threads may share it."""

    def __init__(self, edit: Background) -> None:
        """LayerloomError if its file is no picture with RGB."""
        self._picture = _read(edit)
        self.fit = lru_cache(maxsize=2)(self._fit)
        """By size (width, height), the picture at that size: the same object for as long as the size stays."""

    def _fit(self, size: Size) -> Picture:
        """Scaled to cover the frame, and cut in the middle."""
        width, height = size
        rows, columns = self._picture.shape[:2]
        scale = max(width / columns, height / rows)
        covering = resize(self._picture, (max(width, round(columns * scale)), max(height, round(rows * scale))))
        left, top = (covering.shape[1] - width) // 2, (covering.shape[0] - height) // 2
        return np.ascontiguousarray(covering[top : top + height, left : left + width])


def _read(edit: Background) -> Picture:
    if edit.colour is not None:
        return np.array(parse_colour(edit.colour), np.float32).reshape(1, 1, 3)
    assert edit.file is not None
    picture = media.to_float(media.read_image(edit.file))
    if picture.shape[2] < 3:
        raise LayerloomError(f"{edit.file}: {picture.shape[2]} channels; a background is a picture with RGB")
    return np.ascontiguousarray(picture[..., :3])
