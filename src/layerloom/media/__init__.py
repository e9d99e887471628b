"""Read and write video, image sequences and still images. No other part of the program knows a codec.

Pixels come out upright and square: rotation or mirroring that the container only notes is applied, and anamorphic
footage is stretched along its compressed axis (never shrunk), so every size in the program is a display size.

Colour: YUV becomes full-range RGB by the stream's own matrix and range. An untagged stream is taken as BT.709 from 720
lines on and as BT.601 below, in limited range. Writing uses the same matrices and tags the file with what it used.

images.py     one still image; integers <-> floats
colour.py     matrices, ranges and tags of YUV
container.py  open and decode a file
reading.py    probe, read_frames
sound.py      the source's sound, copied into an output
writing.py    check_output, open_writer
"""

from layerloom.media.colour import Colour, usual_colour
from layerloom.media.decode import MediaInfo, check_several_frames, probe, read_frames
from layerloom.media.encode import FrameWriter, check_output, open_writer
from layerloom.media.images import quantise, read_grey, read_image, to_float, write_exr_parts, write_image

__all__ = [
    "Colour",
    "FrameWriter",
    "MediaInfo",
    "check_output",
    "check_several_frames",
    "open_writer",
    "probe",
    "quantise",
    "read_frames",
    "read_grey",
    "read_image",
    "to_float",
    "usual_colour",
    "write_exr_parts",
    "write_image",
]
