"""project.json, the head of a stored project: what it may say, checked before anything else of the project is read."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import Size
from layerloom.core.records import (
    Document,
    Frame,
    InvalidValue,
    LayerName,
    Record,
    document_text,
    parse_document,
    path_field,
    peek_head,
    read_text,
    record_values,
)
from layerloom.data.clip import SourceReference
from layerloom.media.description import SourceDescription
from layerloom.media.limits import limit

FILE = "project.json"
SHOTS_FILE = "shots.json"
"""In its place: a set of projects."""
FORMAT = "layerloom-project"
VERSION = 1
MINOR_VERSION = 1
"""1: `files` has checksums. Projects of minor version 0, which layerloom 0.1 wrote, have none."""
MOST_LEVELS = 16
"""Of settings and provenance in one another."""
LONGEST_SECONDS = 10**7

Side = Annotated[int, Meta(ge=1, le=32767)]
"""What OpenCV's look-ups reach."""
Sides = tuple[Side, Side]
Ratio = Annotated[
    str, Meta(pattern=r"^[0-9]{1,20}(/[0-9]{1,20})?$(?!\n)", description="a fraction such as '30000/1001'")
]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$(?!\n)", description="a SHA-256 in 64 hexadecimal digits")]
Kind = Literal["object", "background"]


class SourceEntry(Record):
    """Where the footage lay, and which frames of it were used."""

    path: Path = path_field(converter=Path)
    relative_path: Path = path_field(converter=Path)
    """From the project's folder."""
    fingerprint: Annotated[str, Meta(min_length=1, max_length=255)]
    size: Sides
    first_frame: Frame
    frames: Annotated[int, Meta(ge=1)]
    fps: Ratio
    timestamps: tuple[Ratio, ...]
    """Seconds of each frame after the first one used."""
    description: SourceDescription | None = None
    """What the footage declares of itself; None where an older layerloom did not keep it."""

    def check(self) -> None:
        fps = parse_ratio(self.fps, "fps")
        if not Fraction(1, 10_000) <= fps <= 10**6:
            raise InvalidValue(f"must be from 1/10000 to 1000000, not {self.fps}", "fps")
        _check_pixels(self.size, "size")
        if self.frames > limit("LAYERLOOM_MAX_FRAMES"):
            most = limit("LAYERLOOM_MAX_FRAMES")
            raise InvalidValue(f"must be at most {most} (LAYERLOOM_MAX_FRAMES raises the limit)", "frames")
        if len(self.timestamps) != self.frames:
            raise InvalidValue(f"there are {len(self.timestamps)} for {self.frames} frames", "timestamps")
        times = [parse_ratio(time, f"timestamps[{number}]") for number, time in enumerate(self.timestamps)]
        for number, (before, after) in enumerate(pairwise(times), 1):
            if after <= before:
                raise InvalidValue(
                    f"must be later than the one before, not {self.timestamps[number]}", f"timestamps[{number}]"
                )
        if times[-1] > LONGEST_SECONDS:
            raise InvalidValue(f"must be at most {LONGEST_SECONDS} seconds", f"timestamps[{len(times) - 1}]")

    def reference(self) -> SourceReference:
        return SourceReference(
            path=self.path,
            fingerprint=self.fingerprint,
            size=self.size,
            first_frame=self.first_frame,
            frames=self.frames,
            fps=parse_ratio(self.fps, "fps"),
            timestamps=tuple(parse_ratio(time, "timestamps") for time in self.timestamps),
            description=self.description,
        )

    @staticmethod
    def of(source: SourceReference, project: Path) -> "SourceEntry":
        """The entry for footage, in a project that will lie at `project`."""
        path = source.path.resolve()
        return SourceEntry(
            path=path,
            relative_path=Path(os.path.relpath(path, project.resolve())),
            fingerprint=source.fingerprint,
            size=source.size,
            first_frame=source.first_frame,
            frames=source.frames,
            fps=f"{source.fps.numerator}/{source.fps.denominator}",
            timestamps=tuple(map(str, source.timestamps)),
            description=source.description,
        )


class LayerEntry(Record):
    """A layer; its files lie in `layers/NAME`."""

    name: LayerName
    kind: Kind
    canvas: Sides

    def check(self) -> None:
        _check_pixels(self.canvas, "canvas")


class HistoryEntry(Record):
    """How learning stood after a step."""

    step: Annotated[int, Meta(ge=0)]
    steps: Annotated[int, Meta(ge=0)]
    seconds: float
    psnr: float | None
    terms: dict[str, float | None]


class LearningFigures(Record, omit_defaults=True):
    """What was measured while learning. psnr: dB, of the layers against the frames."""

    psnr: float | None = None
    psnr_per_frame: tuple[float | None, ...] = ()
    train_seconds: float | None = None
    bake_seconds: float | None = None
    history: tuple[HistoryEntry, ...] = ()


