"""The targets: readers of video, images, EXR, layered documents, masks and flow, with seeds for each."""

import io
import itertools
import json
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import OpenEXR
import tifffile
from PIL import Image
from psd_tools import PSDImage

from layerloom import media
from layerloom.media.layered_documents import read_picture
from layerloom.prepare.flow.files import read_flow
from layerloom.prepare.masks.files import load_masks
from tests.fuzz.driver import Target

FRAMES = [np.full((24, 32, 3), 30 * index, np.uint8) for index in range(6)]
FOUND = Path(__file__).with_name("found")
"""Inputs that once went wrong: they are seeds for ever."""


def _seeds(name: str, made: Callable[[], Sequence[tuple[str, bytes]]]) -> Callable[[], Sequence[tuple[str, bytes]]]:
    def seeds() -> Sequence[tuple[str, bytes]]:
        found = sorted(FOUND.glob(f"{name}-*")) if FOUND.is_dir() else []
        return [*((file.suffix, file.read_bytes()) for file in found), *made()]

    return seeds


def _written(suffix: str, write: Callable[[Path], object]) -> tuple[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"seed{suffix}"
        write(path)
        return suffix, path.read_bytes()


def _video(path: Path, codec: str, pixel_format: str) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 32, 24, pixel_format
        stream.metadata["handler_name"] = "a name"
        sound = container.add_stream("aac" if path.suffix != ".avi" else "pcm_s16le", rate=48000)
        for number, picture in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        kind = "fltp" if path.suffix != ".avi" else "s16"
        shape = (2, 4800) if kind == "fltp" else (1, 9600)
        dtype = np.float32 if kind == "fltp" else np.int16
        piece = av.AudioFrame.from_ndarray(np.zeros(shape, dtype), kind, "stereo")
        piece.sample_rate = 48000
        container.mux(sound.encode(piece))
        container.mux(sound.encode(None))


def _videos() -> Sequence[tuple[str, bytes]]:
    kinds = [
        (".mp4", "libx264", "yuv420p"),
        (".mkv", "libx264", "yuv420p"),
        (".mov", "prores_ks", "yuv422p10le"),
        (".avi", "mjpeg", "yuvj420p"),
        (".mkv", "ffv1", "bgr0"),
    ]
    return [_written(suffix, lambda path, c=codec, p=pixels: _video(path, c, p)) for suffix, codec, pixels in kinds]


def _run_video(path: Path) -> None:
    info = media.probe(path)
    for _ in itertools.islice(media.read_frames(path, alpha=True), 8):
        pass
    out = path.with_suffix(".out.mp4")
    try:
        options = media.OutputOptions(
            tracks=media.SourceRange(path, duration=Fraction(1)), description=info.description
        )
        with media.open_writer(out, (32, 24), [Fraction(0)], Fraction(24), options) as writer:
            writer.write(FRAMES[0])
    finally:
        out.unlink(missing_ok=True)


def _images() -> Sequence[tuple[str, bytes]]:
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 4)).astype(np.uint8)
    deep = picture.astype(np.uint16) * 257

    def pillow(kind: str, channels: int = 4, **options: Any) -> bytes:
        data = io.BytesIO()
        Image.fromarray(picture[..., :channels]).save(data, kind, **options)
        return data.getvalue()

    def tiff(pixels: np.ndarray, **options: Any) -> bytes:
        data = io.BytesIO()
        tifffile.imwrite(data, pixels, photometric="rgb", **options)
        return data.getvalue()

    frames = [Image.fromarray(frame) for frame in FRAMES]
    animated = io.BytesIO()
    frames[0].save(animated, "WEBP", save_all=True, append_images=frames[1:], duration=40)
    return [
        (".png", pillow("PNG")),
        (".png", cv2.imencode(".png", deep)[1].tobytes()),
        (".jpg", pillow("JPEG", 3)),
        (".webp", pillow("WEBP")),
        (".webp", animated.getvalue()),
        (".gif", pillow("GIF", 3)),
        (".bmp", pillow("BMP")),
        (".tif", pillow("TIFF", compression="tiff_lzw")),
        (".tif", tiff(deep, extrasamples=["assocalpha"], compression="deflate")),
        (".tif", tiff(deep[..., :3].astype(np.float32), bigtiff=True)),
    ]


def _run_image(path: Path) -> None:
    media.read_image(path)
    if media.is_moving(path):
        media.probe(path)
        for _ in media.read_frames(path):
            pass


