"""The command line: one short function per command, all through the public API.

Exit codes: 0 done, 1 unexpected, 2 bad usage or input (one line), 130 interrupted.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

from layerloom import media
from layerloom.console import Console
from layerloom.edits import (
    BackgroundEdit,
    Edit,
    HideEdit,
    OverlayEdit,
    PaintEdit,
    TextureEdit,
    edits_from_json,
)
from layerloom.errors import UserError
from layerloom.project import Project

Frames = Annotated[str | None, arg(metavar="A:B", help="half-open range of the source's frames, counted from 0")]


def decompose(
    footage: Positional[Path],
    out: Path,
    masks: Path | None = None,
    quality: Literal["draft", "standard", "fine"] = "standard",
    long_edge: int | None = None,
    frames: Frames = None,
    flow: str = "dis",
    flow_weights: Path | None = None,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seed: int = 0,
    resume: bool = False,
    json: bool = False,
) -> None:
    """Learn the layers of a video.

    Args:
        footage: A video file, or a folder of images.
        out: The project to write, such as bear.loom.
        masks: A folder per object, one folder, or indexed-palette images. Found from motion if absent.
        quality: How patient to be.
        long_edge: Learn at this size (longer side, pixels). Edits are rendered at the footage's own size all the same.
        flow: dis, raft (needs --flow-weights) or a folder of .flo or .npy files.
        flow_weights: The official raft-small state dict.
        device: Where to learn.
        seed: Of everything random.
        resume: Go on from where an interrupted run stopped.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom import pipeline

    pipeline.check_new_project(out)
    chosen = pipeline.choose_device(device)
    with Console(json) as console:
        clip = pipeline.prepare(
            footage,
            masks=masks,
            frames=_range(frames),
            long_edge=_long_edge(long_edge, pipeline.default_long_edge(quality, chosen)),
            flow=flow if flow in ("dis", "raft") else Path(flow),
            flow_weights=flow_weights,
            device=chosen,
            on_report=console.report,
        )
        provenance = {"masks": None if masks is None else str(masks.resolve()), "flow": flow}
        project = pipeline.decompose(
            clip,
            out,
            quality=quality,
            device=chosen,
            seed=seed,
            resume=resume,
            provenance=provenance,
            on_report=console.report,
        )
        console.result(
            f"{out}: {project.figures['psnr']:.2f} dB", {"project": str(out), "psnr": project.figures["psnr"]}
        )


def info(project: Positional[Path], json: bool = False) -> None:
    """Say what a project holds.

    Args:
        project: A .loom folder.
        json: As one JSON object.
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
    project: Positional[Path],
    out: str,
    texture: UseAppendAction[tuple[str, ...]] = (),
    overlay: UseAppendAction[tuple[str, ...]] = (),
    paint: UseAppendAction[tuple[str, ...]] = (),
    edits: Path | None = None,
    hide: UseAppendAction[tuple[str, ...]] = (),
    background: str | None = None,
    mode: Literal["detail", "synthesis"] = "detail",
    frames: Frames = None,
    codec: str | None = None,
    json: bool = False,
) -> None:
    """Render the video with edits.

    Args:
        project: A .loom folder.
        out: A video file, or a pattern such as frames/%05d.png.
        texture: LAYER=FILE, an edited copy of an exported texture.
        overlay: LAYER=FILE, an RGBA image laid over the layer's canvas.
        paint: FRAME:FILE, an RGBA image painted on what is seen in that frame.
        edits: A file of edits (JSON).
        hide: A layer to leave out.
        background: FILE or '#rrggbb' in place of the background.
        mode: detail starts from the source frame, synthesis from the layers alone.
        codec: h264, hevc, prores or ffv1.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom.render import render as render_frames

    opened = Project.open(project)
    numbers = _source_range(opened, frames)
    chosen: list[Edit] = [
        *(TextureEdit(layer, Path(file)) for layer, file in (_pair(t, "=", "--texture LAYER=FILE") for t in texture)),
        *(OverlayEdit(layer, Path(file)) for layer, file in (_pair(t, "=", "--overlay LAYER=FILE") for t in overlay)),
        *(PaintEdit(_number(n), Path(file)) for n, file in (_pair(t, ":", "--paint FRAME:FILE") for t in paint)),
        *(HideEdit(layer) for layer in hide),
        *([] if background is None else [_background(background)]),
        *([] if edits is None else _read_edits(edits)),
    ]
    pictures = render_frames(opened, chosen, numbers, mode)
    with Console(json) as console:
        _write(opened, numbers, out, codec, pictures, console)
        console.result(f"{out}: {len(numbers)} frames", {"output": out, "frames": len(numbers)})


