"""Encoding on an NVIDIA GPU, where PyAV, the driver and the GPU can."""

from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import av.error
from av.codec.codec import UnknownCodecError
from av.video.codeccontext import VideoCodecContext

from layerloom.core.device import has_driver
from layerloom.core.errors import LayerloomError
from layerloom.media.encoders import CONTAINERS, NVENC, Encoder, choose_encoder
from layerloom.media.outputs import OutputOptions
from layerloom.media.sequences import is_pattern


def chosen_encoder(suffix: str, options: OutputOptions) -> tuple[Encoder, str]:
    """What a video file is encoded with, and a line on that where it is not as usual.

    LayerloomError where NVENC is asked for by name and cannot be.
    """
    description = options.description
    name, software = choose_encoder(suffix, options.codec, description is not None and description.is_hdr)
    if options.encoder == "software":
        return software, ""
    obstacle = f"it encodes {' and '.join(NVENC)}, not {name}" if name not in NVENC else obstacle_to(NVENC[name].name)
    if options.encoder == "nvenc":
        if obstacle:
            raise LayerloomError(f"NVENC cannot encode this: {obstacle}; auto and software can", "encoder")
        return NVENC[name], f"encoded by NVENC ({NVENC[name].name})"
    if name not in NVENC or (description is not None and description.mastering is not None):
        return software, ""  # which keeps HDR's mastering data
    if not obstacle:
        return NVENC[name], f"encoded by NVENC ({NVENC[name].name})"
    return software, f"encoded by {software.name}, since NVENC cannot be used: {obstacle}" if has_driver() else ""


def encoder_note(output: str | Path, options: OutputOptions) -> list[str]:
    """The line of `chosen_encoder` on an output, if there is one. LayerloomError likewise."""
    path = Path(output)
    if is_pattern(path) or path.suffix.lower() not in CONTAINERS:
        return []
    _, line = chosen_encoder(path.suffix.lower(), options)
    return [line] if line else []


@cache
def obstacle_to(name: str) -> str:
    """What keeps one of FFmpeg's NVENC encoders from being used; empty if nothing does. It is tried."""
    try:
        context = av.CodecContext.create(name, "w")
    except UnknownCodecError:
        return f"this PyAV has no {name}"
    assert isinstance(context, VideoCodecContext)
    context.width, context.height, context.pix_fmt = 256, 256, "yuv420p"
    context.time_base = Fraction(1, 25)
    try:
        context.open(strict=False)
    except (av.error.FFmpegError, ValueError, OSError):
        return (
            "there is no GPU here that encodes, or its driver is too old"
            if has_driver()
            else "there is no NVIDIA GPU here"
        )
    return ""
