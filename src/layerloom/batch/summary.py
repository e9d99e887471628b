"""How a batch stands: a state of each clip, as a file that any machine can go on from, and one summary of all."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.core.records import Document, Record, document_text, read_document

Stage = Literal["waiting", "prepare", "learn", "done", "failed"]
STAGE_SECONDS = ("prepare", "learn", "bake")
"""What seconds are counted of."""


class ClipState(Document, tag="layerloom-batch-clip"):
    """How far a clip is. key: of footage, masks and options; what is finished is taken only if it is the same.

    seconds: of each of STAGE_SECONDS, of the attempt that ended it. attempts: how often preparing and learning were
    begun together; more than two: a worker was killed. skipped: it was finished before this batch began.
    """

    WHAT = "the clip's state"
    name: str
    footage: str
    stage: Stage = "waiting"
    key: str = ""
    seconds: dict[str, float] = msgspec.field(default_factory=dict)
    attempts: int = 0
    psnr_db: float | None = None
    layers: tuple[str, ...] = ()
    error: str | None = None
    skipped: bool = False


class Totals(Record):
    """How many clips came to which end; `left` were not finished when the batch ended early."""

    clips: int
    done: int
    skipped: int
    failed: int
    left: int


class Summary(Document, tag="layerloom-batch"):
    """What a batch came to. seconds: of the whole, by the clock. created: when it ended, UTC."""

    WHAT = "the batch's summary"
    created: str
    seconds: float
    totals: Totals
    clips: tuple[ClipState, ...]


class Places:
    """Where things lie in a batch's folder, which all machines share."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.states, self.posters = folder, folder / "state", folder / "posters"
        self.store = folder / "cache"

    def make(self) -> None:
        """The folders. OSError where that cannot be."""
        for folder in (self.folder, self.states, self.posters):
            folder.mkdir(parents=True, exist_ok=True)

    def project(self, name: str) -> Path:
        return self.folder / f"{name}.loom"

    def poster(self, name: str) -> Path:
        return self.posters / f"{name}.jpg"

    def state(self, name: str) -> ClipState | None:
        """As it was last written; None where it was not, or cannot be read."""
        try:
            return read_document(self.states / f"{name}.json", ClipState)
        except LayerloomError:
            return None

    def keep(self, state: ClipState) -> ClipState:
        """Write it, in place of the last one."""
        with atomic_file(self.states / f"{state.name}.json") as file:
            file.write_text(document_text(state), encoding="utf-8")
        return state


def summarise(states: Sequence[ClipState], seconds: float) -> Summary:
    """One summary of clips in their order."""
    done = sum(state.stage == "done" for state in states)
    failed = sum(state.stage == "failed" for state in states)
    skipped = sum(state.skipped for state in states)
    totals = Totals(len(states), done, skipped, failed, len(states) - done - failed)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return Summary(created=now, seconds=seconds, totals=totals, clips=tuple(states))


def write_summary(places: Places, summary: Summary) -> None:
    """summary.json, and summary.html with posters, which lie beside it."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    posters = {clip.name for clip in summary.clips if places.poster(clip.name).is_file()}
    page = environment.get_template("summary.html.j2").render(
        title=places.folder.name, summary=summary, posters=posters, stages=STAGE_SECONDS
    )
    for name, text in (("summary.json", document_text(summary)), ("summary.html", page)):
        with atomic_file(places.folder / name) as file:
            file.write_text(text, encoding="utf-8")
