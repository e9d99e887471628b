"""probe(): what a video, an animation or a folder of images holds, and what it declares."""

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.parallel import in_threads
from layerloom.media.animations import animation_durations, is_animation
from layerloom.media.colour import Colour, usual_colour
from layerloom.media.container import open_container, video_stream
from layerloom.media.description import Encoding, ReadOptions, SourceDescription
from layerloom.media.exr import exr_layers, read_exr
from layerloom.media.formats import DOCUMENT_SUFFIXES, IMAGE_SUFFIXES, ImageHeader, image_header, kind_of
from layerloom.media.images import read_image
from layerloom.media.scene_linear import encoding_for
from layerloom.media.sequences import ImageSequence, files_of_pattern, find_sequence, is_pattern, missing_numbers
from layerloom.media.times import USUAL_RATE, scan_video, stamp
from layerloom.media.tracks import find_timecode, find_tracks
from layerloom.media.video_frames import pixel_format

LIGHT_SAMPLES = 24
"""Frames of a folder that are looked at for the brightest light."""


@dataclass(frozen=True)
class MediaInfo:
    """What a video file or a folder of images holds. Sizes are upright and in square pixels.

    `path` is the file, the folder that holds the images themselves, or their pattern. `timestamps` are the seconds of
    each frame after the first one, exact to the file's own clock, or on the grid of `fps` where that clock is too
    coarse to show it. `bit_depth` is that of the arrays `read_frames` gives. `fingerprint` stays the same while the
    content does. `notes`: lines worth telling the user at the start. `names`: of a folder's images, without suffix.
    """

    path: Path
    kind: Literal["video", "animation", "images"]
    size: Size
    frames: int
    fps: Fraction
    timestamps: tuple[Fraction, ...]
    bit_depth: Literal[8, 16]
    fingerprint: str
    codec: str
    pixel_format: str
    description: SourceDescription
    notes: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def colour(self) -> Colour:
        return self.description.colour

    @property
    def has_audio(self) -> bool:
        """Whether it has sound that can be carried on."""
        return any(track.decodable for track in self.description.sounds)


def probe(path: str | Path, options: ReadOptions | None = None) -> MediaInfo:
    """Describe a video file, an animation, a folder of images or a pattern of them (frames/%05d.png).

    A video is decoded once, for its times; the answer is kept while the files stay. A folder without images of its own
    may hold them in one sub-folder named as in `sequences.FRAME_FOLDERS`. Raises LayerloomError for input that is
    missing, empty, unreadable, without video, cut short, or of mixed sizes.
    """
    path, options = Path(path), options or ReadOptions()
    if path.is_dir() or (is_pattern(path) and not path.exists()):
        sequence = find_sequence(path)
        return _probe_images(sequence, tuple(stamp(file) for file in sequence.files), options)
    if not path.exists():
        raise LayerloomError(f"{path}: no such file or folder")
    if is_animation(path):
        return _probe_animation(path, stamp(path), options)
    return _probe_video(path, stamp(path), options)


def check_several_frames(info: MediaInfo) -> None:
    """Raise LayerloomError for a single frame: nothing moves in it."""
    if info.frames < 2:
        raise LayerloomError(f"{info.path}: holds 1 frame; at least 2 are needed")


def is_moving(path: Path) -> bool:
    """Whether a file is taken for a video, or a folder for its frames; anything else is a picture."""
    if path.is_dir() or is_pattern(path):
        return True
    kind = kind_of(path) if path.is_file() else None
    if kind is None:
        return path.suffix.lower() not in (*IMAGE_SUFFIXES, *DOCUMENT_SUFFIXES)
    return kind in ("png", "webp", "gif") and image_header(path).pictures > 1


def is_there(path: Path) -> bool:
    """Whether footage is at a path: a file, a folder, or files of a pattern."""
    return path.exists() or bool(files_of_pattern(path))


@functools.lru_cache(maxsize=16)
def _probe_images(sequence: ImageSequence, stamps: Sequence[tuple[int, int]], options: ReadOptions) -> MediaInfo:
    files = sequence.files
    headers = list(in_threads(functools.partial(image_header, layer=options.layer), files))
    for file, header in zip(files, headers, strict=True):
        if header.size != headers[0].size:
            raise other_size(file, header.size, files[0], headers[0].size)
    first = read_image(files[0], options.layer)  # as JPEGs are stored on their side
    size = (first.shape[1], first.shape[0])
    encoding = _images_encoding(files, headers, options)
    fps = Fraction(*options.fps) if options.fps else USUAL_RATE
    alpha = {header.alpha for header in headers} - {"none"}
    description = SourceDescription(
        colour=usual_colour(size),
        alpha="none" if not alpha else "associated" if "associated" in alpha else "straight",
        numbers=sequence.numbers,
        encoding=encoding,
        sample=_sample(headers),
        options=options,
    )
    return MediaInfo(
        path=sequence.path,
        kind="images",
        size=size,
        frames=len(files),
        fps=fps,
        timestamps=tuple(index / fps for index in range(len(files))),
        bit_depth=16 if any(header.bits > 8 for header in headers) or encoding.name != "display" else 8,
        fingerprint=_images_fingerprint(files, stamps),
        codec=files[0].suffix[1:].lower(),
        pixel_format=str(first.dtype),
        description=description,
        notes=tuple(_image_notes(files, headers, description)),
        names=tuple(file.stem for file in files),
    )


