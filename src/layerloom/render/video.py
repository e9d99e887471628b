"""write_video: an edited project as a file, each frame at its time, with the source's sound."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from layerloom import media
from layerloom.compose.composition import Composition, compose
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.data.project import Project
from layerloom.edits.document import Edit
from layerloom.render.dispatch import Device
from layerloom.render.renderer import Mode, Renderer
from layerloom.render.stream import draw_shots


def write_video(
    project: Project,
    edits: Sequence[Edit],
    output: Path | str,
    frames: range | None = None,
    codec: str | None = None,
    mode: Mode = "detail",
    device: Device = "auto",
    on_progress: OnProgress = silent,
) -> None:
    """Draw a project under edits and write it as a video, or as images.

    output: .mp4, .mov, .mkv or .webm, or a pattern of images such as frames/%05d.png, numbered from 0. frames: the
    source's, counted from 0, that are shown at ordinary speed; all by default. codec: as `media.open_writer` has them.
    mode, device: as `render` has them. on_progress: called after each frame.

    Frames are shown at the source's own times, maybe uneven, divided by the speed. The source's sound comes along,
    unless the speed changes. Nothing appears at `output` unless all of it could be written. LayerloomError as
    `compose`, and for outputs that cannot be written.
    """
    composition = compose(project, edits, frames)
    pictures = draw_shots(Renderer(project, device), composition, composition.shots.shots, mode)
    write_pictures(composition, pictures, output, codec, on_progress)


def write_pictures(
    composition: Composition,
    pictures: Iterable[np.ndarray],
    output: Path | str,
    codec: str | None = None,
    on_progress: OnProgress = silent,
) -> None:
    """Pictures of all frames of a composition, in their order, as `write_video` writes them."""
    shots = composition.shots
    sound = source_sound(composition) if shots.speed == 1 else {}
    fps = composition.project.source.fps
    with media.open_writer(output, shots.size, shots.timestamps, fps, codec, **sound) as writer:
        for done, picture in enumerate(pictures, 1):
            writer.write(picture)
            on_progress(Progress("render", done / len(shots.shots)))


def source_sound(composition: Composition) -> dict[str, Any]:
    """The source's sound over a composition's frames, as `media.open_writer` takes it; empty where there is none."""
    try:
        found = media.probe(composition.project.source_path)
    except LayerloomError:
        return {}
    if not found.has_audio:
        return {}
    frames = composition.frames
    end = found.timestamps[frames.stop] if frames.stop < found.frames else None
    start = found.timestamps[frames.start]
    return {
        "audio_from": found.path,
        "audio_start": start,
        "audio_duration": None if end is None else end - start,
    }
