"""`layerloom export`: a project's layers for other programs."""

from typing import Annotated

from tyro.conf import arg

from layerloom.cli.arguments import Folder, Frames, ProjectFolder, Switch, count_frames, source_range
from layerloom.cli.console import Console
from layerloom.data.project import Project


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
        to: The folder to write.
        only: Some of textures, mattes, st, lighting (the default: all four), psd, ora, st_inverse, st16, tracks,
            exr, prores, vp9, nuke, blender; separated by commas.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom.export.export import DEFAULT_PARTS
    from layerloom.export.export import export as export_parts

    opened = Project.open(project)
    parts = DEFAULT_PARTS if only is None else [part.strip() for part in only.split(",")]
    numbers = source_range(opened, frames)
    with Console(json) as console:
        export_parts(opened, to, parts, numbers, console.report)
        console.result(f"{to}: {count_frames(len(numbers))}", {"output": str(to), "frames": len(numbers)})
