"""Textures drawn from chance, and looked up exactly."""

import cv2
import numpy as np
from jaxtyping import Float, Float32

from layerloom.core.geometry import Size
from layerloom.core.imaging import resize

Palette = tuple[tuple[float, float, float], ...]
OBJECT_PALETTES: tuple[Palette, ...] = (
    ((0.9, 0.45, 0.2), (0.95, 0.8, 0.35), (0.6, 0.2, 0.25)),
    ((0.3, 0.55, 0.8), (0.75, 0.85, 0.9), (0.25, 0.25, 0.5)),
)
BACKGROUND_PALETTE: Palette = ((0.35, 0.5, 0.3), (0.75, 0.7, 0.55), (0.3, 0.4, 0.45))


def make_texture(
    rng: np.random.Generator, size: Size, palette: Palette, ceiling: float
) -> Float32[np.ndarray, "h w 3"]:
    """Noise of all scales, stripes, spots, a grid, letters. Finest detail: 3 texels. Colours in [0.08, ceiling].

    size: (width, height). palette: three colours in [0, 1] that the noise blends.
    """
    width, height = size
    first, second, third = (np.array(colour) for colour in palette)
    blend, patches = _noise(rng, size, 48)[..., None], _noise(rng, size, 30)[..., None]
    colour = first + (second - first) * blend
    colour = colour + (third - colour) * smoothstep((patches - 0.55) / 0.12)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float64)
    bend = 60.0 * _noise(rng, size, 60)
    stripes = 0.5 + 0.5 * np.sin(2.0 * np.pi * (columns * 0.8 + rows * 0.6 + bend) / 9.0)
    striped = smoothstep((_noise(rng, size, 40) - 0.5) / 0.1)
    colour = colour * (1.0 - 0.35 * (striped * stripes)[..., None])
    for cell, strength in ((24, 0.2), (12, 0.2), (6, 0.22), (3, 0.28)):
        colour = colour + strength * (_noise(rng, size, cell)[..., None] - 0.5)
    marked = _draw_marks(rng, np.ascontiguousarray(colour, dtype=np.float32))
    smooth = cv2.GaussianBlur(marked, (0, 0), 0.75)
    low, high = 0.08, 0.92
    return (0.08 + (ceiling - 0.08) * np.clip((smooth - low) / (high - low), 0.0, 1.0)).astype(np.float32)


def photo_texture(photo: Float32[np.ndarray, "_ _ 3"], size: Size, ceiling: float) -> Float32[np.ndarray, "h w 3"]:
    """A photo that fills a texture of `size` (width, height), cut at two sides; black is 0.03, white `ceiling`."""
    width, height = size
    scale = max(width / photo.shape[1], height / photo.shape[0])
    covering = max(width, round(scale * photo.shape[1])), max(height, round(scale * photo.shape[0]))
    fitted = resize(photo, covering, "cubic")
    left, top = (covering[0] - width) // 2, (covering[1] - height) // 2
    part = np.clip(fitted[top : top + height, left : left + width], 0.0, 1.0)
    return (0.03 + (ceiling - 0.03) * part).astype(np.float32)


def _draw_marks(rng: np.random.Generator, image: Float32[np.ndarray, "h w 3"]) -> Float32[np.ndarray, "h w 3"]:
    """Grid lines, rings, dots and letters over the whole texture."""
    height, width = image.shape[:2]
    canvas = np.clip(image * 255, 0, 255).astype(np.uint8)
    for position in range(13, max(width, height), 34):
        shade = int(rng.integers(40, 220))
        cv2.line(canvas, (position, 0), (position + 9, height), (shade, shade, shade), 1, cv2.LINE_AA)
        cv2.line(canvas, (0, position), (width, position - 7), (shade, shade // 2 + 40, shade // 2), 1, cv2.LINE_AA)
    for _ in range(width * height // 420):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        ink = tuple(int(value) for value in rng.integers(20, 245, 3))
        kind = rng.integers(3)
        if kind == 0:
            cv2.circle(canvas, centre, int(rng.integers(2, 6)), ink, -1, cv2.LINE_AA)
        elif kind == 1:
            cv2.circle(canvas, centre, int(rng.integers(4, 10)), ink, 2, cv2.LINE_AA)
        else:
            letter = chr(int(rng.integers(65, 91)))
            cv2.putText(canvas, letter, centre, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, 2, cv2.LINE_AA)
    return canvas.astype(np.float32) / 255


def _noise(rng: np.random.Generator, size: Size, cell: int) -> Float[np.ndarray, "h w"]:
    """Smooth noise in about [0, 1] with features of `cell` texels."""
    width, height = size
    grid = rng.uniform(0.0, 1.0, (height // cell + 4, width // cell + 4))
    large = cv2.resize(grid, (grid.shape[1] * cell, grid.shape[0] * cell), interpolation=cv2.INTER_CUBIC)
    return large[cell : cell + height, cell : cell + width]


def sample_texture(
    texture: Float32[np.ndarray, "h w c"], uv_texels: Float32[np.ndarray, "n 2"]
) -> Float32[np.ndarray, "n c"]:
    """Cubic (Catmull–Rom) lookup, positions not rounded; texel i's centre is at i + 0.5; the border is extended."""
    height, width, _ = texture.shape
    flat = texture.reshape(height * width, -1)
    position = uv_texels - 0.5
    base = np.floor(position).astype(np.int64)
    weights = _catmull_rom((position - base).astype(np.float32))
    columns = [np.clip(base[:, 0] + tap, 0, width - 1) for tap in (-1, 0, 1, 2)]
    result = np.zeros((len(uv_texels), flat.shape[1]), np.float32)
    for row_tap in range(4):
        row = np.clip(base[:, 1] + row_tap - 1, 0, height - 1) * width
        line = sum(flat.take(row + columns[tap], 0) * weights[tap][:, :1] for tap in range(4))
        result += line * weights[row_tap][:, 1:]
    return result


def _catmull_rom(fraction: Float32[np.ndarray, "n 2"]) -> tuple[Float32[np.ndarray, "n 2"], ...]:
    """Weights of the four neighbours −1, 0, 1, 2 for a position `fraction` past neighbour 0."""
    f = fraction
    return (
        ((2.0 - f) * f - 1.0) * f * 0.5,
        ((3.0 * f - 5.0) * f * f + 2.0) * 0.5,
        ((4.0 - 3.0 * f) * f + 1.0) * f * 0.5,
        (f - 1.0) * f * f * 0.5,
    )


def smoothstep(value: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """0 below 0, 1 above 1, smooth between."""
    clipped = np.clip(value, 0.0, 1.0)
    return clipped * clipped * (3.0 - 2.0 * clipped)
