"""What an output takes over from the source beside drawn frames: declarations, alpha, light that no code holds."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from jaxtyping import Num

from layerloom import media
from layerloom.compose.composition import Composition
from layerloom.compose.shot import Shot, is_still, neighbours
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.media.outputs import Space
from layerloom.media.scene_linear import restored


def output_options(
    composition: Composition, codec: str | None = None, space: Space | None = None, frames: range | None = None
) -> media.OutputOptions:
    """What the source declares, as far as it holds for a composition's frames, or for other `frames` of the source.

    With another speed than the source's, sound, subtitles, timecode and numbers do not fit.
    """
    source, frames = composition.project.source, frames or composition.frames
    description, in_time = source.description, composition.shots.speed == 1
    timecode = description.timecode if description and in_time else ""
    numbers = description.numbers if description and in_time else None
    return media.OutputOptions(
        codec=codec,
        description=description,
        tracks=source_tracks(composition, frames) if in_time else None,
        timecode=media.timecode_after(timecode, frames.start, source.fps),
        # A source that counts from 0 is no reason to go on counting from there: outputs begin at 0 anyway.
        numbers=numbers[frames.start : frames.stop] if numbers and numbers[0] != 0 else None,
        space=space,
    )


def source_tracks(composition: Composition, frames: range | None = None) -> media.SourceRange | None:
    """Sound and subtitles over a composition's frames, or others; None without a source, or where it has none."""
    project, frames = composition.project, frames or composition.frames
    try:
        found = media.probe(project.source_path, project.source.options)
    except LayerloomError:
        return None
    if not any(track.decodable for track in found.description.tracks):
        return None
    start = found.timestamps[frames.start]
    end = found.timestamps[frames.stop] if frames.stop < found.frames else None
    return media.SourceRange(found.path, start, None if end is None else end - start)


def finished(
    composition: Composition, pictures: Iterable[np.ndarray], output: Path | str, options: media.OutputOptions
) -> Iterator[np.ndarray]:
    """The drawn frames with what of the source they lack: its alpha, where the output holds it, and in an EXR the light
    of pixels that are still the source's own, bit for bit.

    Only where a shot shows a frame of the source in its own view.
    """
    project = composition.project
    description = project.source.description
    if description is None or not project.source_exists:
        yield from pictures
        return
    is_exr = str(output).lower().endswith(".exr") and options.space != "display"
    linear = is_exr and description.encoding.name != "display"
    wants_alpha = description.alpha != "none" and media.holds_alpha(output, options.codec)
    footage = _SourceFrames(project, linear, wants_alpha) if linear or wants_alpha else None
    for shot, picture in zip(composition.shots.shots, pictures, strict=True):
        yield picture if footage is None else footage.finish(shot, picture)


class _SourceFrames:
    """The source's frames beside the drawn ones, read in the order of the shots."""

    def __init__(self, project: Project, linear: bool, wants_alpha: bool) -> None:
        self._project, self._linear, self._wants_alpha = project, linear, wants_alpha
        self._codes: Iterator[np.ndarray] = iter(())
        self._stored: Iterator[np.ndarray] = iter(())
        self._next = -1

    def finish(self, shot: Shot, picture: Num[np.ndarray, "h w c"]) -> Num[np.ndarray, "h w channels"]:
        """A shot of another view keeps what was drawn: opaque, and its light decoded by the writer."""
        if picture.shape[2] == 4 or not is_still(self._project, shot):
            return _opaque(picture) if self._wants_alpha and picture.shape[2] == 3 else picture
        frame = self._project.source_range[neighbours(shot.instances[0].time)[0]]
        codes, stored = self._read(frame)
        if self._linear and stored is not None and self._project.source.description is not None:
            light = restored(picture, codes[..., :3], stored[..., :3], self._project.source.description.encoding)
            return np.concatenate([light, stored[..., 3:]], -1)
        return np.dstack([picture, codes[..., 3]]) if self._wants_alpha else picture

    def _read(self, frame: int) -> tuple[np.ndarray, np.ndarray | None]:
        source = self._project.source
        if frame != self._next:
            end = self._project.source_range.stop
            path, options = self._project.source_path, source.options
            self._codes = media.read_frames(path, frame, end, alpha=self._wants_alpha, options=options)
            is_exr = source.description is not None and bool(source.description.sample)
            self._stored = media.read_stored(path, frame, end, options) if self._linear and is_exr else iter(())
        self._next = frame + 1
        return next(self._codes), next(self._stored, None)


def _opaque(picture: Num[np.ndarray, "h w 3"]) -> Num[np.ndarray, "h w 4"]:
    return np.dstack([picture, np.full(picture.shape[:2], np.iinfo(picture.dtype).max, picture.dtype)])


def alpha_notes(composition: Composition, output: Path | str, options: media.OutputOptions) -> list[str]:
    """A line where frames of another view lose the source's alpha."""
    description = options.description
    if description is None or description.alpha == "none" or not media.holds_alpha(output, options.codec):
        return []
    moved = sum(not is_still(composition.project, shot) for shot in composition.shots.shots)
    return [f"{moved} frames show the footage in another view: they are opaque"] if moved else []
