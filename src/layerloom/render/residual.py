"""What the layers cannot explain of the source's pictures, made ready to be carried along with the layers."""

from collections.abc import Collection
from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32, UInt16

from layerloom import media
from layerloom.compose.shadows import shadow_share
from layerloom.compose.shot import still_shot
from layerloom.data.mattes import composite
from layerloom.data.project import Project
from layerloom.render.dispatch import Device, Renderer, make_renderer
from layerloom.render.scene import DETAIL_MARGIN, Inputs, Scene

KEPT_FRAMES = 4
OUTLINE_TRAINING_PIXELS = 1.5
"""How far mattes may be off at outlines: what is unexplained so close to one may belong to the other layer."""

NEAR_HIDDEN = 1 / 300
"""Half of how far around a hidden layer the picture is cleared, in long edges."""
FAINTEST = 65535 // 50

Detail = Float32[np.ndarray, "wide_h wide_w 4"]


class DetailMaps:
    """Details as `Inputs` holds them, kept for the frames asked for last. Threads may share it."""

    def __init__(self, project: Project, unshadowed: Collection[int] = (), device: Device = "auto") -> None:
        self._project, self._unshadowed = project, unshadowed
        self._device: Device = device
        self._recent: dict[tuple[int, bool], list[Detail]] = {}
        self.changes_light = bool(unshadowed)

    def of_frame(
        self, frame: int, picture: np.ndarray, own_alphas: UInt16[np.ndarray, "objects h w"], apart: bool
    ) -> list[Detail]:
        """By layer. picture: the source's. own_alphas: of the same frame, as `Inputs` has them.

        apart: the layers will not lie on one another as in the picture: detail along outlines is left out.
        """
        # Two threads may work out the same frame: then one of both results is kept.
        found = self._recent.pop((frame, apart), None) or self._make(frame, picture, own_alphas, apart)
        self._recent[frame, apart] = found
        for old in list(self._recent)[:-KEPT_FRAMES]:
            self._recent.pop(old, None)
        return found

    def cleared(
        self, frame: int, picture: np.ndarray, own_alphas: UInt16[np.ndarray, "objects h w"], hidden: Collection[int]
    ) -> np.ndarray:
        """The source's picture as the layers explain it close to the hidden ones, as it is elsewhere.

        Motion blur and haze outside an outline belong to no layer: with theirs gone, they would go on drawing it.
        """
        size = self._project.source.size
        near = np.max([_near(cv2.resize(own_alphas[layer], size)) for layer in hidden], 0)
        inputs = Inputs(None, lambda _: own_alphas, 16)
        explained = media.to_float(self._unedited(still_shot(self._project, frame), inputs))
        shown = media.to_float(picture)
        mixed = media.quantise(shown + near[..., None] * (explained - shown), 8 * picture.itemsize)
        return np.where(near[..., None] > 0, mixed, picture)

    @cached_property
    def _unedited(self) -> Renderer:
        return make_renderer(Scene(self._project, ()), 16, self._device)

    def _make(
        self, frame: int, picture: np.ndarray, own_alphas: UInt16[np.ndarray, "objects h w"], apart: bool
    ) -> list[Detail]:
        inputs = Inputs(None, lambda _: own_alphas, 16)
        explained = media.to_float(self._unedited(still_shot(self._project, frame), inputs))
        unexplained = media.to_float(picture) - explained
        size = self._project.source.size
        own = [cv2.resize(media.to_float(plane), size) for plane in own_alphas]
        shares = list(composite([*own, np.ones_like(unexplained[..., 0])]))
        if apart:
            training_pixel = size[0] / self._project.training_size[0]
            shares = [_away_from_outlines(share, OUTLINE_TRAINING_PIXELS * training_pixel) for share in shares]
        if self._unshadowed:
            # What the light could not explain of a shadow goes with the shadow.
            shares[-1] = shares[-1] * (1 - cv2.resize(shadow_share(self._project, self._unshadowed, frame), size))
        return [_with_margin(unexplained, share) for share in shares]


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


def _with_margin(unexplained: Float32[np.ndarray, "h w 3"], share: Float32[np.ndarray, "h w"]) -> Detail:
    """Beyond the picture its border goes on and fades out."""
    margin = DETAIL_MARGIN
    wide = np.pad(np.dstack([unexplained, share]), ((margin, margin), (margin, margin), (0, 0)), "edge")
    for axis, side in enumerate(wide.shape[:2]):
        from_border = np.minimum(np.arange(side), np.arange(side)[::-1])
        fade = np.clip(from_border / margin, 0, 1).astype(np.float32)
        wide[..., :3] *= np.expand_dims(fade, (1 - axis, 2))
    return wide
