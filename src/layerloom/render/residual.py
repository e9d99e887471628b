"""Residuals: what the layers cannot explain of the source's pictures, ready to be carried along with the layers."""

from collections.abc import Collection
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32, UInt16

from layerloom import media
from layerloom.compose.composition import compose
from layerloom.compose.shadows import shadow_share
from layerloom.compose.shot import still_shot
from layerloom.core.compositing import composite
from layerloom.data.project import Project
from layerloom.render.backend import Backend
from layerloom.render.bounded_cache import BoundedCache
from layerloom.render.scene import DETAIL_MARGIN, Inputs, Pyramids, Scene

MOST_BYTES = 2**29
"""Of residuals that are kept, and as many of cleared pictures."""
OUTLINE_TRAINING_PIXELS = 1.5
"""How far mattes may be off at outlines: what is unexplained so close to one may belong to the other layer."""

CLEAR_SHADOW = 0.1
"""Where light without a shadow differs so much from that with it, nothing of the residual is kept."""
NEAR_HIDDEN = 1 / 300
"""Half of how far around a hidden layer the picture is cleared, in long edges."""
FAINTEST = 65535 // 50

Residual = Float32[np.ndarray, "wide_h wide_w 4"]
OwnAlphas = UInt16[np.ndarray, "objects h w"]


class ResidualMaps:
    """Residuals of a project as `Inputs` holds them, kept for the frames asked for last. Threads may share it."""

    def __init__(self, project: Project, backend: Backend, pyramids: Pyramids | None = None) -> None:
        """backend: draws what the layers explain, from the project's `pyramids`."""
        self._project, self._backend, self._pyramids = project, backend, pyramids
        self._kept = BoundedCache[list[Residual]](MOST_BYTES, lambda maps: sum(each.nbytes for each in maps))
        self._cleared = BoundedCache[np.ndarray](MOST_BYTES, lambda picture: picture.nbytes)

    def of_frame(
        self,
        frame: int,
        picture: np.ndarray,
        own_alphas: OwnAlphas,
        apart: bool = False,
        unshadowed: frozenset[int] = frozenset(),
    ) -> list[Residual]:
        """By layer. picture: the source's. own_alphas: of the same frame, as `Inputs` has them.

        apart: the layers will not lie on one another as in the picture: residuals along outlines are left out.
        unshadowed: objects whose shadows go, and with them what the light could not explain of these.
        """
        key = frame, apart, unshadowed
        return self._kept.get(key, lambda: self._make(frame, picture, own_alphas, apart, unshadowed))

    def cleared(
        self,
        frame: int,
        picture: np.ndarray,
        own_alphas: OwnAlphas,
        hidden: frozenset[int],
        relit: Project | None = None,
    ) -> np.ndarray:
        """The source's picture as the layers explain it close to hidden objects, as it is elsewhere.

        Motion blur and haze outside an outline belong to no layer: with theirs gone, they would go on drawing it.
        relit: the project in the light without the shadows of these objects, if they cast any. Then the picture is in
        that light, too, and what the light could not explain of a shadow goes with it.
        """
        key = frame, hidden, relit is not None
        return self._cleared.get(key, lambda: self._clear(frame, picture, own_alphas, hidden, relit))

    def _clear(
        self, frame: int, picture: np.ndarray, own_alphas: OwnAlphas, hidden: Collection[int], relit: Project | None
    ) -> np.ndarray:
        size = self._project.source.size
        near = np.max([_near(cv2.resize(own_alphas[layer], size)) for layer in hidden], 0)
        explained, shown = self._explained(frame, own_alphas), media.to_float(picture)
        if relit is not None:
            lighter, gone = self._without_shadow(frame, own_alphas, relit)
            explained, shown, near = explained + lighter, shown + lighter, np.maximum(near, gone)
        mixed = media.quantise(np.clip(shown + near[..., None] * (explained - shown), 0, 1), 8 * picture.itemsize)
        return np.where(near[..., None] > 0, mixed, picture)

    def _without_shadow(
        self, frame: int, own_alphas: OwnAlphas, relit: Project
    ) -> tuple[Float32[np.ndarray, "h w 3"], Float32[np.ndarray, "h w"]]:
        """What the background gains in another light, and how far it is another one, 0 to 1."""
        background = len(self._project.layers) - 1
        uv = self._project.uv(background, frame)
        before, after = (project.lighting(background, frame, uv=uv) for project in (self._project, relit))
        own = [cv2.resize(media.to_float(plane), self._project.source.size) for plane in own_alphas]
        share = list(composite([*own, np.ones(uv.shape[:2], np.float32)]))[-1]
        gain = share[..., None] * (after - before) * self._project.layers[background].look_up(uv)
        return gain, np.clip(np.abs(after - before).max(-1) / CLEAR_SHADOW, 0, 1)

    def _make(
        self, frame: int, picture: np.ndarray, own_alphas: OwnAlphas, apart: bool, unshadowed: frozenset[int]
    ) -> list[Residual]:
        residual = media.to_float(picture) - self._explained(frame, own_alphas)
        size = self._project.source.size
        own = [cv2.resize(media.to_float(plane), size) for plane in own_alphas]
        shares = list(composite([*own, np.ones_like(residual[..., 0])]))
        if apart:
            training_pixel = size[0] / self._project.training_size[0]
            shares = [_away_from_outlines(share, OUTLINE_TRAINING_PIXELS * training_pixel) for share in shares]
        if unshadowed:
            # What the light could not explain of a shadow goes with the shadow.
            shares[-1] = shares[-1] * (1 - cv2.resize(shadow_share(self._project, unshadowed, frame), size))
        return [_with_margin(residual, share) for share in shares]

    def _explained(self, frame: int, own_alphas: OwnAlphas) -> Float32[np.ndarray, "h w 3"]:
        """What the layers show of a frame without edits."""
        inputs = Inputs(None, lambda _: own_alphas, 16)
        return media.to_float(self._backend.draw(self._unedited, still_shot(self._project, frame), inputs))

    @cached_property
    def _unedited(self) -> Scene:
        return Scene(compose(self._project), self._pyramids)


def _near(own: UInt16[np.ndarray, "h w"]) -> Float32[np.ndarray, "h w"]:
    """1 where a layer is and around it, falling softly to 0."""
    radius = max(2, round(NEAR_HIDDEN * max(own.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (4 * radius + 1, 4 * radius + 1))
    grown = cv2.dilate((own > FAINTEST).astype(np.float32), kernel)
    return cv2.blur(grown, (2 * radius + 1, 2 * radius + 1))


def _away_from_outlines(share: Float32[np.ndarray, "h w"], radius: float) -> Float32[np.ndarray, "h w"]:
    """Less where something else is near; soft, and never more than it was."""
    side = 2 * max(2, round(radius)) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    return np.minimum(share, cv2.blur(cv2.erode(share, kernel), (side - 2, side - 2)))


def _with_margin(residual: Float32[np.ndarray, "h w 3"], share: Float32[np.ndarray, "h w"]) -> Residual:
    """Beyond the picture its border goes on and fades out."""
    margin = DETAIL_MARGIN
    wide = np.pad(np.dstack([residual, share]), ((margin, margin), (margin, margin), (0, 0)), "edge")
    for axis, side in enumerate(wide.shape[:2]):
        from_border = np.minimum(np.arange(side), np.arange(side)[::-1])
        fade = np.clip(from_border / margin, 0, 1).astype(np.float32)
        wide[..., :3] *= np.expand_dims(fade, (1 - axis, 2))
    return wide
