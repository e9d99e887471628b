"""What the layers cannot explain of the source's pictures, made ready to be carried along with the layers."""

from functools import cached_property

import cv2
import numpy as np
from jaxtyping import Float32, UInt16

from layerloom import media
from layerloom.mattes import composite
from layerloom.project import Project
from layerloom.rendering.choice import Renderer, make_renderer
from layerloom.rendering.scene import DETAIL_MARGIN, Inputs, Scene
from layerloom.staging import still_shot

KEPT_FRAMES = 4

Detail = Float32[np.ndarray, "wide_h wide_w 4"]


class DetailMaps:
    """Details as `Inputs` holds them, kept for the frames asked for last. Threads may share it."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._recent: dict[int, list[Detail]] = {}

    def of_frame(self, frame: int, picture: np.ndarray, own_alphas: UInt16[np.ndarray, "objects h w"]) -> list[Detail]:
        """By layer. picture: the source's. own_alphas: of the same frame, as `Inputs` has them."""
        # Two threads may work out the same frame: then one of both results is kept.
        found = self._recent.pop(frame, None) or self._make(frame, picture, own_alphas)
        self._recent[frame] = found
        for old in list(self._recent)[:-KEPT_FRAMES]:
            self._recent.pop(old, None)
        return found

    @cached_property
    def _unedited(self) -> Renderer:
        return make_renderer(Scene(self._project, ()))

    def _make(self, frame: int, picture: np.ndarray, own_alphas: UInt16[np.ndarray, "objects h w"]) -> list[Detail]:
        inputs = Inputs(None, lambda _: own_alphas, 16)
        explained = media.to_float(self._unedited(still_shot(self._project, frame), inputs))
        unexplained = media.to_float(picture) - explained
        own = [cv2.resize(media.to_float(plane), self._project.source.size) for plane in own_alphas]
        return [_with_margin(unexplained, share) for share in composite([*own, np.ones_like(unexplained[..., 0])])]


def _with_margin(unexplained: Float32[np.ndarray, "h w 3"], share: Float32[np.ndarray, "h w"]) -> Detail:
    """Beyond the picture its border goes on and fades out."""
    margin = DETAIL_MARGIN
    wide = np.pad(np.dstack([unexplained, share]), ((margin, margin), (margin, margin), (0, 0)), "edge")
    for axis, side in enumerate(wide.shape[:2]):
        from_border = np.minimum(np.arange(side), np.arange(side)[::-1])
        fade = np.clip(from_border / margin, 0, 1).astype(np.float32)
        wide[..., :3] *= np.expand_dims(fade, (1 - axis, 2))
    return wide
