"""`layerloom decompose`: footage to a project."""

import contextlib
import shlex
from collections.abc import Collection, Generator
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from layerloom.cli.arguments import (
    Device,
    Footage,
    Frames,
    NewProject,
    Number,
    OptionalFile,
    OptionalFolder,
    OptionalNumber,
    Rate,
    Selections,
    Switch,
    parse_range,
    read_options,
)
from layerloom.cli.console import Console
from layerloom.core.device import wake_gpu
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress
from layerloom.data.clip import Clip
from layerloom.data.clip_store import open_store
from layerloom.data.shot_set import ShotSet
from layerloom.edits.selection import parse_selection


def decompose(
    footage: Footage,
    out: NewProject,
    masks: OptionalFolder = None,
    select: Selections = (),
    fps: Rate = None,
    exr_layer: Annotated[str, arg(metavar="NAME", help_behavior_hint="")] = "",
    linear: Annotated[Literal["auto", "yes", "no"], arg(help_behavior_hint="")] = "auto",
    quality: Literal["draft", "standard", "fine"] = "standard",
    long_edge: OptionalNumber = None,
    frames: Frames = None,
    shots: Literal["auto", "off"] = "auto",
    flow: Annotated[str, arg(metavar="dis|raft|DIR")] = "dis",
    flow_weights: OptionalFile = None,
    device: Device = "auto",
    seed: Number = 0,
    resume: Switch = False,
    cache: OptionalFolder = None,
    cache_gib: Annotated[float | None, arg(metavar="GIB", help_behavior_hint="")] = None,
    no_cache: Switch = False,
    json: Switch = False,
) -> None:
    """Learn the layers of a video.

    Args:
        footage: A video file, or a folder of images.
        out: The project to write, such as bear.loom.
        masks: A folder of images for each object, one folder of images, indexed-palette images,
            a matte video, annotations (COCO, YouTube-VIS; .json) or arrays (.npz).
            Default: objects are found by their motion; a contact sheet beside the project, bear-found.png, shows them.
        fps: Of a folder of images, such as 25 or 30000/1001. Default: 24.
        exr_layer: The layer of EXR files to read, where they have several.
        linear: Whether the footage is scene-linear light. Default: EXR is.
        quality: How long to learn.
        long_edge: Learn at this size (longer side, pixels). Edits are rendered at the footage's own size all the same.
            Default: 384, 640 or 960 by quality on a CPU; 960, 1920 or 4096 on a GPU.
        shots: Where there are cuts: auto makes a set, each shot a project of its own in it; off takes all as one shot.
        flow: How to find motion: dis, raft (needs --flow-weights), or a folder of .flo or .npy files.
        flow_weights: The official weights of RAFT-small (raft-small.pth).
        device: Where to learn.
        seed: Of everything random.
        resume: Go on from where an interrupted run of the same command stopped.
        cache: Where to keep the prepared clip, for another run to begin from. Default: LAYERLOOM_CACHE, or layerloom
            in the user's cache folder.
        cache_gib: How much to keep there at most; what was used longest ago goes first. Default: LAYERLOOM_CACHE_GIB,
            or 20.
        no_cache: Neither keep the prepared clip nor look for one (as LAYERLOOM_CACHE=off).
        json: One JSON object a line instead of progress bars.
    """
    selection = parse_selection(select)
    if masks is not None and selection is not None:
        raise LayerloomError("masks are given or made from hints, not both", "masks", "select")
    with Console(json) as console:
        console.report(Progress("start", 0.0))  # PyTorch takes seconds to load
        if device != "cpu":
            wake_gpu()
        from layerloom.decompose import check_new_project, decompose_shots
        from layerloom.decompose import decompose as learn
        from layerloom.media import write_image
        from layerloom.prepare.masks.contact_sheet import contact_sheet
        from layerloom.prepare.prepare import prepare
        from layerloom.prepare.shots import find_shots

        stages: set[str] = set()

        def report(progress: Progress) -> None:
            stages.add(progress.stage)
            console.report(progress)

        reading, asked = read_options(fps, exr_layer, linear), parse_range(frames)

        def make_clip(used: range | None = None) -> Clip:
            clip = prepare(
                footage,
                masks=masks or selection,
                reading=reading,
                quality=quality,
                frames=used or asked,
                long_edge=long_edge,
                flow=flow,
                flow_weights=flow_weights,
                device=device,
                cache="off" if no_cache else open_store(cache, cache_gib),
                on_progress=report,
            )
            if masks is None and clip.masks.names:
                kind = "found" if selection is None else "selected"
                sheet = out.with_name(f"{out.stem}{f'-{used.start}' if used else ''}-{kind}.png")
                first, size = clip.source.first_frame, clip.source.size
                write_image(sheet, contact_sheet(clip.frames, clip.masks, selection, size, first))
                console.report(Progress("masks", 1.0, message=f"see {sheet} for what was {kind}"))
            return clip

        with _offering_to_resume(out, stages):
            check_new_project(out, resume)
            found = find_shots(footage, reading, asked, report) if shots == "auto" and selection is None else []
            if len(found) > 1:
                tuned = partial(learn, device=device, seed=seed)
                _tell_set(
                    decompose_shots(make_clip, found, out, resume=resume, learn=tuned, on_progress=report), console
                )
                return
            project = learn(make_clip, out, device=device, seed=seed, resume=resume, on_progress=report)
            psnr, names = project.figures["psnr"], [layer.name for layer in project.layers]
            console.result(
                f"{out}: {psnr:.2f} dB, layers from front to back: {', '.join(names)}\n{_next_steps(out, names[0])}",
                {"project": str(out), "psnr": psnr, "layers": names},
            )


def _tell_set(film: ShotSet, console: Console) -> None:
    first, quoted = film.projects[0].path, shlex.quote(str(film.path))
    psnr = [project.figures["psnr"] for project in film.projects]
    console.result(
        f"{film.path}: {len(psnr)} shots, each a project of its own such as {first}; {min(psnr):.2f} dB or more\n"
        f"next: layerloom render {quoted} --out joined.mp4 --shot 0 --text 'background=HELLO; at 0:100,100'",
        {"set": str(film.path), "psnr": psnr, "shots": [str(project.path) for project in film.projects]},
    )


def _next_steps(project: Path, layer: str) -> str:
    """What to type after decompose, ready to be copied."""
    folder, parts = shlex.quote(str(project)), shlex.quote(str(project.with_name(project.stem + "-layers")))
    edited = f"--texture {shlex.quote(layer)}=edited.png"
    return (
        f"next: layerloom export {folder} --to {parts}    # edit {layer}/texture.png there, save it as edited.png\n"
        f"      layerloom render {folder} --out edited.mp4 {edited}"
    )


@contextlib.contextmanager
def _offering_to_resume(out: Path, stages: Collection[str]) -> Generator[None]:
    """Say how to go on after an end that came too early, in one of the `stages` that were reported."""
    from layerloom.train.checkpoint import checkpoint_folder
    from layerloom.train.checkpoint import is_resumable as is_one_resumable

    def is_resumable(out: Path) -> bool:
        return is_one_resumable(out) or any(checkpoint_folder(out).glob("shot-*"))

    goes_on = "the same command with --resume goes on from here"
    try:
        yield
    except KeyboardInterrupt as interrupt:
        interrupt.args = (f"interrupted; {goes_on if is_resumable(out) else 'nothing was written'}",)
        raise
    except (LayerloomError, OSError) as error:
        if not {"train", "bake", "store"}.isdisjoint(stages) and is_resumable(out):
            raise LayerloomError(f"{error}; what was learned is kept: {goes_on}") from error
        raise
