"""`layerloom batch`: many clips to projects, on this machine or a cluster."""

import json as json_text
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from rich.console import Console
from rich.live import Live
from rich.table import Table
from tyro.conf import Positional, arg

from layerloom.batch.ray_runner import Batch, Resources, check_ray, cluster
from layerloom.batch.summary import ClipState, Summary
from layerloom.batch.work_list import read_work
from layerloom.cli.arguments import (
    Device,
    Folder,
    Number,
    OptionalFile,
    OptionalFolder,
    OptionalNumber,
    Rate,
    Switch,
    read_options,
)
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress

ROWS = 30
"""Of the live table; clips in work come first."""
Share = Annotated[float, arg(metavar="N")]


def batch(
    clips: Annotated[Positional[Path], arg(metavar="LIST|FOLDER")],
    out: Folder,
    address: Annotated[str | None, arg(metavar="ADDRESS", help_behavior_hint="")] = None,
    masks: OptionalFolder = None,
    fps: Rate = None,
    quality: Literal["draft", "standard", "fine"] = "standard",
    long_edge: OptionalNumber = None,
    flow: Annotated[Literal["dis", "raft"], arg(help_behavior_hint="")] = "dis",
    flow_weights: OptionalFile = None,
    device: Device = "auto",
    seed: Number = 0,
    gpus_per_clip: Share = 1.0,
    cpus_per_clip: Share = 1.0,
    retries: Number = 3,
    cache_gib: Annotated[float | None, arg(metavar="GIB", help_behavior_hint="")] = None,
    json: Switch = False,
) -> None:
    """Learn the layers of many clips, on this machine or on a Ray cluster (pip install 'layerloom[batch]').

    Args:
        clips: A list, a line a clip: FOOTAGE [MASKS [NAME]], or a JSON object of footage, masks, name; or a folder.
        out: A folder for projects, summary.json and summary.html; machines of a cluster share it. The same command
            goes on where it stopped: what is finished is skipped.
        address: Of a Ray cluster, such as auto, 10.0.0.1:6379 or ray://10.0.0.1:10001. Default: one on this machine.
        masks: A folder with the masks of each clip in a folder of the clip's name.
        fps: Of folders of images, such as 25 or 30000/1001. Default: 24.
        quality: How long to learn.
        long_edge: Learn at this size (longer side, pixels). Default: as for decompose.
        flow: How to find motion: dis, or raft (needs --flow-weights).
        flow_weights: The official weights of RAFT-small (raft-small.pth), where all machines find them.
        device: Where to learn. auto: on GPUs if the cluster has any.
        seed: Of everything random.
        gpus_per_clip: Of one that is being learned; 0.25 lets four clips share a GPU.
        cpus_per_clip: Cores of a clip that is being prepared, or learned.
        retries: How often a stage is begun again whose worker or machine ended.
        cache_gib: How much of prepared clips to keep at most until they are learned. Default: 20.
        json: One JSON object a line instead of a table.
    """
    check_ray()
    if not 0 < gpus_per_clip <= 1 or not 0 < cpus_per_clip <= 1024 or not 0 <= retries <= 100:
        raise LayerloomError("--gpus-per-clip: up to 1; --cpus-per-clip: up to 1024; --retries: 0 to 100")
    jobs = read_work(clips, masks)
    wanted = Resources(address, cpus_per_clip, 0.0 if device == "cpu" else gpus_per_clip, retries)
    with cluster(wanted) as has_gpu:
        if device == "cuda" and not has_gpu:
            raise LayerloomError("device 'cuda': the cluster has no GPU; allowed are auto, cpu", "device")
        from layerloom.batch.stages import Options

        learns = "cuda" if has_gpu and device != "cpu" else "cpu"
        resources = Resources(address, cpus_per_clip, gpus_per_clip if learns == "cuda" else 0.0, retries)
        weights = None if flow_weights is None else flow_weights.absolute()
        reading = read_options(fps, "", "auto")
        options = Options(quality, learns, seed, long_edge, flow, weights, reading, None, cache_gib)
        work = Batch(jobs, out.absolute(), options, resources)
        try:
            with _Show(json) as show:
                summary = work.run(show.states)
        except KeyboardInterrupt as interrupt:
            done = sum(state.stage == "done" for state in work.states)
            interrupt.args = (f"interrupted; {done} of {len(jobs)} clips are done; the same command goes on from here",)
            raise
    _say_result(out, summary, json)


