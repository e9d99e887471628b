"""A project made from a synthetic clip's own truth, so that tests of the editing half need no training."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from layerloom import media
from layerloom.core.geometry import Size, pixel_centres
from layerloom.data.clip import SourceReference
from layerloom.data.project import BakedLayer, Project
from layerloom.synthetic.clip import SyntheticClip

UV_SPACING_PIXELS = 4
LIGHT_NODES = 97


def make_truth_project(
    folder: Path,
    clip: SyntheticClip,
    training_size: Size | None = None,
    source: Path | None = None,
    texels_per_pixel: int = 1,
    first_frame: int = 0,
) -> Project:
    """`folder`/clip.loom, learned perfectly from the clip's frames, which are written to `folder`/frames as PNG.

    training_size: size of the stored mattes (the clip's own by default). source: footage to use instead of the frames.
    texels_per_pixel: how much finer canvases are than the clip's own; what is finer then is noise.
    first_frame: of the footage, from which on the clip is in it.
    """
    if source is None:
        source = folder / "frames"
        source.mkdir(parents=True)
        for number, frame in enumerate(clip.frames):
            media.write_image(source / f"{number:05d}.png", frame)
    found = media.probe(source)
    end = first_frame + len(clip.frames)
    times = tuple(seconds - found.timestamps[first_frame] for seconds in found.timestamps[first_frame:end])
    reference = SourceReference(
        source, found.fingerprint, found.size, first_frame, len(times), found.fps, times, found.description
    )
    size = training_size or clip.size
    layers = [_bake(clip, layer, size, texels_per_pixel) for layer in range(len(clip.names))]
    weights = {"texture.table": np.arange(6, dtype=np.float32).reshape(3, 2)}
    return Project.create(
        folder / "clip.loom", reference, size, layers, weights, {"quality": "draft"}, {"seed": 0}, {"psnr": 40.0}
    )


def make_source_reference(path: Path, size: Size, frames: int) -> SourceReference:
    """A reference to footage that need not exist."""
    fps = Fraction(24)
    return SourceReference(path, "0" * 64, size, 0, frames, fps, tuple(index / fps for index in range(frames)))


def st_to_uv(st: np.ndarray, canvas: Size) -> np.ndarray:
    """What a compositing program makes of an exported ST map: texel positions, counted from the top left corner."""
    width, height = canvas
    return np.stack([width * st[..., 0], height * (1 - st[..., 1])], -1)


def _bake(clip: SyntheticClip, layer: int, size: Size, texels_per_pixel: int) -> BakedLayer:
    background = layer == len(clip.names) - 1
    texture = clip.textures[layer].repeat(texels_per_pixel, 0).repeat(texels_per_pixel, 1)
    if texels_per_pixel > 1:
        noise = np.random.default_rng(layer).normal(0, 0.1, texture.shape)
        texture = np.clip(texture + noise, 0, 1).astype(np.float32)
    frames = range(len(clip.frames))
    affine, offset = zip(*(_bake_uv(clip, layer, frame) for frame in frames), strict=True)
    alpha = None if background else np.stack([_own_alpha(clip, layer, frame, size) for frame in frames])
    return BakedLayer(
        name=clip.names[layer],
        kind="background" if background else "object",
        texture=np.dstack([texture, np.ones(texture.shape[:2], np.float32)]),
        alpha=alpha,
        uv_affine=texels_per_pixel * np.stack(affine),
        uv_offset=(texels_per_pixel * np.stack(offset)).astype(np.float32),
        lighting=np.stack([_bake_lighting(clip, layer, frame) for frame in frames]).astype(np.float16),
    )


def _nodes(size: Size, columns: int, rows: int) -> np.ndarray:
    return np.stack(np.meshgrid(np.linspace(0, size[0], columns), np.linspace(0, size[1], rows)), -1)


def _bake_uv(clip: SyntheticClip, layer: int, frame: int) -> tuple[np.ndarray, np.ndarray]:
    columns, rows = (round(side / UV_SPACING_PIXELS) + 1 for side in clip.size)
    nodes = _nodes(clip.size, columns, rows)
    uv = clip.uv_at(layer, nodes, frame)
    homogeneous = np.dstack([nodes, np.ones(nodes.shape[:2])]).reshape(-1, 3)
    affine = np.linalg.lstsq(homogeneous, uv.reshape(-1, 2), rcond=None)[0].T
    return affine, uv - (homogeneous @ affine.T).reshape(uv.shape)


def _own_alpha(clip: SyntheticClip, layer: int, frame: int, size: Size) -> np.ndarray:
    uv = clip.uv_at(layer, pixel_centres(clip.size), frame)
    alpha = clip.scene.own_alpha(layer, uv).astype(np.float32)
    return media.quantise(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), 16)


def _bake_lighting(clip: SyntheticClip, layer: int, frame: int) -> np.ndarray:
    """The formula's light at nodes spread over the canvas, each taken where the node lies in the frame."""
    height, width = clip.textures[layer].shape[:2]
    nodes = _nodes((width, height), LIGHT_NODES, LIGHT_NODES).reshape(-1, 2)
    xy = clip.find_uv(layer, nodes, frame)
    light = clip.scene.lighting(layer, xy, frame / (len(clip.frames) - 1))
    return light.reshape(LIGHT_NODES, LIGHT_NODES, 3)
