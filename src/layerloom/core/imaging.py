"""Pictures resized, warped and averaged: one function of each kind."""

import cv2
import numpy as np

from layerloom.core.geometry import Size
from layerloom.core.parallel import do_in_threads


def shrink(images: np.ndarray, size: Size) -> np.ndarray:
    """Images (t h w, or with channels) at a size, by area; half precision comes back as single."""
    if size == (images.shape[2], images.shape[1]):
        return images

    single = images.dtype == np.float16  # which OpenCV cannot resize
    small = np.empty((len(images), *size[::-1], *images.shape[3:]), np.float32 if single else images.dtype)

    def resize(index: int) -> None:
        image = images[index].astype(np.float32) if single else images[index]
        small[index] = cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    do_in_threads(resize, range(len(images)))
    return small
