"""open_writer(): frames to a video file or an image sequence, with sound, all or nothing."""

import contextlib
import errno
import shutil
import uuid
from collections.abc import Generator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from jaxtyping import Num

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import Hand, thread_count
from layerloom.media.boxes import add_mastering_boxes
from layerloom.media.encoders import CONTAINERS
from layerloom.media.nvenc import chosen_encoder
from layerloom.media.output_pixels import check_frame, write_numbered
from layerloom.media.outputs import OutputOptions, check_output
from layerloom.media.sequences import NUMBER, files_of_pattern, is_pattern
from layerloom.media.tracks import TrackCopier
from layerloom.media.video_writer import FrameClock, VideoWriter


class FrameWriter(Protocol):
    """What `open_writer` gives."""

    def write(self, frame: Num[np.ndarray, "h w c"]) -> None:
        """Append one frame, RGB, or straight RGBA where the target holds alpha.

        uint8 and full-scale uint16 are what the source's description says; floats are as the output holds them: in
        [0, 1] for a display, any in an EXR. It is encoded in another thread while the caller goes on, so it must not
        change any more; what goes wrong with it is raised by a later call, or at the end.
        """
        ...


@contextlib.contextmanager
def open_writer(
    output: str | Path,
    size: Size,
    timestamps: Sequence[Fraction],
    fps: Fraction,
    how: OutputOptions | str | None = None,
) -> Generator[FrameWriter]:
    """Write frames to a video file (.mp4, .mov, .mkv, .webm) or an image sequence (`frames/%05d.png`).

    `timestamps` gives each frame's seconds, one per frame to be written, rising. Their distances are kept exactly
    (Matroska itself rounds to milliseconds); the first frame is shown at 0, the last one for 1 / fps. `how` is all that
    can be said of an output, or the codec alone.

    Codecs: "h264" (the default; 8 bit), "hevc" (10 bit for deep frames; the default for HDR), "prores" (422 HQ),
    "prores4444" (10 bit, with alpha), "vp9" (.webm's default; 8 bit, with alpha), "ffv1" (lossless, with alpha).
    Alpha is straight and full range. H.264 and HEVC with an odd width or height are stored as 4:4:4, as 4:2:0 would
    crop them. The first frame's type decides the depth. An EXR holds linear light, its alpha associated, unless the
    options say display.

    All sound tracks of `how.tracks` that can be decoded come along, copied, cut at packets, if the container takes
    their codec, else encoded to AAC (WebM: to Opus); subtitles where the container takes them as they are. Tags of
    colour, mastering data of HDR and timecode are the description's. `output_notes` says what cannot be held.

    Nothing appears at `output` unless the block ends without error. Raises LayerloomError as `check_output`, and
    ValueError for frames of another size or number than announced.
    """
    path = Path(output)
    options = how if isinstance(how, OutputOptions) else OutputOptions(codec=how)
    if not timestamps:
        raise ValueError("no timestamps: nothing to write")
    if options.numbers is not None and len(options.numbers) != len(timestamps):
        raise ValueError(f"{len(options.numbers)} numbers for {len(timestamps)} frames")
    check_output(path, options.overwrite, options.codec, size, len(timestamps))
    try:
        if is_pattern(path):
            with _image_sequence(path, size, options) as writer:
                yield writer
                _check_count(writer.written, len(timestamps))
            return
        with atomic_file(path) as temporary:
            with _video(path, temporary, size, FrameClock.of(timestamps, fps), options) as writer:
                yield writer
                _check_count(writer.written, len(timestamps))
                writer.finish()
            encoder, _ = chosen_encoder(path.suffix.lower(), options)
            if encoder.mastering == "boxes" and options.description and options.description.mastering:
                add_mastering_boxes(temporary, options.description.mastering)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise LayerloomError(f"{path}: the disk is full; nothing was written") from error
        raise


def _check_count(written: int, announced: int) -> None:
    if written != announced:
        raise ValueError(f"{written} frames were written, {announced} were announced")


@contextlib.contextmanager
def _video(
    path: Path, temporary: Path, size: Size, clock: "FrameClock", options: OutputOptions
) -> Generator[VideoWriter]:
    suffix, description = path.suffix.lower(), options.description
    encoder, _ = chosen_encoder(suffix, options)
    has_boxes = encoder.mastering == "boxes" and description is not None and description.mastering is not None
    # Boxes are added behind the pictures, which must not move.
    flags = {"movflags": "+faststart"} if suffix in (".mp4", ".mov") and not has_boxes else {}
    with contextlib.ExitStack() as stack:
        container = stack.enter_context(av.open(f"file:{temporary}", "w", format=CONTAINERS[suffix], options=flags))
        tracks = TrackCopier(options.tracks)
        stack.callback(tracks.close)
        writer = VideoWriter(container, encoder, size, clock, tracks, options)
        stack.callback(writer.close)
        yield writer


class _SequenceWriter:
    def __init__(self, folder: Path, name: str, size: Size, options: OutputOptions) -> None:
        self.written = 0
        self._folder, self._name, self._size, self._options = folder, name, size, options
        threads = thread_count()
        self._files = Hand(self._write, 2 * threads, threads)

    def write(self, frame: Num[np.ndarray, "h w c"]) -> None:
        check_frame(frame, self._size)
        numbers = self._options.numbers
        number = self.written if numbers is None else numbers[self.written]
        name = NUMBER.sub(lambda match: f"{number:0{match[1] or 1}d}", self._name)
        self._files.put((self._folder / name, frame))
        self.written += 1

    def finish(self) -> None:
        self._files.finish()

    def close(self) -> None:
        """End all threads; what is not written by now is left."""
        self._files.close()

    def _write(self, file: tuple[Path, Num[np.ndarray, "h w c"]]) -> None:
        write_numbered(*file, self._options)


@contextlib.contextmanager
def _image_sequence(pattern: Path, size: Size, options: OutputOptions) -> Generator[_SequenceWriter]:
    """Write into a temporary folder on the same disk; move everything in at the end, in place of what was there."""
    folder = pattern.parent
    temporary = (folder if folder.exists() else folder.parent) / f".{uuid.uuid4().hex[:8]}.partial"
    temporary.mkdir()
    try:
        with contextlib.closing(_SequenceWriter(temporary, pattern.name, size, options)) as writer:
            yield writer
            writer.finish()
        if not folder.exists():
            temporary.rename(folder)
            return
        for _, old in files_of_pattern(pattern):
            old.unlink()
        for file in temporary.iterdir():
            file.rename(folder / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
