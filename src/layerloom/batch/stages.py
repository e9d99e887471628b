"""What is done to a clip, stage by stage: prepare on cores, then learn where there is a GPU or on cores.

Each stage is a function that can be called again anywhere: what it left in the batch's folder is taken up.
"""

import hashlib
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import cv2
import torch
from msgspec.structs import replace

from layerloom import media
from layerloom.batch.summary import ClipState, Places
from layerloom.batch.work_list import Job
from layerloom.core.atomic import lock_file, only_writer
from layerloom.core.device import DeviceType
from layerloom.core.errors import LayerloomError
from layerloom.core.parallel import limit_threads
from layerloom.core.progress import OnProgress, Progress
from layerloom.core.quality import check_quality, default_long_edge
from layerloom.data.clip import Clip
from layerloom.data.clip_store import open_store
from layerloom.data.content import content_hash
from layerloom.data.project import Project
from layerloom.decompose import decompose
from layerloom.prepare.masks.contact_sheet import contact_sheet
from layerloom.prepare.prepare import prepare
from layerloom.train.checkpoint import is_resumable
from layerloom.train.settings import TrainSettings

LOCK_SECONDS = 60.0
"""How long to wait for a run that holds a project: one on a machine that was cut off ends by and by."""
STAGES = {"train": "learn", "bake": "bake", "store": "bake"}
"""Of `Progress.stage`, by what seconds are counted; all others are preparing."""


@dataclass(frozen=True)
class Options:
    """How clips are learned, as `prepare` and `decompose` have it. device: where learning is done, resolved.

    settings: instead of those that quality, device and seed stand for. cache_gib: of clips prepared and not yet
    learned, together.
    """

    quality: str = "standard"
    device: DeviceType = "cpu"
    seed: int = 0
    long_edge: int | None = None
    flow: str = "dis"
    flow_weights: Path | None = None
    reading: media.ReadOptions = field(default_factory=media.ReadOptions)
    settings: TrainSettings | None = None
    cache_gib: float | None = None


def prepare_clip(job: Job, folder: Path, options: Options, tell: OnProgress) -> ClipState:
    """Prepare it into the batch's store; nothing to be done where it is finished. LayerloomError for bad input."""
    places, key = Places(folder), work_key(job, options)
    before = _finished(places, str(job.name), key)
    if before is not None:
        return before
    last = places.state(str(job.name))
    known = last is not None and last.key == key
    state = places.keep(
        ClipState(
            name=str(job.name),
            footage=str(job.footage),
            stage="prepare",
            key=key,
            attempts=1 + (last.attempts if last and known and last.stage != "failed" else 0),
        )
    )
    with _counting(tell) as (count, seconds):
        clip = _clip(job, places, options, count)
    _write_poster(places.poster(str(job.name)), clip)
    return places.keep(replace(state, seconds=dict(seconds)))


def learn_clip(job: Job, folder: Path, options: Options, tell: OnProgress) -> ClipState:
    """Learn a prepared clip, from its checkpoint where there is one. LayerloomError where that cannot be."""
    places, key = Places(folder), work_key(job, options)
    name = str(job.name)
    out = places.project(name)
    _wait_until_free(out)
    before = _finished(places, name, key)
    if before is not None:
        return replace(before, skipped=False)
    last = places.state(name) or ClipState(name=name, footage=str(job.footage))
    state = places.keep(replace(last, stage="learn", key=key, attempts=last.attempts + 1))
    kept: list[str] = []
    with _counting(tell) as (count, seconds):

        def clip() -> Clip:
            made = _clip(job, places, options, count)
            kept.extend([made.preparation.key] if made.preparation else [])
            return made

        project = decompose(
            clip,
            out,
            quality=options.quality,
            device=options.device,
            seed=options.seed,
            resume=is_resumable(out),
            settings=options.settings,
            on_progress=count,
        )
    ended = replace(state, seconds=state.seconds | {stage: seconds[stage] for stage in ("learn", "bake")})
    store = open_store(places.store)
    if store is not None:
        for entry in kept:
            store.drop(entry)  # a night's clips would fill the disk
    return places.keep(_done(ended, project))


def limit_cores(count: int) -> None:
    """Let this process use no more than `count` cores: others learn beside it."""
    limit_threads(count)
    cv2.setNumThreads(count)
    torch.set_num_threads(count)


def work_key(job: Job, options: Options) -> str:
    """What must be equal for finished work to be taken: what footage and masks hold, and the options."""
    facts = asdict(options)
    del facts["cache_gib"], facts["device"]  # where it is done decides nothing that was asked for
    facts["flow_weights"] = None if options.flow_weights is None else content_hash(options.flow_weights)
    held = [None if path is None else content_hash(path) for path in (job.footage, job.masks)]
    return hashlib.sha256(repr((held, facts)).encode()).hexdigest()[:32]


def _clip(job: Job, places: Places, options: Options, tell: OnProgress) -> Clip:
    """Prepared on the CPU whatever learns, so that all machines mean the same clip."""
    usual = default_long_edge(check_quality(options.quality), options.device)
    return prepare(
        job.footage,
        masks=job.masks,
        reading=options.reading,
        quality=options.quality,
        long_edge=options.long_edge or usual,
        flow=options.flow,
        flow_weights=options.flow_weights,
        device="cpu",
        cache=open_store(places.store, options.cache_gib),
        on_progress=tell,
    )


def _finished(places: Places, name: str, key: str) -> ClipState | None:
    """The state of a project that is there, whole and of the same work; None where there is none.

    LayerloomError where there is one of other work.
    """
    out = places.project(name)
    if not out.exists():
        return None
    state = places.state(name)
    if state is None or state.key != key:
        what = "was made of other footage or with other options"
        raise LayerloomError(f"{out}: {what}; remove it, or choose another folder", "out")
    project = Project.open(out)
    # Where the worker ended between storing the project and saying so, that is said now.
    return replace(state if state.stage == "done" else places.keep(_done(state, project)), skipped=True)


def _done(state: ClipState, project: Project) -> ClipState:
    layers = tuple(layer.name for layer in project.layers)
    return replace(state, stage="done", psnr_db=project.figures["psnr"], layers=layers, error=None)


def _write_poster(path: Path, clip: Clip) -> None:
    """The middle frame with the objects' outlines. It is no reason to fail."""
    middle = len(clip.frames) // 2
    here = slice(middle, middle + 1)
    masks = type(clip.masks)(clip.masks.names, clip.masks.coverage[:, here], clip.masks.trust[:, here])
    with suppress(OSError, LayerloomError):
        media.write_image(path, contact_sheet(clip.frames[here], masks))


def _wait_until_free(out: Path) -> None:
    """What `decompose` refuses at once is worth waiting for here. Returns in the end, whether it is free or not."""
    until = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < until:
        try:
            with only_writer(lock_file(out)):
                return
        except BlockingIOError:
            time.sleep(0.2)


@contextmanager
def _counting(tell: OnProgress) -> Generator[tuple[OnProgress, dict[str, float]]]:
    """Progress on its way to `tell`, and the seconds of each stage so far, which are complete at the end."""
    seconds = {"prepare": 0.0, "learn": 0.0, "bake": 0.0}
    now, last = "prepare", time.perf_counter()

    def count(progress: Progress | None) -> None:
        nonlocal now, last
        moment = time.perf_counter()
        seconds[now] += moment - last
        last = moment
        if progress is not None:
            now = STAGES.get(progress.stage, "prepare")
            tell(progress)

    yield count, seconds
    count(None)