def _sample(headers: Sequence[ImageHeader]) -> Literal["", "half", "float"]:
    if any(header.kind != "exr" for header in headers):
        return ""
    return "half" if all(header.bits == 16 for header in headers) else "float"


def _images_encoding(files: Sequence[Path], headers: Sequence[ImageHeader], options: ReadOptions) -> Encoding:
    """Scene-linear light is what EXR holds, and what a user says is."""
    linear = all(header.kind == "exr" for header in headers) if options.linear is None else options.linear
    if not linear:
        return Encoding()
    step = max(1, -(-len(files) // LIGHT_SAMPLES))

    def brightest(number: int) -> float:
        if headers[number].bits < 16:
            return 1.0
        is_exr = headers[number].kind == "exr"
        pixels = read_exr(files[number], options.layer) if is_exr else read_image(files[number])
        finite = pixels[..., :3][np.isfinite(pixels[..., :3])]
        return float(finite.max(initial=0)) if pixels.dtype.kind == "f" else 1.0

    return encoding_for(max(in_threads(brightest, range(0, len(files), step))))


def _images_fingerprint(files: Sequence[Path], stamps: Sequence[tuple[int, int]]) -> str:
    named = [(file.name, length) for file, (length, _) in zip(files, stamps, strict=True)]
    digest = hashlib.sha256(repr(named).encode())
    for file in (files[0], files[-1]):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _image_notes(files: Sequence[Path], headers: Sequence[ImageHeader], description: SourceDescription) -> list[str]:
    notes: list[str] = []
    if description.options.fps is None:
        notes.append("images carry no rate: played at 24 a second; say another with the fps option")
    if missing := missing_numbers(description.numbers):
        notes.append(f"frames {missing} are missing in the sequence; those that are there follow one another")
    if description.encoding.name != "display":
        stored = f", {description.sample}" if description.sample else ""
        notes.append(f"read as scene-linear light{stored}, up to {description.encoding.white:g}")
    if headers[0].kind == "exr" and not description.options.layer:
        layers = [layer.name or "rgba" for layer in exr_layers(files[0])]
        if len(layers) > 1:
            notes.append(
                f"the EXR holds the layers {', '.join(layers[:12])}; the usual one is read, the layer option chooses"
            )
    return notes


def other_size(file: Path, size: Size, first: Path, first_size: Size) -> LayerloomError:
    return LayerloomError(
        f"{file}: {size[0]}x{size[1]}, but {first.name} is {first_size[0]}x{first_size[1]}; one size is needed"
    )


@functools.lru_cache(maxsize=16)
def _probe_animation(path: Path, stamp: tuple[int, int], options: ReadOptions) -> MediaInfo:
    header, durations = image_header(path), animation_durations(path)
    seconds = [Fraction(0)]
    for duration in durations:
        seconds.append(seconds[-1] + duration)
    return MediaInfo(
        path=path,
        kind="animation",
        size=header.size,
        frames=len(durations),
        fps=len(durations) / seconds[-1],
        timestamps=tuple(seconds[:-1]),
        bit_depth=8,
        fingerprint=_file_fingerprint(path),
        codec=header.kind,
        pixel_format="rgba",
        description=SourceDescription(usual_colour(header.size), alpha=header.alpha, options=options),
    )


@functools.lru_cache(maxsize=16)
def _probe_video(path: Path, stamp: tuple[int, int], options: ReadOptions) -> MediaInfo:
    pixels, scan = pixel_format(path), scan_video(path)
    linear = bool(options.linear)
    with open_container(path) as container:
        context = video_stream(path, container).codec_context
        codec, stored = context.name, context.pix_fmt or ""
        timecode = find_timecode(path, container)
    description = SourceDescription(
        colour=pixels.colour,
        mastering=pixels.mastering,
        interlaced=scan.interlaced,
        alpha="straight" if pixels.has_alpha else "none",
        tracks=find_tracks(path),
        timecode=timecode,
        rotation=pixels.rotation,
        pixel_aspect=(pixels.pixel_aspect.numerator, pixels.pixel_aspect.denominator),
        encoding=encoding_for(1) if linear else Encoding(),
        options=options,
    )
    return MediaInfo(
        path=path,
        kind="video",
        size=pixels.size,
        frames=len(scan.pts),
        fps=scan.fps,
        timestamps=scan.seconds,
        bit_depth=16 if linear else pixels.bit_depth,
        fingerprint=_file_fingerprint(path),
        codec=codec,
        pixel_format=stored,
        description=description,
        notes=tuple(_video_notes(description)),
    )


def _video_notes(description: SourceDescription) -> list[str]:
    notes: list[str] = []
    if description.interlaced:
        notes.append("interlaced: each frame's two fields are made one progressive picture (bwdif)")
    for track in description.tracks:
        if not track.decodable:
            codec = track.codec or "unknown codec"
            which = f"{track.kind} track {track.index} ({codec})"
            rest = any(other.decodable for other in description.sounds)
            instead = "the others are" if rest else "outputs will have no sound"
            notes.append(
                f"{which} cannot be decoded and is left out" + (f"; {instead}" if track.kind == "sound" else "")
            )
    return notes


def _file_fingerprint(path: Path) -> str:
    """Hash of the size and of a mebibyte at the beginning, the middle and the end."""
    length, piece = path.stat().st_size, 1 << 20
    digest = hashlib.sha256(str(length).encode())
    with path.open("rb") as file:
        for position in (0, length // 2, max(0, length - piece)):
            file.seek(position)
            digest.update(file.read(piece))
    return digest.hexdigest()