def _exrs() -> Sequence[tuple[str, bytes]]:
    plane = np.random.default_rng(0).random((24, 32)).astype(np.float32)
    kinds = [OpenEXR.ZIP_COMPRESSION, OpenEXR.PIZ_COMPRESSION, OpenEXR.NO_COMPRESSION, OpenEXR.RLE_COMPRESSION]
    seeds = []
    for compression in kinds:
        header = {"compression": compression, "type": OpenEXR.scanlineimage}
        planes = {name: plane.astype(np.float16) for name in "RGBA"}
        seeds.append(_written(".exr", lambda path, h=header, p=planes: OpenEXR.File(h, p).write(str(path))))
    header = {"compression": OpenEXR.ZIPS_COMPRESSION, "type": OpenEXR.scanlineimage}
    parts = [
        OpenEXR.Part(dict(header), {"Z": plane}, "depth"),
        OpenEXR.Part(dict(header), {"R": plane, "G": plane}, "st"),
    ]
    seeds.append(_written(".exr", lambda path: OpenEXR.File(parts).write(str(path))))
    return seeds


def _documents() -> Sequence[tuple[str, bytes]]:
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 4)).astype(np.uint8)

    def psd(path: Path) -> None:
        document = PSDImage.new("RGB", (16, 12))
        document.create_pixel_layer(Image.fromarray(picture), name="paint")
        document.save(path)

    def ora(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("mimetype", "image/openraster")
            layers = '<layer src="a.png" x="-2" y="1" opacity="0.5"/><stack><layer src="a.png"/></stack>'
            archive.writestr("stack.xml", f'<image w="16" h="12"><stack>{layers}</stack></image>')
            archive.writestr("a.png", cv2.imencode(".png", picture)[1].tobytes())
            archive.writestr("mergedimage.png", cv2.imencode(".png", picture)[1].tobytes())

    return [_written(".psd", psd), _written(".ora", ora)]


def _masks() -> Sequence[tuple[str, bytes]]:
    mask = np.zeros((24, 32), np.uint8)
    mask[4:16, 4:20] = 1

    def indexed(path: Path) -> None:
        image = Image.fromarray(mask).convert("P")
        image.putdata(mask.ravel().tolist())
        image.putpalette([0, 0, 0, 128, 0, 0] + [5, 6, 7] * 254)
        image.save(path)

    arrays = io.BytesIO()
    np.savez_compressed(arrays, ball=mask[None].astype(bool))
    annotations = {
        "images": [{"id": 0, "file_name": "00000.jpg", "width": 32, "height": 24}],
        "categories": [{"id": 1, "name": "ball"}],
        "annotations": [
            {"image_id": 0, "category_id": 1, "segmentation": {"size": [24, 32], "counts": [100, 12, 656]}},
            {"image_id": 0, "category_id": 1, "segmentation": {"size": [24, 32], "counts": "T3<dd0"}},
            {"image_id": 0, "category_id": 1, "segmentation": [[4, 4, 20, 4, 20, 16]]},
        ],
    }
    documents = [(".npz", arrays.getvalue()), (".json", json.dumps(annotations).encode())]
    grey = (".png", cv2.imencode(".png", mask * 255)[1].tobytes())
    return [*documents, _written(".png", indexed), grey, (".tif", cv2.imencode(".tif", mask * 255)[1].tobytes())]


def _run_masks(path: Path) -> None:
    if path.suffix in (".json", ".npz"):
        load_masks(path, range(1), (32, 24), 1)
        return
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / f"00000{path.suffix}").write_bytes(path.read_bytes())
        load_masks(folder, range(1), (32, 24))


def _flows() -> Sequence[tuple[str, bytes]]:
    flow = np.zeros((12, 16, 2), np.float32)
    data = io.BytesIO()
    np.save(data, flow)
    return [
        (".npy", data.getvalue()),
        (".flo", np.float32(202021.25).tobytes() + np.int32([16, 12]).tobytes() + flow.tobytes()),
    ]


def _run_flow(path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in ("forward_00000", "backward_00001"):
            (Path(folder) / f"{name}{path.suffix}").write_bytes(path.read_bytes())
        read_flow(Path(folder), 2, (32, 24), (1,))


TARGETS = {
    target.name: target
    for target in (
        Target("video", _seeds("video", _videos), _run_video),
        Target("images", _seeds("images", _images), _run_image),
        Target("exr", _seeds("exr", _exrs), media.read_image),
        Target("documents", _seeds("documents", _documents), read_picture),
        Target("masks", _seeds("masks", _masks), _run_masks),
        Target("flow", _seeds("flow", _flows), _run_flow),
    )
}
