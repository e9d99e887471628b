"""Pictures resized, warped, averaged and smoothed: one function of each kind.

Images are `h w` or `h w c`; positions for `warp` count a pixel's centre as a whole number, as OpenCV does.
"""

from typing import Literal

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64, Num

from layerloom.core.geometry import Size
from layerloom.core.parallel import do_in_threads

Map = Float32[np.ndarray, "h w"]
Window = tuple[slice, slice]
Border = Literal["repeat", "zero"]

ENLARGING = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "nearest": cv2.INTER_NEAREST}
BORDERS: dict[Border, int] = {"repeat": cv2.BORDER_REPLICATE, "zero": cv2.BORDER_CONSTANT}
CHANNELS_AT_ONCE = 4
"""Of which OpenCV averages areas."""


def image_size(image: Num[np.ndarray, "*t h w"] | Bool[np.ndarray, "*t h w"]) -> Size:
    """(width, height) of a plane, or of planes; not of images with channels."""
    return image.shape[-1], image.shape[-2]


def resize(
    image: Num[np.ndarray, "h w *c"], size: Size, enlarge: Literal["linear", "cubic"] = "linear"
) -> Num[np.ndarray, "H W *c"]:
    """The image at a size (width, height): area averages where no side grows, else interpolated.

    Types stay but for half precision, which comes back as single. An image of that size already is handed back itself.
    """
    if (image.shape[1], image.shape[0]) == size:
        return image
    if image.dtype == np.float16:  # which OpenCV cannot resize
        image = image.astype(np.float32)
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else ENLARGING[enlarge]
    if image.ndim == 2 or image.shape[2] <= CHANNELS_AT_ONCE:
        return cv2.resize(image, size, interpolation=interpolation).reshape(*size[::-1], *image.shape[2:])
    return np.dstack([cv2.resize(plane, size, interpolation=interpolation) for plane in np.moveaxis(image, 2, 0)])


def resize_all(images: Num[np.ndarray, "t h w *c"], size: Size) -> Num[np.ndarray, "t H W *c"]:
    """Each image as `resize` does it, on all cores."""
    if size == (images.shape[2], images.shape[1]):
        return images
    dtype = np.float32 if images.dtype == np.float16 else images.dtype
    resized = np.empty((len(images), *size[::-1], *images.shape[3:]), dtype)

    def enter(index: int) -> None:
        resized[index] = resize(images[index], size)

    do_in_threads(enter, range(len(images)))
    return resized


def warp(
    image: Num[np.ndarray, "h0 w0 *c"], x: Map, y: Map, border: Border = "repeat", nearest: bool = False
) -> Num[np.ndarray, "h w *c"]:
    """The image read, bilinearly or at the nearest pixel, at columns `x` and rows `y`; beyond it, its border or 0."""
    interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.remap(image, x, y, interpolation, borderMode=BORDERS[border])


def window_around(where: Bool[np.ndarray, "h w"], margin: int = 8) -> Window:
    """The smallest part (rows, columns) of the image that holds all of `where`, and a margin; empty where that is."""
    left, top, width, height = cv2.boundingRect(where.astype(np.uint8))
    if width == 0:
        return slice(0, 0), slice(0, 0)
    bottom, right = min(top + height + margin, where.shape[0]), min(left + width + margin, where.shape[1])
    return slice(max(top - margin, 0), bottom), slice(max(left - margin, 0), right)


def masked_mean(
    values: Float32[np.ndarray, "h w *c"], weights: Map, sigma: float
) -> tuple[Float32[np.ndarray, "h w *c"], Map]:
    """Weighted mean over a Gaussian window of standard deviation `sigma` pixels, and the mean weight in it.

    Where there is next to no weight (1e-6), the mean tends to zero.
    """
    spread = weights[..., None] if values.ndim == 3 else weights
    share = cv2.GaussianBlur(weights, (0, 0), sigma)
    total = cv2.GaussianBlur(values * spread, (0, 0), sigma)
    divisor = np.maximum(share, np.float32(1e-6))
    return total / (divisor[..., None] if values.ndim == 3 else divisor), share


class GuidedFilter:
    """Smooths images but for the edges of a guide (He, Sun, Tang, "Guided Image Filtering", TPAMI 2013).

    In each window an image is taken for an affine function of the guide's colour (equations 19 to 21). Windows are
    boxes of 2 · radius + 1 pixels, replicated at the border. A guide's channels of less than `variance` are flat.
    """

    def __init__(self, guide: Float32[np.ndarray, "h w"] | Float32[np.ndarray, "h w 3"], radius: int, variance: float):
        self._guide = guide if guide.ndim == 3 else guide[..., None]
        self._side = 2 * radius + 1
        channels = self._guide.shape[2]
        self._mean = self._box(self._guide)
        products = np.einsum("hwa,hwb->hwab", self._guide, self._guide)
        squares = self._box(products.reshape(*guide.shape[:2], channels**2)).reshape(products.shape)
        covariance = squares - np.einsum("hwa,hwb->hwab", self._mean, self._mean)
        self._inverse = _inverse(covariance.astype(np.float64) + variance * np.eye(channels)).astype(np.float32)

    def fit(self, image: Map) -> tuple[Float32[np.ndarray, "h w c"], Map]:
        """Slope and intercept: image ≈ slope · guide + intercept, averaged over the windows that hold the pixel."""
        mean = self._box(image)
        covariance = self._box(self._guide * image[..., None]) - self._mean * mean[..., None]
        slope = np.einsum("hwab,hwb->hwa", self._inverse, covariance)
        intercept = mean - np.einsum("hwc,hwc->hw", slope, self._mean)
        return self._box(slope), self._box(intercept)

    def smooth(self, image: Map) -> Map:
        """The image as the guide's colours tell it."""
        slope, intercept = self.fit(image)
        return np.einsum("hwc,hwc->hw", slope, self._guide) + intercept

    def _box(self, image: Float32[np.ndarray, "h w *c"]) -> Float32[np.ndarray, "h w *c"]:
        window = self._side, self._side
        return cv2.blur(image, window, borderType=cv2.BORDER_REPLICATE).reshape(image.shape)


def _inverse(matrix: Float64[np.ndarray, "h w c c"]) -> Float64[np.ndarray, "h w c c"]:
    """Of symmetric 1 × 1 or 3 × 3 matrices, by cofactors: their rows are the cross products of the matrix' rows."""
    if matrix.shape[-1] == 1:
        return 1 / matrix
    first, second, third = np.moveaxis(matrix, 2, 0)
    cofactors = np.stack([np.cross(second, third), np.cross(third, first), np.cross(first, second)], 2)
    return cofactors / np.einsum("hwa,hwa->hw", first, cofactors[:, :, 0])[..., None, None]
