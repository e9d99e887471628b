"""`layerloom render`: a project with edits to a video or images."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import UseAppendAction, arg

from layerloom.cli.arguments import Device, Frames, OptionalFile, ProjectFolder, Switch, count_frames
from layerloom.cli.canvas_options import CanvasOptions
from layerloom.cli.console import Console
from layerloom.cli.shot_options import ShotOptions
from layerloom.cli.shot_sets import Part, edited_part, open_parts
from layerloom.core.device import choose_device
from layerloom.core.errors import LayerloomError
from layerloom.data.project import Project
from layerloom.edits.canvas import Paint, Text, Texture
from layerloom.edits.document import Background, Edit, Hide, read_edits

if TYPE_CHECKING:
    import numpy as np

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
    shot_number: Annotated[int | None, arg(name="shot", metavar="N", help_behavior_hint="")] = None,
    codec: Annotated[str | None, arg(metavar="CODEC", help_behavior_hint="")] = None,
    encoder: Literal["auto", "software", "nvenc"] = "auto",
    space: Literal["linear", "display"] = "linear",
    json: Switch = False,
) -> None:
    """Render the video with edits.

    Args:
        project: What decompose wrote.
        out: A video file (.mp4, .mov, .mkv, .webm), or a pattern of images such as frames/%05d.png.
        edits: A file of edits (JSON), or the word journal: what was edited in the browser, of a set in each shot.
        hide: A layer to leave out; what is behind it shows.
        background: A picture or a colour in place of the background.
        mode: detail changes the source's own frames where there are edits; synthesis shows the layers alone.
        drawn_from: networks evaluates what was learned at every pixel instead of the baked maps, as in synthesis.
        device: Where to draw. Default: on the GPU if there is one.
        shot_number: Of a set: the shot whose layers the edits name, from 0. All shots are joined.
        codec: h264, hevc, prores, prores4444, vp9 or ffv1. Default: h264, for .webm vp9, for HDR hevc.
        encoder: Of h264 and hevc: nvenc on an NVIDIA GPU that encodes. Default: that where it can be.
        space: In which .exr holds colours: linear light, or as a display shows them.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom.compose.composition import compose
    from layerloom.render.output import output_options, source_tracks
    from layerloom.render.renderer import Renderer
    from layerloom.render.stream import draw_shots
    from layerloom.render.video import write_joined

    parts = open_parts(project, frames)
    size, journal = parts[0].project.source.size, edits is not None and str(edits) == JOURNAL
    given = (*canvas.edits(), *hide, background, None if journal else edits, *shot.edits(size, parts[0].frames))
    edited = edited_part(project, parts, shot_number, any(each is not None for each in given))

    def chosen(part: Part) -> list[Edit]:
        kept = _read_edits(part.project, edits) if edits is not None and (journal or part is edited) else ()
        if part is not edited:
            return list(kept)
        return [
            *canvas.edits(),
            *(Hide(layer) for layer in hide),
            *([] if background is None else [Background(background)]),
            *shot.edits(size, part.frames),
            *kept,
        ]

    compositions = [compose(part.project, chosen(part), part.frames) for part in parts]
    shown = range(parts[0].frames.start, parts[-1].frames.stop)
    with Console(json) as console:
        if mode == "synthesis" and parts[0].project.source_problem:
            note = parts[0].project.source_problem.partition("; put it back")[0]
            console.note(f"{note}; mattes stay as they were learned, and there is no sound")
        _check_speeds(compositions)
        if compositions[0].shots.speed != 1 and source_tracks(compositions[0]):
            console.note("the sound is left out, as the speed changes")
        drawn_on = choose_device(device, to_draw=True)

        def draw(composition: "Composition") -> "Iterable[np.ndarray]":
            if drawn_from == "networks":
                from layerloom.neural_render import render_networks

                return render_networks(composition, drawn_on)
            return draw_shots(Renderer(composition.project, drawn_on), composition, composition.shots.shots, mode)

        for composition in compositions:
            _tell_changes(composition, console)
        joined = [(each, part.start - parts[0].start) for each, part in zip(compositions, parts, strict=True)]
        options = replace(output_options(compositions[0], codec, space, shown), encoder=encoder)
        write_joined(joined, draw, out, options, console.report)
        for composition in compositions:
            _tell_unseen(composition, console)
        count = sum(len(composition.shots.shots) for composition in compositions)
        console.result(
            f"{out}: {count_frames(count)}, drawn on the {'GPU' if drawn_on == 'cuda' else 'CPU'}",
            {"output": out, "frames": count, "device": drawn_on},
        )


def _check_speeds(compositions: "Sequence[Composition]") -> None:
    """Shots are joined at their own times."""
    if len(compositions) > 1 and any(composition.shots.speed != 1 for composition in compositions):
        raise LayerloomError("shots of another speed cannot be joined; render that shot's own project", "speed")


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
