"""`layerloom export`: a project's layers for other programs."""

from typing import Annotated

from tyro.conf import arg

from layerloom.cli.arguments import Folder, Frames, ProjectFolder, Switch, count_frames
from layerloom.cli.console import Console
from layerloom.cli.shot_sets import open_parts


def export(
    project: ProjectFolder,
    to: Folder,
    only: Annotated[str | None, arg(metavar="PART,PART,...", help_behavior_hint="")] = None,
    frames: Frames = None,
    json: Switch = False,
) -> None:
    """Write textures, mattes, ST maps and lighting for other programs.

    Args:
        project: What decompose wrote.
        to: The folder to write; of a set a folder for each shot in it.
        only: Some of textures, mattes, st, lighting (the default: all four), psd, ora, st_inverse, st16, tracks,
            exr, prores, vp9, nuke, blender; separated by commas.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom.export.export import DEFAULT_PARTS
    from layerloom.export.export import export as export_parts

    parts = open_parts(project, frames)
    kinds = DEFAULT_PARTS if only is None else [part.strip() for part in only.split(",")]
    with Console(json) as console:
        for part in parts:
            folder = to if part.number is None else to / part.project.path.name
            if part.number is not None:
                console.note(f"{folder}: frames {part.frames.start} to {part.frames.stop - 1}")
            export_parts(part.project, folder, kinds, part.frames, console.report)
        count = sum(len(part.frames) for part in parts)
        console.result(f"{to}: {count_frames(count)}", {"output": str(to), "frames": count})