def export(
    project: Positional[Path],
    to: Path,
    only: str | None = None,
    frames: Frames = None,
    json: bool = False,
) -> None:
    """Write textures, mattes, ST maps and lighting for other programs.

    Args:
        project: A .loom folder.
        to: The folder to write.
        only: Comma-separated parts: textures, mattes, st, lighting. All of them by default.
        json: One JSON object a line instead of progress bars.
    """
    from layerloom.export import export as export_parts

    opened = Project.open(project)
    with Console(json) as console:
        parts = None if only is None else [part.strip() for part in only.split(",")]
        export_parts(opened, to, parts, _source_range(opened, frames), console.counter("export"))
        console.result(f"{to}: exported", {"output": str(to)})


def demo(
    out: Path = Path("layerloom-demo"),
    device: Literal["auto", "cpu", "cuda"] = "auto",
    seed: int = 0,
    json: bool = False,
) -> None:
    """Make a clip with known truth, learn its layers, edit, render, export and measure. Needs no input.

    Args:
        out: The folder to fill.
        device: Where to learn.
        seed: Of the clip and of everything random.
        json: One JSON object a line instead of progress bars and the table.
    """
    from layerloom.demo import run_demo
    from layerloom.pipeline import choose_device

    with Console(json) as console:
        result = run_demo(out, choose_device(device), seed, console.report)
        console.facts({**result.figures, "files": {name: str(path) for name, path in result.files.items()}})


COMMANDS = {"demo": demo, "decompose": decompose, "info": info, "render": render, "export": export}


def main() -> None:
    """Entry point of the `layerloom` command."""
    try:
        tyro.extras.subcommand_cli_from_dict(COMMANDS, prog="layerloom", config=(FlagCreatePairsOff,))
    except UserError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except BrokenPipeError:
        # The reader of our output went away; nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str, code: int) -> None:
    print(f"layerloom: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def _pair(text: str, separator: str, form: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not (left and found and right):
        raise UserError(f"'{text}': the form is {form}")
    return left, right


def _number(text: str) -> int:
    if not text.isdecimal():
        raise UserError(f"'{text}': a frame is a whole number, counted from 0")
    return int(text)


def _range(text: str | None) -> tuple[int | None, int | None]:
    """`A:B`, either side may be missing."""
    if text is None:
        return None, None
    first, colon, end = text.partition(":")
    if not colon:
        raise UserError(f"--frames {text}: the form is A:B, half-open, such as 0:48")
    return (_number(first) if first else None), (_number(end) if end else None)


def _source_range(project: Project, text: str | None) -> range:
    first, end = _range(text)
    whole = project.source_range
    return range(whole.start if first is None else first, whole.stop if end is None else end)


def _long_edge(given: int | None, usual: int) -> int:
    if given is not None and not 64 <= given <= 8192:
        raise UserError(f"--long-edge {given}: allowed are 64 to 8192 pixels")
    return given or usual


def _background(text: str) -> BackgroundEdit:
    return BackgroundEdit(text if text.startswith("#") else Path(text))


def _read_edits(file: Path) -> tuple[Edit, ...]:
    if not file.is_file():
        raise UserError(f"{file}: no such edits file")
    return edits_from_json(file.read_text(encoding="utf-8"), file.parent)


def _write(project: Project, numbers: range, out: str, codec: str | None, pictures: Any, console: Console) -> None:
    """Frames to a file, with the source's times and, where there is one, its sound."""
    source = project.source
    first = numbers.start - source.first_frame
    stamps = source.timestamps[first : first + len(numbers)]
    times = [stamp - stamps[0] for stamp in stamps]
    count = console.counter("render")
    with media.open_writer(out, source.size, times, source.fps, codec, **_sound(project, numbers)) as writer:
        for done, picture in enumerate(pictures, 1):
            writer.write(picture)
            count(done, len(numbers))


def _sound(project: Project, numbers: range) -> dict[str, Any]:
    try:
        found = media.probe(project.source_path)
    except UserError:
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
