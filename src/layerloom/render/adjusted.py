"""The source's pictures as edits adjust layers: what frames start from instead.

With the residual e = picture − Σ seen R T, a picture becomes

    picture + Σ_adjusted seen (R' T' − R T + (A − I) e)

with R', T' the adjusted light and texture and A the adjustment without what it adds (`compose.adjust`): the layers are
themselves adjusted, and each takes its share of what they cannot explain along. Everything after that starts from
adjusted layers and such pictures, and need not know. Pixels that no adjustment reaches are the source's own.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt16

from layerloom import media
from layerloom.compose.adjust import Adjustment, ColourField, change_of
from layerloom.compose.composition import Composition
from layerloom.core.compositing import composite
from layerloom.core.parallel import do_in_threads
from layerloom.data.project import Project
from layerloom.render.backend import Backend
from layerloom.render.bounded_cache import BoundedCache
from layerloom.render.residual import ResidualMaps
from layerloom.render.scene import Pyramids

MOST_BYTES = 2**29
BAND_ROWS = 64

OwnAlphas = UInt16[np.ndarray, "objects h w"]


class AdjustedFootage:
    """A project's layers under adjustments, its pictures and residuals. Threads may share it."""

    def __init__(self, composition: Composition, backend: Backend, plain: Pyramids) -> None:
        """plain: pyramids of the project as it is stored."""
        self._project, self.base = composition.project, composition.base
        self._adjustments = composition.adjustments
        self.pyramids = plain if self.base is self._project else Pyramids(self.base, plain)
        self.residuals = ResidualMaps(self.base, backend, self.pyramids)
        self._pictures = BoundedCache[np.ndarray](MOST_BYTES, lambda picture: picture.nbytes)

    def picture(self, frame: int, picture: np.ndarray, own_alphas: OwnAlphas) -> np.ndarray:
        """One of the project's frames adjusted. picture: the source's. own_alphas: of the same frame."""
        if self.base is self._project:
            return picture

        def make() -> np.ndarray:
            return adjusted_picture(self._project, self.base, self._adjustments, frame, (picture, own_alphas))

        return self._pictures.get(frame, make)


def adjusted_picture(
    project: Project,
    adjusted: Project,
    adjustments: Sequence[Adjustment | None],
    frame: int,
    inputs: tuple[np.ndarray, OwnAlphas],
) -> np.ndarray:
    """A frame's picture as the module says. inputs: the source's picture, and the objects' own coverages."""
    picture, own_alphas = inputs
    height, width = picture.shape[:2]
    own = [cv2.resize(media.to_float(plane), (width, height)) for plane in own_alphas]
    shares = list(composite([*own, np.ones((height, width), np.float32)]))

    drawn = picture.copy()

    def draw_band(top: int) -> None:
        rows = slice(top, min(top + BAND_ROWS, height))
        reached = [share[rows].any(0) for one, share in zip(adjustments, shares, strict=True) if one is not None]
        columns = np.flatnonzero(np.logical_or.reduce(reached))
        if not len(columns):
            return
        window = rows, slice(int(columns[0]), int(columns[-1]) + 1)
        source = media.to_float(picture[window])
        band = window, source, [share[window] for share in shares]
        change = _change(project, adjusted, adjustments, frame, band)
        pixels = media.quantise(np.clip(source + change, 0, 1), 8 * picture.itemsize)
        np.copyto(drawn[window], pixels, where=change.any(-1, keepdims=True))

    do_in_threads(draw_band, range(0, height, BAND_ROWS))
    return drawn


def _change(
    project: Project,
    adjusted: Project,
    adjustments: Sequence[Adjustment | None],
    frame: int,
    band: tuple[tuple[slice, slice], Float32[np.ndarray, "h w 3"], Sequence[Float32[np.ndarray, "h w"]]],
) -> Float32[np.ndarray, "h w 3"]:
    """band: which rows and columns, the source's picture there, and the layers' shares of it."""
    window, residual, shares = band
    residual, change = residual.copy(), np.zeros_like(residual)
    fields: list[tuple[Float32[np.ndarray, "h w"], ColourField]] = []
    for layer, (adjustment, share) in enumerate(zip(adjustments, shares, strict=True)):
        if not share.any():
            continue
        uv = project.uv(layer, frame, window)
        light = project.lighting(layer, frame, uv=uv)
        content = light * project.layers[layer].look_up(uv)
        residual -= share[..., None] * content
        if adjustment is not None:
            after = light if adjustment.light == 1 else adjusted.lighting(layer, frame, uv=uv)
            change += share[..., None] * (after * adjusted.layers[layer].look_up(uv) - content)
            field = adjustment.at(uv)
            if field is not None:
                fields.append((share, field))
    for share, field in fields:
        change += share[..., None] * change_of(field, residual, adds=False)
    return change
