"""`layerloom render`: a project with edits to a video or images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import UseAppendAction, arg

from layerloom.cli.arguments import Device, Frames, OptionalFile, ProjectFolder, Switch, count_frames, source_range
from layerloom.cli.canvas_options import CanvasOptions
from layerloom.cli.console import Console
from layerloom.cli.shot_options import ShotOptions
from layerloom.core.device import choose_device
from layerloom.data.project import Project
from layerloom.edits.canvas import Paint, Text, Texture
from layerloom.edits.document import Background, Edit, Hide, read_edits

if TYPE_CHECKING:
    from layerloom.compose.composition import Composition

LEAST_UNSEEN = 0.0005
"""Share of a frame below which it is not worth a line."""


JOURNAL = "journal"
"""In place of a file of edits: the project's own journal, which the editor keeps. (A file may be called ./journal.)"""


def render(
    project: ProjectFolder,
    out: Annotated[str, arg(metavar="FILE|PATTERN")],
    canvas: Annotated[CanvasOptions, arg(name="")],
    shot: Annotated[ShotOptions, arg(name="")],
    edits: OptionalFile = None,
    hide: Annotated[UseAppendAction[tuple[str, ...]], arg(metavar="LAYER")] = (),
    background: Annotated[str | None, arg(metavar="FILE|#rrggbb", help_behavior_hint="")] = None,
    mode: Literal["detail", "synthesis"] = "detail",
    drawn_from: Annotated[Literal["maps", "networks"], arg(name="from")] = "maps",
    device: Device = "auto",
    frames: Frames = None,
    codec: Annotated[str | None, arg(metavar="CODEC", help_behavior_hint="")] = None,
    space: Literal["linear", "display"] = "linear",
    json: Switch = False,
) -> None:
    """Render the video with edits.

    Args:
        project: What decompose wrote.
        out: A video file (.mp4, .mov, .mkv, .webm), or a pattern of images such as frames/%05d.png.
        edits: A file of edits (JSON), or the word journal: what was edited in the browser.
        hide: A layer to leave out; what is behind it shows.
        background: A picture or a colour in place of the background.
        mode: detail changes the source's own frames where there are edits; synthesis shows the layers alone.
        drawn_from: networks evaluates what was learned at every pixel instead of the baked maps, as in synthesis.
        device: Where to draw. Default: on the GPU if there is one.
        codec: h264, hevc, prores, prores4444, vp9 or ffv1. Default: h264, for .webm vp9, for HDR hevc.
        space: In which .exr holds colours: linear light, or as a display shows them.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom.compose.composition import compose
    from layerloom.render.output import source_tracks
    from layerloom.render.renderer import Renderer
    from layerloom.render.stream import draw_shots
    from layerloom.render.video import write_pictures

    opened = Project.open(project)
    numbers = source_range(opened, frames)
    chosen: list[Edit] = [
        *canvas.edits(),
        *(Hide(layer) for layer in hide),
        *([] if background is None else [Background(background)]),
        *shot.edits(opened.source.size, numbers),
        *([] if edits is None else _read_edits(opened, edits)),
    ]
    composition = compose(opened, chosen, numbers)
    shots = composition.shots
    with Console(json) as console:
        if mode == "synthesis" and opened.source_problem:
            note = opened.source_problem.partition("; put it back")[0]
            console.note(f"{note}; mattes stay as they were learned, and there is no sound")
        if shots.speed != 1 and source_tracks(composition):
            console.note("the sound is left out, as the speed changes")
        drawn_on = choose_device(device, to_draw=True)
        if drawn_from == "networks":
            from layerloom.neural_render import render_networks

            pictures = render_networks(composition, drawn_on)
        else:
            pictures = draw_shots(Renderer(opened, drawn_on), composition, shots.shots, mode)
        _tell_changes(composition, console)
        write_pictures(composition, pictures, out, codec, console.report, space)
        _tell_unseen(composition, console)
        count = len(shots.shots)
        console.result(
            f"{out}: {count_frames(count)}, drawn on the {'GPU' if drawn_on == 'cuda' else 'CPU'}",
            {"output": out, "frames": count, "device": drawn_on},
        )


def _tell_changes(composition: "Composition", console: Console) -> None:
    """A line on each edit that changes nothing, and on each texture; one that was saved wrongly changes nearly all."""
    for edit, share in composition.canvas_shares():
        name = str(edit.text if isinstance(edit, Text) else edit.file)
        where = "the picture" if isinstance(edit, Paint) else f"layer '{edit.layer}'"
        if share == 0:
            console.note(f"{name}: changes nothing of {where}")
        elif share is not None and isinstance(edit, Texture):
            doubt = "; was it saved lossily, in another colour space, or from another project?" if share > 0.5 else ""
            console.note(f"{name}: changes {_percent(share)} of {where}{doubt}")


def _tell_unseen(composition: "Composition", console: Console) -> None:
    """One line on what is shown though nobody saw it."""
    shares = composition.unseen_shares()
    if max(shares) < LEAST_UNSEEN:
        return
    shown = "guessed from around it" if composition.marker is None else composition.marker.content
    worst = shares.index(max(shares))
    console.note(
        f"no frame saw {_percent(sum(shares) / len(shares))} of what is shown,"
        f" in {sum(share > 0 for share in shares)} of {len(shares)} frames,"
        f" most in frame {worst} ({_percent(shares[worst])}); it is {shown}"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= LEAST_UNSEEN else "less than 0.1%"


def _read_edits(project: Project, file: Path) -> tuple[Edit, ...]:
    if str(file) != JOURNAL:
        return read_edits(file)
    from layerloom.editor.session import session_edits

    return session_edits(project)
