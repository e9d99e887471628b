"""Videos of the layers, each as the shot shows it: ProRes 4444 for compositing programs, VP9 for browsers.

Alpha is straight: it is the layer's composited matte; colour is not multiplied by it. With e = source − Σ α R T, what
the layers cannot explain, colour is R T + e, so that Σ alpha · colour over the layers is the source's frame again, and
where a layer covers all of a pixel, it is the source's own. If the source is gone, colour is R T.
"""

from collections.abc import Callable, Collection
from contextlib import ExitStack
from itertools import repeat
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from layerloom import media
from layerloom.data.mattes import stream_mattes
from layerloom.data.project import Project

VIDEOS = {"prores": ("layer.mov", "prores4444"), "vp9": ("layer.webm", "vp9")}
"""File and codec by name."""

Shares = Float32[np.ndarray, "layers h w"]


def write_layer_videos(
    project: Project,
    folder: Path,
    kinds: Collection[str],
    frames: range,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write videos of `kinds` (see `VIDEOS`) of `frames` (numbered as the source's) to folder/<layer>/."""
    source, first = project.source, project.frame_index(frames.start)
    times = source.timestamps[first : first + len(frames)]
    pictures = project.read_source(frames) if project.source_exists else repeat(None, len(frames))
    with ExitStack() as stack:
        writers = [
            [
                stack.enter_context(
                    media.open_writer(folder / layer.name / name, source.size, times, source.fps, codec)
                )
                for name, codec in (VIDEOS[kind] for kind in kinds)
            ]
            for layer in project.layers
        ]
        for number, (shares, picture) in enumerate(zip(stream_mattes(project, frames), pictures, strict=True)):
            colours = _colours(project, first + number, shares, picture)
            for colour, share, layer_writers in zip(colours, shares, writers, strict=True):
                rgba = np.clip(np.dstack([colour, share]), 0, 1)
                for writer in layer_writers:
                    writer.write(rgba)
            if progress is not None:
                progress((number + 1) / len(frames))


def _colours(
    project: Project, frame: int, shares: Shares, source: np.ndarray | None
) -> list[Float32[np.ndarray, "h w 3"]]:
    """Straight colour of every layer in a frame counted from the project's first."""
    colours: list[Float32[np.ndarray, "h w 3"]] = []
    for index, layer in enumerate(project.layers):
        uv = project.uv(index, frame)
        colours.append(layer.look_up(uv) * project.lighting(index, frame, uv=uv))
    if source is not None:
        explained = sum(share[..., None] * colour for share, colour in zip(shares, colours, strict=True))
        unexplained = media.to_float(source) - explained
        for colour in colours:
            colour += unexplained
    return colours
