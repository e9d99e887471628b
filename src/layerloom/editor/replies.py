"""What the editor's servers answer with: the page's files and pictures."""

from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from layerloom import media

JPEG_QUALITY = 95
THUMBNAIL_LONG_EDGE = 160


def page_files(app: FastAPI) -> None:
    """The page itself, under whatever address is left."""
    static = Path(str(files("layerloom.editor").joinpath("static")))

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(static / "index.html", headers={"cache-control": "no-store"})

    app.mount("/", StaticFiles(directory=static), name="static")


def rgb8(picture: np.ndarray) -> np.ndarray:
    return picture if picture.dtype == np.uint8 else media.quantise(media.to_float(picture), 8)


def jpeg(picture: np.ndarray, quality: int = JPEG_QUALITY) -> Response:
    """h w 3 or 4, uint8, whose alpha is dropped."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, data = cv2.imencode(".jpg", picture[..., 2::-1], flags)
    return Response(data.tobytes(), media_type="image/jpeg")


def png(picture: np.ndarray) -> Response:
    """h w 3 or 4, uint8."""
    order = picture[..., 2::-1] if picture.shape[2] == 3 else picture[..., [2, 1, 0, 3]]
    _, data = cv2.imencode(".png", order, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return Response(data.tobytes(), media_type="image/png")


def thumbnail_of(picture: np.ndarray) -> Response:
    """h w 3, uint8, made small."""
    scale = THUMBNAIL_LONG_EDGE / max(picture.shape)
    return jpeg(cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), 80)
