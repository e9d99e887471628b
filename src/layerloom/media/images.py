"""Still images: read and write one file, and the step between integers at full scale and floats in [0, 1]."""

from collections.abc import Mapping
from pathlib import Path

import av
import av.error
import cv2
import numpy as np
from jaxtyping import Float, Float32, Num, UInt8, UInt16
from PIL import Image

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".exr"})
"""What can be read, as a still image or as a frame of a folder."""

WRITABLE_SUFFIXES = (".png", ".jpg", ".jpeg", ".exr")


def to_float(image: Num[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Full-scale uint8 or uint16 to [0, 1]; floats keep their values."""
    if image.dtype == np.uint8 or image.dtype == np.uint16:
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32)
    raise TypeError(f"pixels are {image.dtype}; uint8, uint16 or floats are allowed")


def quantise(
    image: Float[np.ndarray, "*shape"], bit_depth: int
) -> UInt8[np.ndarray, "*shape"] | UInt16[np.ndarray, "*shape"]:
    """[0, 1] to uint8 or uint16 at full scale (bit_depth 8 or 16): clipped, rounded half up. Undoes `to_float`."""
    dtype = {8: np.uint8, 16: np.uint16}[bit_depth]
    full_scale = np.float32(np.iinfo(dtype).max)
    return (np.clip(image.astype(np.float32), 0, 1) * full_scale + np.float32(0.5)).astype(dtype)


def at_depth(
    image: Num[np.ndarray, "*shape"], bit_depth: int
) -> UInt8[np.ndarray, "*shape"] | UInt16[np.ndarray, "*shape"]:
    """Any pixels as full-scale uint8 or uint16; those at that depth already are handed back as they are."""
    if image.dtype == {8: np.uint8, 16: np.uint16}[bit_depth]:
        return image
    return quantise(to_float(image), bit_depth)


def image_header(path: Path) -> tuple[Size, int]:
    """(width, height) as stored and bit depth (8 or 16) of an image file, without decoding it unless it is an EXR."""
    if path.suffix.lower() == ".exr":
        pixels = read_image(path)
        return (pixels.shape[1], pixels.shape[0]), 16
    try:
        with av.open(f"file:{path}") as container:
            context = container.streams.video[0].codec_context
            if context.format is None or 0 in (context.width, context.height):
                raise _unreadable(path)
            deep = max(component.bits for component in context.format.components) > 8
            return (context.width, context.height), 16 if deep else 8
    except (av.error.FFmpegError, IndexError) as error:
        raise _unreadable(path) from error


def read_image(
    path: Path,
) -> UInt8[np.ndarray, "h w c"] | UInt16[np.ndarray, "h w c"] | Float32[np.ndarray, "h w c"]:
    """One image as RGB or, where the file has alpha, straight RGBA; grey is repeated to RGB.

    8-bit files give uint8, deeper ones uint16 at full scale, EXR float32 as stored, its display window. An EXR with the
    channels R and G alone (an ST map) gives h w 2. The orientation tag of a JPEG is applied. Raises LayerloomError.
    """
    path = Path(path)
    if not path.is_file():
        raise LayerloomError(f"{path}: no such image file")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise LayerloomError(f"{path}: not an image; allowed are {', '.join(sorted(IMAGE_SUFFIXES))}")
    if path.suffix.lower() == ".exr":
        return _read_exr(path)
    # Only without IMREAD_UNCHANGED is the orientation tag applied; only with it is alpha kept. JPEG has no alpha.
    jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    flags = cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH if jpeg else cv2.IMREAD_UNCHANGED
    data = np.frombuffer(path.read_bytes(), np.uint8)
    pixels = cv2.imdecode(data, flags) if data.size else None
    if pixels is None:
        raise _unreadable(path)
    if pixels.dtype.name not in ("uint8", "uint16", "float32"):
        raise LayerloomError(f"{path}: pixels of type {pixels.dtype}; 8 or 16 bit or float are allowed")
    if path.suffix.lower() in (".tif", ".tiff") and pixels.dtype == np.uint8 and pixels.shape[-1] == 4:
        return _read_tiff_with_alpha(path)
    return _to_rgb_order(pixels)


def read_grey(path: Path) -> UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"]:
    """A grey image that this program wrote, at its depth. Raises LayerloomError."""
    data = np.fromfile(path, np.uint8)
    pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if pixels is None or pixels.ndim != 2:
        raise _unreadable(path)
    return pixels


def write_image(path: Path, image: Num[np.ndarray, "h w"] | Num[np.ndarray, "h w c"]) -> None:
    """Write grey (h w), RGB or straight RGBA by extension, atomically.

    PNG: uint8 at 8 bit, uint16 and floats at 16 bit. JPEG: 8 bit, no alpha. EXR (ZIP, lossless): float16 as half,
    anything else as float32, never clipped; h w 2 is stored as R, G. Raises LayerloomError.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in WRITABLE_SUFFIXES:
        raise LayerloomError(f"{path}: images are written as {', '.join(WRITABLE_SUFFIXES)}")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in {".png": (1, 3, 4), ".exr": (1, 2, 3, 4)}.get(suffix, (1, 3)):
        raise LayerloomError(f"{path}: {suffix} cannot hold {channels} channels")
    if not path.parent.is_dir():
        raise LayerloomError(f"{path}: the folder {path.parent} does not exist")
    try:
        with atomic_file(path) as temporary:
            if suffix == ".exr":
                _write_exr(temporary, {"": image})
            else:
                temporary.write_bytes(_encode(suffix, image))
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be written ({error.strerror or error})") from error


def write_exr_parts(path: Path, parts: Mapping[str, Float[np.ndarray, "h w"] | Float[np.ndarray, "h w c"]]) -> None:
    """Write an EXR of several named parts, each as `write_image` writes one (ZIP, half or float32), atomically."""
    try:
        with atomic_file(Path(path)) as temporary:
            _write_exr(temporary, parts)
    except OSError as error:
        raise LayerloomError(f"{path}: cannot be written ({error.strerror or error})") from error


def _unreadable(path: Path) -> LayerloomError:
    return LayerloomError(f"{path}: not a readable image; the file is damaged or of another kind")


def _read_tiff_with_alpha(path: Path) -> UInt8[np.ndarray, "h w 4"]:
    """8 bit: OpenCV hands colour multiplied by alpha, whatever the file says of its own."""
    try:
        with Image.open(path) as file:
            return np.array(file.convert("RGBA"))
    except OSError as error:
        raise _unreadable(path) from error


def _to_rgb_order(pixels: Num[np.ndarray, "..."]) -> Num[np.ndarray, "h w c"]:
    """OpenCV's grey, grey + alpha, BGR or BGRA as RGB(A)."""
    if pixels.ndim == 2:
        return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)  # (several times as fast as NumPy's repeat)
    order = {1: [0, 0, 0], 2: [0, 0, 0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[2]]
    return np.ascontiguousarray(pixels[..., order])


def _encode(suffix: str, image: Num[np.ndarray, "..."]) -> bytes:
    if suffix == ".png":
        # Level 3 is several times faster than the default and a few per cent larger.
        parameters = [cv2.IMWRITE_PNG_COMPRESSION, 3]
        pixels = at_depth(image, 8 if image.dtype == np.uint8 else 16)
        if pixels.dtype == np.uint16:
            # In 16 bit nothing but runs repeats: half the time of a search for more, and a smaller file.
            parameters += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
    else:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]  # 4:4:4
        pixels = at_depth(image, 8)
    if pixels.ndim == 3 and pixels.shape[2] > 1:
        pixels = np.ascontiguousarray(pixels[..., [2, 1, 0, 3][: pixels.shape[2]]])
    return cv2.imencode(suffix, pixels, parameters)[1].tobytes()


def _write_exr(path: Path, parts: Mapping[str, Num[np.ndarray, "..."]]) -> None:
    """One part without a name, or several."""
    import OpenEXR  # here, as it takes a tenth of a second, which most commands need not spend

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    layers = [OpenEXR.Part(dict(header), _exr_channels(image), name) for name, image in parts.items()]
    OpenEXR.File(layers).write(str(path))


def _exr_channels(image: Num[np.ndarray, "..."]) -> dict[str, np.ndarray]:
    pixels = image if image.dtype == np.float16 else to_float(image)
    planes = pixels[..., None] if pixels.ndim == 2 else pixels
    names = "Y" if planes.shape[2] == 1 else "RGBA"[: planes.shape[2]]
    return {name: np.ascontiguousarray(planes[..., index]) for index, name in enumerate(names)}


def _read_exr(path: Path) -> Float32[np.ndarray, "h w c"]:
    import OpenEXR

    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            header = dict(file.header())  # closing the file empties its own
            planes = {name: channel.pixels for name, channel in file.channels().items()}
    except Exception as error:  # OpenEXR raises a bare RuntimeError or more, depending on where the file is damaged.
        raise _unreadable(path) from error
    names = [name for name in "RGBA" if name in planes] if "R" in planes else ["Y"] * 3
    if names[-1] not in planes:
        raise LayerloomError(f"{path}: no channels R, G, B or Y, but {', '.join(planes)}")
    pixels = np.stack([planes[name] for name in names], -1).astype(np.float32)
    return _to_display_window(pixels, header["dataWindow"], header["displayWindow"])


def _to_display_window(
    pixels: Float32[np.ndarray, "h w c"], data: tuple[np.ndarray, np.ndarray], display: tuple[np.ndarray, np.ndarray]
) -> Float32[np.ndarray, "H W c"]:
    """Crop and pad (with zeros) from the data window to the display window; corners (x, y) are inclusive."""
    width, height = (int(side) for side in display[1] - display[0] + 1)
    left, top = (int(offset) for offset in data[0] - display[0])
    if (left, top, *pixels.shape[1::-1]) == (0, 0, width, height):
        return pixels
    canvas = np.zeros((height, width, pixels.shape[2]), np.float32)
    rows = slice(max(top, 0), min(top + pixels.shape[0], height))
    columns = slice(max(left, 0), min(left + pixels.shape[1], width))
    if rows.start < rows.stop and columns.start < columns.stop:
        canvas[rows, columns] = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return canvas
