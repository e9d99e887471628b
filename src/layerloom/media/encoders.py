"""The table of codecs that video is written with, and how each is asked for."""

from dataclasses import dataclass
from typing import Literal

from layerloom.media.description import Mastering


@dataclass(frozen=True)
class Encoder:
    """How FFmpeg is asked for a codec.

    formats: pixel formats for (8 bit, deeper). odd_formats: those for sizes that 4:2:0 cannot hold. mastering: how the
    codec, or its container, is told of HDR's mastering data; empty where neither holds them.
    """

    name: str
    suffixes: tuple[str, ...]
    formats: tuple[str, str]
    odd_formats: tuple[str, str]
    alpha_formats: tuple[str, str] | None
    options: dict[str, str]
    bytes_per_pixel: float
    mastering: Literal["", "x264", "x265", "boxes"] = ""

    @property
    def is_deep(self) -> bool:
        """Whether deep frames are stored deeper than 8 bits."""
        return self.formats[0] != self.formats[1] or "10" in self.formats[1]


ENCODERS = {
    "h264": Encoder(
        "libx264",
        (".mp4", ".mov", ".mkv"),
        ("yuv420p", "yuv420p"),  # few players decode 10-bit H.264
        ("yuv444p", "yuv444p"),
        None,
        # Close to "medium" at 15 in picture and size, much faster; without trellis flat colours shift.
        {"crf": "14", "preset": "veryfast", "trellis": "1"},
        0.05,
        "x264",
    ),
    "hevc": Encoder(
        "libx265",
        (".mp4", ".mov", ".mkv"),
        ("yuv420p", "yuv420p10le"),
        ("yuv444p", "yuv444p10le"),
        None,
        {"crf": "15", "preset": "medium", "x265-params": "log-level=none"},
        0.05,
        "x265",
    ),
    "prores": Encoder(
        "prores_ks",
        (".mov",),
        ("yuv422p10le", "yuv422p10le"),
        ("yuv422p10le", "yuv422p10le"),
        None,
        {"profile": "hq", "vendor": "apl0"},
        0.4,
        "boxes",
    ),
    "prores4444": Encoder(
        "prores_ks",
        (".mov",),
        ("yuv444p10le", "yuv444p10le"),
        ("yuv444p10le", "yuv444p10le"),
        ("yuva444p10le", "yuva444p10le"),
        {"profile": "4444", "vendor": "apl0"},
        0.8,
        "boxes",
    ),
    "vp9": Encoder(
        "libvpx-vp9",
        (".webm", ".mkv"),
        ("yuv420p", "yuv420p"),
        ("yuv420p", "yuv420p"),  # VP9 holds odd sizes as they are
        ("yuva420p", "yuva420p"),
        {"crf": "15", "b": "0", "deadline": "good", "cpu-used": "3", "row-mt": "1"},
        0.1,
    ),
    "ffv1": Encoder(
        "ffv1",
        (".mkv",),
        ("bgr0", "gbrp16le"),
        ("bgr0", "gbrp16le"),
        ("bgra", "gbrap16le"),
        {"level": "3", "g": "1", "slices": "4", "slicecrc": "1"},
        1.0,
    ),
}
NVENC = {
    "h264": Encoder(
        "h264_nvenc",
        (".mp4", ".mov", ".mkv"),
        ("yuv420p", "yuv420p"),
        ("yuv444p", "yuv444p"),
        None,
        {"preset": "p5", "rc": "vbr", "cq": "16", "b": "0"},
        0.05,
    ),
    "hevc": Encoder(
        "hevc_nvenc",
        (".mp4", ".mov", ".mkv"),
        ("yuv420p", "p010le"),
        ("yuv444p", "yuv444p16le"),
        None,
        {"preset": "p5", "rc": "vbr", "cq": "17", "b": "0"},
        0.05,
    ),
}
"""What an NVIDIA GPU encodes in their place."""
CONTAINERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm"}
USUAL_CODECS = {".mp4": "h264", ".mov": "h264", ".mkv": "h264", ".webm": "vp9"}
SEQUENCE_BYTES_PER_PIXEL = {".png": 1.0, ".jpg": 0.4, ".jpeg": 0.4, ".exr": 6.0}


def choose_encoder(suffix: str, codec: str | None, is_hdr: bool = False) -> tuple[str, Encoder]:
    """The encoder of a codec's name; without one the container's usual one, for HDR one of 10 bits if it has one.

    suffix: of a container that is known; codec: a known one that fits.
    """
    usual = "hevc" if is_hdr and suffix in ENCODERS["hevc"].suffixes else USUAL_CODECS[suffix]
    return codec or usual, ENCODERS[codec or usual]


def mastering_options(encoder: Encoder, mastering: Mastering | None) -> dict[str, str]:
    """The encoder's options, with those that tell it of HDR's mastering data."""
    options = dict(encoder.options)
    if mastering is None or encoder.mastering not in ("x264", "x265"):
        return options
    told: list[str] = []
    if any(mastering.chromaticities):
        rx, ry, gx, gy, bx, by, wx, wy = mastering.chromaticities
        least, most = mastering.luminance
        display = f"G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({most},{least})"
        told.append(f"{'master-display' if encoder.mastering == 'x265' else 'mastering-display'}={display}")
    if any(mastering.content_light):
        light = ",".join(str(value) for value in mastering.content_light)
        told.append(f"{'max-cll' if encoder.mastering == 'x265' else 'cll'}={light}")
    name = "x265-params" if encoder.mastering == "x265" else "x264-params"
    options[name] = ":".join([*([options[name]] if name in options else []), *told])
    return options
