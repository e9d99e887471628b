"""The command line: one short function per command, all through the public API.

Exit codes: 0 done, 1 unexpected, 2 bad usage or input (one line), 130 interrupted.
"""

import contextlib
import errno
import functools
import io
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from fractions import Fraction
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from layerloom import media
from layerloom.cli.canvas_options import CanvasOptions, parse_file, read_frame
from layerloom.cli.console import Console
from layerloom.cli.shot_options import ShotOptions
from layerloom.core.device import wake_gpu
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Report
from layerloom.data.clip import Masks
from layerloom.data.project import Project
from layerloom.edits.document import Background, Edit, Hide, edits_from_json
from layerloom.edits.shot import Unseen

if TYPE_CHECKING:
    from layerloom.compose.shot_list import ShotList

# Commands import what they need when they run, so that those without learning start without PyTorch.

Footage = Annotated[Positional[Path], arg(metavar="FOOTAGE")]
ProjectFolder = Annotated[Positional[Path], arg(metavar="PROJECT")]
NewProject = Annotated[Path, arg(metavar="PROJECT")]
Folder = Annotated[Path, arg(metavar="DIR")]
Number = Annotated[int, arg(metavar="N")]
Device = Literal["auto", "cpu", "cuda"]
OptionalFolder = Annotated[Path | None, arg(metavar="DIR", help_behavior_hint="")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE", help_behavior_hint="")]
OptionalNumber = Annotated[int | None, arg(metavar="N", help_behavior_hint="")]
Frames = Annotated[
    str | None,
    arg(metavar="A:B", help="Frames A to B - 1 of the source, counted from 0. Default: all.", help_behavior_hint=""),
]
Switch = Annotated[bool, arg(help_behavior_hint="")]


def decompose(
    footage: Footage,
    out: NewProject,
    masks: OptionalFolder = None,
    quality: Literal["draft", "standard", "fine"] = "standard",
    long_edge: OptionalNumber = None,
    frames: Frames = None,
    flow: Annotated[str, arg(metavar="dis|raft|DIR")] = "dis",
    flow_weights: OptionalFile = None,
    device: Device = "auto",
    seed: Number = 0,
    resume: Switch = False,
    json: Switch = False,
) -> None:
    """Learn the layers of a video.

    Args:
        footage: A video file, or a folder of images.
        out: The project to write, such as bear.loom.
        masks: A folder of images for each object, one folder of images, or indexed-palette images.
            Default: objects are found by their motion.
        quality: How long to learn.
        long_edge: Learn at this size (longer side, pixels). Edits are rendered at the footage's own size all the same.
            Default: 384, 640 or 960 by quality on a CPU; 960, 1920 or 4096 on a GPU.
        flow: How to find motion: dis, raft (needs --flow-weights), or a folder of .flo or .npy files.
        flow_weights: The official weights of RAFT-small (raft-small.pth).
        device: Where to learn.
        seed: Of everything random.
        resume: Go on from where an interrupted run of the same command stopped.
        json: One JSON object a line instead of progress bars.
    """
    with Console(json) as console:
        console.report(Report("start", 0.0))  # PyTorch takes seconds to load
        if device != "cpu":
            wake_gpu()
        from layerloom import decompose as pipeline

        pipeline.check_new_project(out, resume)
        chosen = pipeline.choose_device(device)
        with _offering_to_resume(out):
            project = pipeline.decompose(
                # Not kept here, so that it can be let go of piece by piece.
                pipeline.prepare(
                    footage,
                    masks=masks,
                    frames=_range(frames),
                    long_edge=_long_edge(long_edge, pipeline.default_long_edge(quality, chosen)),
                    flow=flow if flow in ("dis", "raft") else Path(flow),
                    flow_weights=flow_weights,
                    device=chosen,
                    on_report=console.report,
                ),
                out,
                quality=quality,
                device=chosen,
                seed=seed,
                resume=resume,
                provenance={"masks": None if masks is None else str(masks.resolve()), "flow": flow},
                on_report=console.report,
            )
            psnr, names = project.figures["psnr"], [layer.name for layer in project.layers]
            console.result(
                f"{out}: {psnr:.2f} dB, layers from front to back: {', '.join(names)}\n{_next_steps(out, names[0])}",
                {"project": str(out), "psnr": psnr, "layers": names},
            )


def _next_steps(project: Path, layer: str) -> str:
    """What to type after decompose, ready to be copied."""
    folder, parts = shlex.quote(str(project)), shlex.quote(str(project.with_name(project.stem + "-layers")))
    edited = f"--texture {shlex.quote(layer)}=edited.png"
    return (
        f"next: layerloom export {folder} --to {parts}    # edit {layer}/texture.png there, save it as edited.png\n"
        f"      layerloom render {folder} --out edited.mp4 {edited}"
    )


def info(project: ProjectFolder, json: Switch = False) -> None:
    """Say what a project holds.

    Args:
        project: A .loom folder.
        json: One JSON object instead of a table.
    """
    opened = Project.open(project)
    source = opened.source
    facts: dict[str, Any] = {
        "project": str(project),
        "source": str(source.path),
        "size": list(source.size),
        "frames": source.frames,
        "first_frame": source.first_frame,
        "fps": f"{source.fps.numerator}/{source.fps.denominator}",
        "training_size": list(opened.training_size),
        "layers": [{"name": layer.name, "kind": layer.kind, "canvas": list(layer.canvas)} for layer in opened.layers],
        "settings": opened.settings,
        "provenance": opened.provenance,
        "psnr": opened.figures.get("psnr"),
    }
    with Console(json) as console:
        console.facts(facts)


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
    json: Switch = False,
) -> None:
    """Render the video with edits.

    Args:
        project: What decompose wrote.
        out: A video file (.mp4, .mov, .mkv, .webm), or a pattern of images such as frames/%05d.png.
        edits: A file of edits (JSON).
        hide: A layer to leave out; what is behind it shows.
        background: A picture or a colour in place of the background.
        mode: detail changes the source's own frames where there are edits; synthesis shows the layers alone.
        drawn_from: networks evaluates what was learned at every pixel instead of the baked maps, as in synthesis.
        device: Where to draw. Default: on the GPU if there is one.
        codec: h264, hevc, prores, prores4444, vp9 or ffv1. Default: h264, for .webm vp9.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom.compose.shot_list import list_shots
    from layerloom.render.dispatch import choose_device
    from layerloom.render.stream import render as render_frames

    opened = Project.open(project)
    numbers = _source_range(opened, frames)
    chosen: list[Edit] = [
        *canvas.edits(),
        *(Hide(layer) for layer in hide),
        *([] if background is None else [_background(background)]),
        *shot.edits(opened.source.size, numbers),
        *([] if edits is None else _read_edits(edits)),
    ]
    shots = list_shots(opened, chosen, numbers)
    sound = _sound(opened, numbers) if shots.speed == 1 else {}
    with Console(json) as console:
        if shots.speed != 1 and _sound(opened, numbers):
            console.note("the sound is left out, as the speed changes")
        drawn_on = choose_device(device)
        if drawn_from == "networks":
            from layerloom.neural_render import render_networks

            pictures = render_networks(opened, chosen, shots.shots, drawn_on)
        else:
            pictures = render_frames(opened, chosen, numbers, mode, drawn_on)
        _write(shots, opened.source.fps, out, codec, pictures, sound, console)
        _tell_unseen(opened, chosen, shots, console)
        count = len(shots.shots)
        console.result(
            f"{out}: {_count(count)}, drawn on the {'GPU' if drawn_on == 'cuda' else 'CPU'}",
            {"output": out, "frames": count, "device": drawn_on},
        )


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
    from layerloom.export.export import export as export_parts

    opened = Project.open(project)
    parts = None if only is None else [part.strip() for part in only.split(",")]
    numbers = _source_range(opened, frames)
    with Console(json) as console:
        export_parts(opened, to, parts, numbers, console.share("export"))
        console.result(f"{to}: {_count(len(numbers))}", {"output": str(to), "frames": len(numbers)})


def evaluate(
    project: ProjectFolder,
    masks: OptionalFolder = None,
    tracks: OptionalFile = None,
    lpips_weights: OptionalFile = None,
    json: OptionalFile = None,
    report: Annotated[Path | None, arg(metavar="FILE.html", help_behavior_hint="")] = None,
) -> None:
    """Measure a project against its source.

    Args:
        project: What decompose wrote.
        masks: True masks of the objects, laid out as for decompose. Default: those that were given to decompose.
        tracks: True tracks of the source, in TAP-Vid's format (.npz).
        lpips_weights: Measure LPIPS, too, with this state dict of AlexNet or VGG16, as torchvision publishes them.
        json: Write all figures to this file; docs/evaluation.md defines them.
        report: Write a page with pictures, plots and all figures to this file.
    """
    from layerloom.evaluate.evaluate import evaluate as measure
    from layerloom.evaluate.report import headlines, write_report

    opened = Project.open(project)
    for file in (json, report):
        _check_writable(file)
    with Console(as_json=False) as console:
        figures = measure(opened, _true_masks(opened, masks), tracks, lpips_weights, console.counter("measure"))
        if json is not None:
            _write_json(json, figures)
        if report is not None:
            console.share("report")(0.0)
            write_report(report, opened, figures)
            console.share("report")(1.0)
        console.facts({caption: value for value, caption in headlines(figures)})
        for file in (json, report):
            if file is not None:
                console.result(f"{file}: written", {})


def demo(
    out: Folder = Path("layerloom-demo"),
    device: Device = "auto",
    seed: Number = 0,
    json: Switch = False,
) -> None:
    """Make a clip with known truth, learn its layers, edit, render, export and measure. Needs no input.

    Args:
        out: The folder to fill.
        device: Where to learn.
        seed: Of the clip and of everything random.
        json: One JSON object a line instead of progress bars and the table.
    """
    from layerloom.cli.demo import CONTENTS, MEANINGS, run_demo
    from layerloom.decompose import choose_device

    with Console(json) as console:
        result = run_demo(out, choose_device(device), seed, console.report)
        files = {name: str(path) for name, path in result.files.items()}
        if json:
            console.result("", {**result.figures, "files": files})
        else:
            console.facts(result.figures, MEANINGS)
            console.facts(files, CONTENTS)


COMMANDS: dict[str, Callable[..., None]] = {
    "demo": demo,
    "decompose": decompose,
    "info": info,
    "render": render,
    "export": export,
    "evaluate": evaluate,
}


def main() -> None:
    """One command, as it was typed. Errors of the user's are one line; exit codes as docs/commands.md says."""
    try:
        _parse(sys.argv[1:])()
    except LayerloomError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt as interrupt:
        _fail(str(interrupt) or "interrupted", 130)
    except BrokenPipeError:
        # The reader of our output went away; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in OUTSIDE_ERRORS:
            _fail_unexpectedly(error)
        _fail(f"{error.filename or 'output'}: {error.strerror}", 2)
    except Exception as error:
        _fail_unexpectedly(error)