class ProjectHeader(Document, tag=FORMAT):
    """All of project.json. settings, provenance: how the project was learned, for people and for `neural_render`.

    files: the checksum of each other file of the project, by its path from there.
    """

    VERSION: ClassVar[int] = VERSION
    WHAT: ClassVar[str] = FILE
    source: SourceEntry
    training_size: Sides
    layers: Annotated[tuple[LayerEntry, ...], Meta(min_length=1)]
    settings: dict[str, Any]
    provenance: dict[str, Any]
    figures: LearningFigures
    minor_version: Annotated[int, Meta(ge=0, le=MINOR_VERSION)] = 0
    files: dict[str, Sha256] = msgspec.field(default_factory=dict)
    checksum: Sha256 | None = None
    """Of the header itself, but for where the footage lay: a project can be told by hand where it lies now."""

    def check(self) -> None:
        _check_pixels(self.training_size, "training_size")
        if len(self.layers) > limit("LAYERLOOM_MAX_LAYERS"):
            most = limit("LAYERLOOM_MAX_LAYERS")
            raise InvalidValue(f"must be at most {most} (LAYERLOOM_MAX_LAYERS raises the limit)", "layers")
        if [layer.kind for layer in self.layers] != ["object"] * (len(self.layers) - 1) + ["background"]:
            raise InvalidValue("must end with the one background", "layers")
        names = [layer.name.casefold() for layer in self.layers]  # (some file systems take both for one folder)
        if len(set(names)) != len(names):
            raise InvalidValue(f"names repeat: {', '.join(names)[:200]}", "layers")
        for name in ("settings", "provenance"):
            if not is_plain(getattr(self, name)):
                raise InvalidValue(f"lists or objects lie more than {MOST_LEVELS} deep in one another", name)

    def check_whole(self, project: Path, needed: Iterable[str]) -> None:
        """LayerloomError unless the header is as it was written, with checksums of all the files needed.

        Minor version 0 had none.
        """
        if self.minor_version == 0 and not self.files and self.checksum is None:
            return
        unknown = next((name for name in needed if name not in self.files), None)
        if unknown is not None:
            raise LayerloomError(f"{project / FILE}: damaged project: files: lacks '{unknown}'")
        if self.checksum != self.own_checksum():
            raise LayerloomError(f"{project / FILE}: damaged project: not as it was written (its checksum differs)")

    def own_checksum(self) -> str:
        """SHA-256 of all but itself and the footage's place."""
        values = record_values(self)
        del values["checksum"], values["source"]["path"], values["source"]["relative_path"]
        text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()


def write_header(folder: Path, header: ProjectHeader, files: Mapping[str, str]) -> None:
    """Write project.json with the checksums of the other files."""
    header = replace(header, minor_version=MINOR_VERSION, files=dict(files))
    header = replace(header, checksum=header.own_checksum())
    (folder / FILE).write_text(document_text(header), encoding="utf-8")


def read_header(project: Path) -> ProjectHeader:
    """The head of the project in a folder. LayerloomError if there is none, or it is damaged or newer."""
    file = project / FILE
    if (project / SHOTS_FILE).is_file() and not file.exists():
        raise LayerloomError(f"{project}: several shots, each a project of its own; name one: {project / 'shot-000'}")
    if not file.is_file() or file.is_symlink():
        raise LayerloomError(f"{project}: not a layerloom project (a folder that holds a {FILE})")
    text = read_text(file)
    try:
        head = peek_head(text)
        if head.format != FORMAT:
            raise LayerloomError(f"{file}: not a layerloom project: its format is not '{FORMAT}'")
        versions = [0 if each is None else each for each in (head.version, head.minor_version)]
        if not all(type(each) is int for each in versions) or head.version is None:
            raise InvalidValue("it has no version")
        if versions > [VERSION, MINOR_VERSION]:
            written, read = f"{versions[0]}.{versions[1]}"[:20], f"{VERSION}.{MINOR_VERSION}"
            raise LayerloomError(
                f"{project}: written by a newer layerloom (project version {written}, this one reads {read})"
            )
        return parse_document(text, ProjectHeader)
    except LayerloomError as error:
        if str(error).startswith(str(project)):
            raise
        raise LayerloomError(f"{file}: damaged project: {error}") from None


def parse_ratio(text: str, path: str) -> Fraction:
    """`30000/1001`, or a whole number. Raises InvalidValue, which names the path, for one over 0."""
    numerator, _, denominator = text.partition("/")
    if int(denominator or 1) == 0:
        raise InvalidValue("must be a fraction, not one over 0", path)
    return Fraction(int(numerator), int(denominator or 1))


def is_plain(value: Any, levels: int = MOST_LEVELS) -> bool:
    """Whether lists and objects lie at most so deep in one another."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return levels > 0 and all(is_plain(part, levels - 1) for part in parts)


def _check_pixels(size: Size, path: str) -> None:
    most = limit("LAYERLOOM_MAX_PIXELS")
    if size[0] * size[1] > most:
        given = f"{size[0]} x {size[1]}"
        raise InvalidValue(f"must be at most {most} pixels (LAYERLOOM_MAX_PIXELS raises the limit), not {given}", path)
