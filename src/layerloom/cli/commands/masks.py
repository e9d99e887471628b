"""`layerloom masks`: masks alone, found or picked by hand, as a roto tool's."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from layerloom.cli.arguments import (
    Footage,
    Frames,
    OptionalFile,
    OptionalFolder,
    OptionalNumber,
    Rate,
    Selections,
    Switch,
    count_frames,
    parse_range,
    read_options,
)
from layerloom.cli.console import Console
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress
from layerloom.edits.selection import Selection, parse_selection

if TYPE_CHECKING:
    from layerloom.prepare.prepare import MasksAlone


def masks(
    footage: Footage,
    to: OptionalFolder = None,
    select: Selections = (),
    indexed: Switch = False,
    exr: Switch = False,
    matte: OptionalFile = None,
    soft: Switch = False,
    preview: OptionalFile = None,
    frames: Frames = None,
    long_edge: OptionalNumber = None,
    fps: Rate = None,
    exr_layer: Annotated[str, arg(metavar="NAME", help_behavior_hint="")] = "",
    linear: Annotated[Literal["auto", "yes", "no"], arg(help_behavior_hint="")] = "auto",
    json: Switch = False,
) -> None:
    """Write masks of a video's objects, found by themselves or picked by hand. Nothing is learned.

    Args:
        footage: A video file, or a folder of images.
        to: The folder to write: a folder of PNG for each object, 255 where the object is.
        indexed: One series of images with an index per object instead, as DAVIS has them.
        exr: One EXR a frame instead, with a channel named after each object.
        matte: A video to write, such as matte.mov; of several objects one each, matte-NAME.mov.
        soft: Outlines as soft as the clip shows them, instead of 0 and 255 alone.
        preview: A contact sheet to write, such as sheet.png: frames with outlines and hints.
        long_edge: Look at the frames at this size (longer side, pixels). Default: 640.
        fps: Of a folder of images, such as 25 or 30000/1001. Default: 24.
        exr_layer: The layer of EXR files to read, where they have several.
        linear: Whether the footage is scene-linear light. Default: EXR is.
        json: One JSON object a line instead of progress bars.
    """
    if indexed and exr:
        raise LayerloomError("indexed images or EXR, not both", "indexed", "exr")
    if (indexed or exr) and to is None:
        raise LayerloomError("images need a folder", "to")
    if preview is not None and not preview.absolute().parent.is_dir():
        raise LayerloomError(f"{preview.parent}: the folder does not exist", "preview")
    layout = "indexed" if indexed else "exr" if exr else "folders"
    selection, used, reading = parse_selection(select), parse_range(frames), read_options(fps, exr_layer, linear)
    with Console(json) as console:
        console.report(Progress("start", 0.0))  # PyTorch takes seconds to load
        from layerloom.prepare.mask_output import MaskOutput, check_mask_output, write_masks
        from layerloom.prepare.prepare import find_masks, soft_masks

        output = MaskOutput(to, layout, matte, soft)
        check_mask_output(output)
        made = find_masks(
            footage, selection, reading=reading, frames=used, long_edge=long_edge, on_progress=console.report
        )
        made = soft_masks(made) if soft else made
        written = write_masks(made, selection, output, console.share("write"))
        if preview is not None:
            _write_preview(preview, made, selection)
            written.append(preview)
        _say(console, made.masks.names, written, len(made.used))


def _write_preview(file: Path, made: "MasksAlone", selection: Selection | None) -> None:
    from layerloom.media import write_image
    from layerloom.prepare.masks.contact_sheet import contact_sheet

    write_image(file, contact_sheet(made.frames, made.masks, selection, made.info.size, made.used.start))


def _say(console: Console, names: tuple[str, ...], written: list[Path], frames: int) -> None:
    places = ", ".join(str(path) for path in written)
    console.result(
        f"{places}: {count_frames(frames)}, from front to back: {', '.join(names)}",
        {"outputs": [str(path) for path in written], "frames": frames, "objects": list(names)},
    )
