"""`layerloom edit`: the editor, in the browser."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from layerloom.cli.arguments import Frames, Rate, Switch, parse_range, read_options
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project


def edit(
    project: Annotated[Positional[Path], arg(metavar="PROJECT|FOOTAGE")],
    out: Annotated[Path | None, arg(metavar="PROJECT", help_behavior_hint="")] = None,
    frames: Frames = None,
    fps: Rate = None,
    host: Annotated[str, arg(metavar="ADDRESS")] = "127.0.0.1",
    port: Annotated[int, arg(metavar="N")] = 0,
    no_open: Switch = False,
    allow_remote: Switch = False,
) -> None:
    """Edit a project in the browser: paint on a frame or a texture, and every frame follows.

    Footage without a project opens, too: objects are selected and layers learned on the page, then the editor opens.

    Args:
        project: What decompose wrote; or a video file, or a folder of images.
        out: With footage: the project to make, or, where it is there, to edit. Default: beside the footage, bear.loom.
        fps: Of a folder of images, such as 25 or 30000/1001. Default: 24.
        host: Where to listen. Default: this machine alone.
        port: Which port. Default: a free one.
        no_open: Print the address, and leave the browser alone.
        allow_remote: Let other machines in, too, with a --host that they reach. Whoever sees the address can edit.
    """
    place_of = (host, port, not no_open, allow_remote)
    made = out or project.with_suffix(".loom")
    if _is_footage(project) and not made.exists():
        from layerloom.editor.footage.source import FootageChoice
        from layerloom.editor.serve import Place, serve_footage

        choice = FootageChoice(project, read_options(fps, "", "auto"), parse_range(frames))
        serve_footage(choice, made, Place(*place_of), _say)
        return
    from layerloom.editor.serve import Place, serve

    if not _is_footage(project):
        made = project
        if out is not None or frames is not None or fps is not None:
            raise LayerloomError(f"{project}: a project; --out, --frames and --fps are for footage")
    serve(Project.open(made), Place(*place_of), _say)


def _is_footage(path: Path) -> bool:
    """Whether it is something else than a project, or the place of one."""
    return path.suffix != ".loom" and not (path / "project.json").exists()


def _say(address: str) -> None:
    print(address, flush=True)
