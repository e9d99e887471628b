"""write_video: an edited project as a file, each frame at its time, with the source's sound."""

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from layerloom import media
from layerloom.compose.composition import Composition, compose
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import OnProgress, Progress, silent
from layerloom.data.project import Project
from layerloom.edits.document import Edit
from layerloom.media.outputs import Space
from layerloom.render.dispatch import Device
from layerloom.render.output import alpha_notes, finished, output_options
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
    unless the speed changes, and all else that it declares (docs/sources.md). Nothing appears at `output` unless all of
    it could be written. LayerloomError as `compose`, and for outputs that cannot be written.
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
    space: Space | None = None,
) -> None:
    """Pictures of all frames of a composition, in their order, as `write_video` writes them.

    space: in which an EXR holds colours: "linear" (the default) or "display". What the output cannot hold of what the
    source declares is told as messages of the progress.
    """
    write_joined(
        [(composition, Fraction(0))], lambda _: pictures, output, output_options(composition, codec, space), on_progress
    )


def write_joined(
    parts: Sequence[tuple[Composition, Fraction]],
    draw: Callable[[Composition], Iterable[np.ndarray]],
    output: Path | str,
    options: media.OutputOptions,
    on_progress: OnProgress = silent,
) -> None:
    """Compositions of one film one after the other, each from its second on; otherwise as `write_pictures`.

    draw: gives a composition's pictures, and is asked when its turn comes. LayerloomError unless all have one size.
    """
    first, _ = parts[0]
    if any(composition.shots.size != first.shots.size for composition, _ in parts):
        raise LayerloomError(f"{output}: shots of different sizes cannot be joined; write them one by one")
    times = [start + seconds for composition, start in parts for seconds in composition.shots.timestamps]
    with media.open_writer(output, first.shots.size, times, first.project.source.fps, options) as writer:
        notes = [*media.output_notes(output, options), *media.encoder_note(output, options)]
        for line in (*notes, *(note for each, _ in parts for note in alpha_notes(each, output, options))):
            on_progress(Progress("render", 0.0, message=line))
        done = 0
        for composition, _ in parts:
            for picture in finished(composition, draw(composition), output, options):
                writer.write(picture)
                done += 1
                on_progress(Progress("render", done / len(times)))
