"""Read and write video, image sequences and still images. No other part of the program knows a codec.

Pixels come out upright and square: rotation or mirroring that the container only notes is applied, and anamorphic
footage is stretched along its compressed axis (never shrunk), so every size in the program is a display size.

Colour: YUV becomes full-range RGB by the stream's own matrix and range. An untagged stream is taken as BT.709 from 720
lines on and as BT.601 below, in limited range. Writing uses the same matrices and tags the file with what it used.

formats.py    the kinds of images, told by content: one table of readers; images.py, tiff.py, exr.py, animations.py
description.py  what a source declares, kept and carried to outputs; colour.py, scene_linear.py
container.py  open and decode a file; times.py, fields.py, tracks.py, video_frames.py
probe.py, decode.py    probe, read_frames
outputs.py, encoders.py, nvenc.py, writer.py    check_output, output_notes, open_writer
limits.py     how large what is read may be
"""

from layerloom.media.colour import Colour, usual_colour
from layerloom.media.decode import read_frames, read_stored
from layerloom.media.description import Encoding, ReadOptions, SourceDescription
from layerloom.media.images import read_grey, read_image, write_exr_channels, write_exr_layers, write_image
from layerloom.media.nvenc import encoder_note
from layerloom.media.outputs import OutputOptions, check_output, holds_alpha, output_notes
from layerloom.media.pixels import quantise, to_float
from layerloom.media.probe import MediaInfo, check_several_frames, is_moving, is_there, probe
from layerloom.media.tracks import SourceRange, timecode_after
from layerloom.media.writer import FrameWriter, open_writer

__all__ = [
    "Colour",
    "Encoding",
    "FrameWriter",
    "MediaInfo",
    "OutputOptions",
    "ReadOptions",
    "SourceDescription",
    "SourceRange",
    "check_output",
    "check_several_frames",
    "encoder_note",
    "holds_alpha",
    "is_moving",
    "is_there",
    "open_writer",
    "output_notes",
    "probe",
    "quantise",
    "read_frames",
    "read_grey",
    "read_image",
    "read_stored",
    "timecode_after",
    "to_float",
    "usual_colour",
    "write_exr_channels",
    "write_exr_layers",
    "write_image",
]