def run() -> None:
    """The `layerloom` command: `main`, and then the end of the process.

    Taking a GPU's context and gigabytes of arrays apart takes a second, for what the system takes back at once.
    """
    main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


OUTSIDE_ERRORS = {
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT),
    *(errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP),
}
"""Rights, room and wrong places: what the user can mend."""


def _parse(arguments: list[str]) -> Callable[[], None]:
    """The command that is asked for, ready to run.

    LayerloomError for wrong usage: the parser's box of text as one line.
    """
    commands = {name: _postponed(command) for name, command in COMMANDS.items()}
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.extras.subcommand_cli_from_dict(
                commands, prog="layerloom", description=DESCRIPTION, args=arguments, config=(FlagCreatePairsOff,)
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise LayerloomError(_one_line(complaint.getvalue())) from None


def _one_line(box: str) -> str:
    """The parser's complaint, a box of text whose upper edge bears a title, with rules between its parts."""
    # Where the terminal's encoding has no lines, they are dashes.
    rows = (row.strip("│─╭╮╰╯ \n") for row in box.strip().splitlines())
    title, *rows = ("─" if set(row) <= {"-"} else row for row in rows)
    parts = " ".join(rows).strip("─ ").split("─")
    wrong = re.search(r"Error parsing \S+: .*? from \['(.*?)'\].*Argument helptext: (.*?)\s*─", " ".join(rows))
    if wrong:
        value, usage = wrong.groups()
        return f"'{value}' does not fit {' '.join(usage.split())} See layerloom --help"
    return f"{title}: {'; '.join(' '.join(part.split()) for part in parts)}"


DESCRIPTION = "Turn a video into layers that are edited as still images, and the edited images back into video."


def _postponed(command: Callable[..., None]) -> Callable[..., Callable[[], None]]:
    """The command as the parser sees it; called, it only notes its arguments."""

    @functools.wraps(command)
    def note(*values: Any, **named: Any) -> Callable[[], None]:
        return functools.partial(command, *values, **named)

    return note


def _fail(message: str, code: int) -> None:
    print(f"layerloom: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _fail_unexpectedly(error: Exception) -> None:
    traceback.print_exc()
    _fail(f"unexpected {type(error).__name__}: {error}; this is a fault of layerloom", 1)


@contextlib.contextmanager
def _offering_to_resume(out: Path) -> Generator[None]:
    from layerloom import decompose as pipeline

    try:
        yield
    except KeyboardInterrupt:
        if pipeline.is_resumable(out):
            raise KeyboardInterrupt("interrupted; the same command with --resume goes on from here") from None
        raise KeyboardInterrupt("interrupted; nothing was written") from None


def _range(text: str | None) -> tuple[int | None, int | None]:
    """`A:B`, either side may be missing."""
    if text is None:
        return None, None
    first, colon, end = text.partition(":")
    if not colon:
        raise LayerloomError(f"--frames {text}: the form is A:B, half-open, such as 0:48")
    return (read_frame(first) if first else None), (read_frame(end) if end else None)


def _source_range(project: Project, text: str | None) -> range:
    first, end = _range(text)
    whole = project.source_range
    return range(whole.start if first is None else first, whole.stop if end is None else end)


def _long_edge(given: int | None, usual: int) -> int:
    if given is not None and not 64 <= given <= 8192:
        raise LayerloomError(f"--long-edge {given}: allowed are 64 to 8192 pixels")
    return given or usual


def _true_masks(project: Project, given: Path | None) -> Masks | None:
    """Masks at source size: the given ones, else those that the project was learned with if they are still there."""
    from layerloom.prepare.masks.files import load_masks

    known = project.provenance.get("masks")
    folder = given or (Path(known) if known and Path(known).is_dir() else None)
    if folder is None:
        return None
    return load_masks(folder, project.source_range, project.source.size, media.probe(project.source_path).frames)


def _check_writable(file: Path | None) -> None:
    """LayerloomError early if a file cannot be written; an older one is replaced."""
    if file is None:
        return
    if file.is_dir():
        raise LayerloomError(f"{file}: is a folder; name a file")
    if not file.absolute().parent.is_dir():
        raise LayerloomError(f"{file}: its folder does not exist")
    if not os.access(file.absolute().parent, os.W_OK):
        raise LayerloomError(f"{file}: no permission to write there")


def _write_json(file: Path, values: dict[str, Any]) -> None:
    with media.atomic_file(file) as temporary:
        temporary.write_text(dumps(values, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _background(text: str) -> Background:
    return Background(text if text.startswith("#") else Path(text))


def _read_edits(file: Path) -> tuple[Edit, ...]:
    if not file.is_file():
        raise LayerloomError(f"{file}: no such edits file")
    return parse_file(file, lambda text: edits_from_json(text, file.parent))


def _tell_unseen(project: Project, edits: Sequence[Edit], shots: "ShotList", console: Console) -> None:
    """One line on what is shown though nobody saw it."""
    from layerloom.compose.disocclusion import unseen_shares

    shares = unseen_shares(project, edits, shots.shots)
    if max(shares) < LEAST_UNSEEN:
        return
    shown = next((edit.content for edit in reversed(edits) if isinstance(edit, Unseen)), "guessed from around it")
    worst = shares.index(max(shares))
    console.note(
        f"no frame saw {_percent(sum(shares) / len(shares))} of what is shown,"
        f" in {sum(share > 0 for share in shares)} of {len(shares)} frames,"
        f" most in frame {worst} ({_percent(shares[worst])}); it is {shown}"
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share >= LEAST_UNSEEN else "less than 0.1%"


LEAST_UNSEEN = 0.0005
"""Share of a frame below which it is not worth a line."""


def _write(
    shots: "ShotList",
    fps: Fraction,
    out: str,
    codec: str | None,
    pictures: Iterable[Any],
    sound: dict[str, Any],
    console: Console,
) -> None:
    """Frames to a file, each at its time, with the sound."""
    count = console.counter("render")
    with media.open_writer(out, shots.size, shots.timestamps, fps, codec, **sound) as writer:
        for done, picture in enumerate(pictures, 1):
            writer.write(picture)
            count(done, len(shots.shots))


def _count(frames: int) -> str:
    return f"{frames} frame" if frames == 1 else f"{frames} frames"


def _sound(project: Project, numbers: range) -> dict[str, Any]:
    try:
        found = media.probe(project.source_path)
    except LayerloomError:
        return {}
    if not found.has_audio:
        return {}
    end = found.timestamps[numbers.stop] if numbers.stop < found.frames else None
    start = found.timestamps[numbers.start]
    return {
        "audio_from": found.path,
        "audio_start": start,
        "audio_duration": None if end is None else end - start,
    }