class _Show:
    """A live table on a terminal, a line for each change elsewhere; as JSON, an object a line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._told: dict[str, tuple[str, int]] = {}

    def __enter__(self) -> "_Show":
        if not self._as_json and self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def states(self, states: Sequence[ClipState], signs: dict[str, Progress]) -> None:
        """Show how all clips stand now."""
        if self._live.is_started:
            self._live.update(_table(states, signs), refresh=True)
            return
        for state in states:
            sign = signs.get(state.name)
            now = (sign.stage if sign else state.stage, int(10 * sign.done) if sign else 0)
            if self._told.get(state.name, ("waiting", 0)) == now:
                continue
            is_new = self._told.get(state.name, ("", 0))[0] != now[0]
            self._told[state.name] = now
            if self._as_json:
                print(json_text.dumps({"event": "clip", **_facts(state, sign)}), flush=True)
            elif is_new:
                self._console.print(_line(state, sign), markup=False, highlight=False, soft_wrap=True)


def _facts(state: ClipState, sign: Progress | None) -> dict[str, object]:
    facts = {"name": state.name, "stage": sign.stage if sign else state.stage, "done": sign.done if sign else None}
    more = {"psnr": state.psnr_db if sign is None else sign.psnr_db, "error": state.error}
    return {name: value for name, value in {**facts, **more}.items() if value is not None}


def _line(state: ClipState, sign: Progress | None) -> str:
    quality = "" if state.psnr_db is None else f" {state.psnr_db:.2f} dB"
    return f"{state.name}: {sign.stage if sign else state.stage}{quality}" + (f": {state.error}" if state.error else "")


def _table(states: Sequence[ClipState], signs: dict[str, Progress]) -> Table:
    """Clips in work, then those that failed, are done, and wait."""
    counts = Counter(state.stage for state in states)
    title = f"{len(states)} clips: {counts['done']} done, {counts['failed']} failed, {len(signs)} in work"
    table = Table("clip", "stage", "done", "PSNR", "note", title=title)
    order = {"failed": 1, "done": 2, "waiting": 3}
    ordered = sorted(states, key=lambda state: 0 if state.name in signs else order.get(state.stage, 3))
    for state in ordered[:ROWS]:
        sign = signs.get(state.name)
        psnr = sign.psnr_db if sign else state.psnr_db
        note = state.error or ("done before" if state.skipped else "")
        shown = (sign.stage, f"{sign.done:.0%}") if sign else (state.stage, "")
        table.add_row(state.name, *shown, "" if psnr is None else f"{psnr:.1f} dB", note)
    if len(states) > ROWS:
        table.caption = f"and {len(states) - ROWS} more"
    return table


def _say_result(out: Path, summary: Summary, as_json: bool) -> None:
    totals = summary.totals
    if as_json:
        names = {name: getattr(totals, name) for name in ("clips", "done", "skipped", "failed", "left")}
        print(json_text.dumps({"event": "result", "out": str(out), "seconds": summary.seconds, **names}), flush=True)
    else:
        failed = [f"  {clip.name}: {clip.error}" for clip in summary.clips if clip.stage == "failed"]
        skipped = f" ({totals.skipped} of them before)" if totals.skipped else ""
        line = f"{totals.clips} clips in {summary.seconds:.0f} s: {totals.done} done{skipped}, {totals.failed} failed"
        print("\n".join([*failed, f"{line}; see {out / 'summary.html'}"]), flush=True)
    if totals.failed:
        raise LayerloomError(f"{totals.failed} of {totals.clips} clips failed; the same command tries them again")
