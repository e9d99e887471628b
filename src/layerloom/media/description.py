"""What a source declares of itself: kept in the project's record, carried to every output that can hold it."""

import struct
from dataclasses import dataclass
from typing import Literal

import numpy as np
from av.video import VideoFrame

from layerloom.media.colour import HDR_TRANSFERS, Colour

Alpha = Literal["none", "straight", "associated"]


@dataclass(frozen=True)
class Mastering:
    """The display that HDR was mastered on (SMPTE ST 2086), in its own units, and how bright it gets.

    chromaticities: x and y of red, green, blue and white in 1/50000. luminance: least and most, in 1/10000 cd/m².
    content_light: the brightest pixel and the brightest frame's mean, in cd/m² (CTA-861.3); (0, 0): not told.
    """

    chromaticities: tuple[int, int, int, int, int, int, int, int]
    luminance: tuple[int, int]
    content_light: tuple[int, int]


@dataclass(frozen=True)
class Track:
    """A track of sound or subtitles. index: among the file's streams. codec: FFmpeg's name, empty if unknown."""

    kind: Literal["sound", "subtitles"]
    index: int
    codec: str
    language: str
    title: str
    default: bool
    decodable: bool


@dataclass(frozen=True)
class Encoding:
    """How light is stored in the arrays that `read_frames` gives; see `scene_linear`.

    "display": as the source shows it. "extended-srgb": scene-linear light up to `white` through a curve that is sRGB's,
    scaled, up to 1.
    """

    name: Literal["display", "extended-srgb"] = "display"
    white: float = 1.0


@dataclass(frozen=True)
class ReadOptions:
    """What a user says of footage that it does not say itself.

    fps: of images, as a fraction; None: 24. layer: of an EXR, where it has several; empty: the usual one. linear:
    whether pixels are scene-linear light; None: those of EXR are.
    """

    fps: tuple[int, int] | None = None
    layer: str = ""
    linear: bool | None = None


@dataclass(frozen=True)
class SourceDescription:
    """What the footage declares. All of it is plain values, so that a project stores it as JSON.

    interlaced: some frames are stored as two fields (they are deinterlaced when read). rotation: degrees by which the
    container turns its pictures, and pixel_aspect: width to height of a stored pixel (both are applied when read).
    numbers: of a folder's images, where all have one. sample: how a folder of EXR stores its pixels. options: how the
    footage is read.
    """

    colour: Colour
    mastering: Mastering | None = None
    interlaced: bool = False
    alpha: Alpha = "none"
    tracks: tuple[Track, ...] = ()
    timecode: str = ""
    rotation: int = 0
    pixel_aspect: tuple[int, int] = (1, 1)
    numbers: tuple[int, ...] | None = None
    encoding: Encoding = Encoding()
    sample: Literal["", "half", "float"] = ""
    options: ReadOptions = ReadOptions()

    @property
    def is_hdr(self) -> bool:
        """Whether its transfer is PQ or HLG."""
        return self.colour.transfer in HDR_TRANSFERS

    @property
    def sounds(self) -> tuple[Track, ...]:
        return tuple(track for track in self.tracks if track.kind == "sound")


UNTOLD = (0, 0, 0, 0, 0, 0, 0, 0)


def mastering_of(frame: VideoFrame) -> Mastering | None:
    """The HDR side data of a decoded frame; None where it has none."""
    display = frame.side_data.get("MASTERING_DISPLAY_METADATA")
    light = frame.side_data.get("CONTENT_LIGHT_LEVEL")
    content_light = (0, 0)
    if light is not None and len(bytes(light)) >= 8:
        most, average = struct.unpack("=II", bytes(light)[:8])
        content_light = most, average
    if display is None:
        return None if content_light == (0, 0) else Mastering(UNTOLD, (0, 0), content_light)
    # AVMasteringDisplayMetadata: ten rationals (red, green, blue, white; least and most luminance), two flags.
    values = np.frombuffer(bytes(display), np.int32)
    top, bottom = values[:20:2].astype(float), np.maximum(values[1:20:2], 1)
    has_primaries, has_luminance = values[20:22]
    points = np.rint(50_000 * top[:8] / bottom[:8]) * bool(has_primaries)
    luminance = np.rint(10_000 * top[8:] / bottom[8:]) * bool(has_luminance)
    if not has_primaries and not has_luminance and content_light == (0, 0):
        return None
    a, b, c, d, e, f, g, h = (int(value) for value in points)
    return Mastering((a, b, c, d, e, f, g, h), (int(luminance[0]), int(luminance[1])), content_light)
