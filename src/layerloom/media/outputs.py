"""What can be written where: checks before any work is done, and what an output cannot hold of its source."""

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.media.colour import HDR_TRANSFERS
from layerloom.media.description import SourceDescription
from layerloom.media.encoders import CONTAINERS, ENCODERS, SEQUENCE_BYTES_PER_PIXEL, choose_encoder
from layerloom.media.sequences import NUMBER, files_of_pattern, is_pattern
from layerloom.media.tracks import SourceRange, left_out_tracks

Space = Literal["linear", "display"]
EncoderName = Literal["auto", "software", "nvenc"]


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How an output is written.

    codec: a name of `encoders.ENCODERS`; None: the container's usual one (HDR: hevc). overwrite: what is there.
    description: what the frames are, as their source declares it; None: display-referred, with the usual colours of
    their size. tracks: where sound and subtitles come from. timecode: of the first frame. numbers: of a sequence's
    files; None: from 0. space: in which an EXR holds colours; None: linear. encoder: "auto" encodes H.264 and
    HEVC on a GPU where that can be (`nvenc.chosen_encoder`).
    """

    codec: str | None = None
    overwrite: bool = False
    description: SourceDescription | None = None
    tracks: SourceRange | None = None
    timecode: str = ""
    numbers: Sequence[int] | None = None
    space: Space | None = None
    encoder: EncoderName = "software"


def check_output(
    output: str | Path,
    overwrite: bool = False,
    codec: str | None = None,
    size: Size | None = None,
    frames: int | None = None,
) -> None:
    """Raise LayerloomError for an output that cannot be written, before any work is done.

    Checked: that extension and codec are known and fit, that nothing is in the way (unless `overwrite`), that the
    folder exists (a pattern's own folder is made) and can be written to, and, with `size` and `frames`, that the disk
    has room for what they usually need.
    """
    path = Path(output)
    bytes_per_pixel = _check_kind(path, codec)
    in_the_way = [file for _, file in files_of_pattern(path)] if is_pattern(path) else [path]
    if in_the_way and in_the_way[0].exists() and not overwrite:
        raise LayerloomError(f"{in_the_way[0]}: exists already; remove it or choose another name")
    if path.is_dir():
        raise LayerloomError(f"{path}: is a folder; name a file")
    folder = path.parent
    if is_pattern(path) and not folder.exists():
        folder = folder.parent
    _check_folder(folder)
    if size is not None and frames is not None:
        needed = size[0] * size[1] * frames * bytes_per_pixel
        free = shutil.disk_usage(folder).free
        if needed > free:
            raise LayerloomError(f"{path}: needs about {needed / 1e9:.1f} GB, the disk has {free / 1e9:.1f} GB free")


def _check_kind(path: Path, codec: str | None) -> float:
    """Raise LayerloomError unless extension and codec fit; gives the bytes that a pixel needs, by experience."""
    suffix = path.suffix.lower()
    if len(NUMBER.findall(path.name)) > 1:
        raise LayerloomError(f"{path}: a pattern has one number in its file name, as in frames/%05d.png")
    if is_pattern(path):
        if suffix not in SEQUENCE_BYTES_PER_PIXEL:
            raise LayerloomError(f"{path}: image sequences are written as {', '.join(SEQUENCE_BYTES_PER_PIXEL)}")
        if codec is not None:
            raise LayerloomError(f"{path}: an image sequence takes no codec ('{codec}')")
        return SEQUENCE_BYTES_PER_PIXEL[suffix]
    if suffix not in CONTAINERS:
        allowed = f"{', '.join(CONTAINERS)}, or a pattern such as frames/%05d.png"
        raise LayerloomError(f"{path}: unknown kind of output '{suffix}'; allowed are {allowed}")
    if codec is not None and codec not in ENCODERS:
        raise LayerloomError(f"{path}: unknown codec '{codec}'; allowed are {', '.join(ENCODERS)}")
    _, encoder = choose_encoder(suffix, codec)
    if suffix not in encoder.suffixes:
        raise LayerloomError(f"{path}: {codec} goes into {', '.join(encoder.suffixes)}, not into '{suffix}'")
    return encoder.bytes_per_pixel


def _check_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise LayerloomError(f"{folder}: the output's folder does not exist")
    try:
        # Permissions do not tell about read-only disks, so try.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise LayerloomError(f"{folder}: the output's folder cannot be written to ({error.strerror})") from error


def holds_alpha(output: str | Path, codec: str | None = None) -> bool:
    """Whether an output can keep a source's alpha."""
    path = Path(output)
    if is_pattern(path):
        return path.suffix.lower() in (".png", ".exr")
    _, encoder = choose_encoder(path.suffix.lower(), codec)
    return encoder.alpha_formats is not None


def output_notes(output: str | Path, options: OutputOptions) -> list[str]:
    """A line for each thing that the source declares and this output cannot hold, or holds in another way."""
    path, description = Path(output), options.description
    if description is None:
        return []
    notes = _colour_notes(path, options, description)
    if description.alpha != "none" and not holds_alpha(path, options.codec):
        notes.append("the source's alpha is left out; ffv1, prores4444, vp9 and .png or .exr sequences hold it")
    if is_pattern(path):
        if options.tracks is not None and any(track.decodable for track in description.sounds):
            notes.append("the sound is left out: an image sequence holds none")
        if options.timecode:
            notes.append("the timecode is left out: an image sequence holds none")
        return notes
    if options.tracks is not None:
        notes += left_out_tracks(description.tracks, CONTAINERS[path.suffix.lower()])
    return notes


def _colour_notes(path: Path, options: OutputOptions, description: SourceDescription) -> list[str]:
    suffix, linear = path.suffix.lower(), description.encoding.name != "display"
    hdr = HDR_TRANSFERS.get(description.colour.transfer, "")
    if suffix == ".exr":
        if options.space == "display":
            return ["the EXR holds display-referred colours"]
        return (
            [] if linear else ["the EXR holds linear light, as EXR does; the display space keeps colours as they are"]
        )
    if linear:
        return ["scene-linear light is written for a display (sRGB), clipped at 1; .exr holds all of it"]
    if not hdr:
        return []
    if is_pattern(path):
        return [] if suffix == ".png" else [f"JPEG holds no {hdr}: its colours are stored without their tags"]
    name, encoder = choose_encoder(suffix, options.codec, is_hdr=True)
    notes = [] if options.codec else [f"encoded as {name}, since the source is HDR ({hdr})"]
    if not encoder.is_deep:
        notes.append(f"{name} holds 8 bits: {hdr} keeps its tags but loses depth; hevc, prores and ffv1 keep it")
    if description.mastering is not None and not encoder.mastering:
        notes.append(f"{name} holds no mastering data of HDR; hevc and prores do")
    return notes
