"""Clips' stages as tasks of Ray, on this machine or a user's cluster: where they run, what is done when a worker ends.

Only small values go through Ray: a job, options, a state. Frames, flow and checkpoints lie in the batch's folder,
which all machines share; so a task that is begun again on another one goes on from what the first left there.
"""

import contextlib
import os
import secrets
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from layerloom.batch.summary import ClipState, Places, Summary, summarise, write_summary
from layerloom.batch.work_list import Job
from layerloom.core.errors import LayerloomError
from layerloom.core.progress import Progress

POLL_SECONDS = 0.5
TELL_SECONDS = 0.5
STOP_SECONDS = 60.0
"""How long tasks have, once they are told to stop, to write a checkpoint."""
LEAST_OBJECT_BYTES = 100 * 2**20
"""Of the store that Ray takes up beside its workers; what goes through it here is small."""

OnStates = Callable[[Sequence[ClipState], dict[str, Progress]], None]
"""Called twice a second with the state of each clip and the last sign of life of those in work, by name."""


@dataclass(frozen=True)
class Resources:
    """What a task takes. cpus: of each task. gpus: of one that learns, such as 0.25; 0: it learns on cores.

    address: of a Ray cluster that is there; None starts one on this machine, which nobody else can reach. retries:
    how often a stage is begun again whose worker or machine ended.
    """

    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    retries: int = 3


def check_ray() -> None:
    """LayerloomError where Ray is not installed."""
    if find_spec("ray") is None:
        raise LayerloomError("batch needs Ray, which is not installed: pip install 'layerloom[batch]'")


@contextlib.contextmanager
def cluster(resources: Resources) -> Generator[bool]:
    """Connected within; whether the cluster has a GPU to learn on. LayerloomError for an address nobody answers at."""
    check_ray()
    os.environ.setdefault("RAY_usage_stats_enabled", "0")
    if resources.address is None:
        _keep_to_this_machine()
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    own: dict[str, Any] = {
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
        "object_store_memory": LEAST_OBJECT_BYTES,
    }
    begun = not ray.is_initialized()
    try:
        if begun:
            ray.init(resources.address or "local", **quiet, **({} if resources.address else own))
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise LayerloomError(f"no Ray cluster at {resources.address or 'this machine'}: {first}", "address") from None
    try:
        yield ray.cluster_resources().get("GPU", 0) >= max(resources.gpus, 1e-3)
    finally:
        if begun:
            ray.shutdown()


def _keep_to_this_machine() -> None:
    """Let a cluster of our own listen on the loopback interface alone, and to who knows a token that is made here.

    Ray's name for the former is of the systems where it is usual. Both hold from when Ray is first imported.
    """
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


class Batch:
    """Takes jobs through prepare and learn. `run` within `cluster`."""

    def __init__(self, jobs: Sequence[Job], folder: Path, options: Any, resources: Resources) -> None:
        """options: `stages.Options`."""
        import ray

        self._ray, self._resources = ray, resources
        self._places, self._options = Places(folder), options
        self._places.make()
        self._waiting = deque(jobs)
        self._states = {str(job.name): ClipState(name=str(job.name), footage=str(job.footage)) for job in jobs}
        self._running: dict[Any, Job] = {}
        self._signs: dict[str, Progress] = {}
        self._board = _start_board(ray)
        self._task = ray.remote(run_stage)

    def run(self, on_states: OnStates) -> Summary:
        """Until every clip is done or failed; one that fails stops no other.

        Interrupted, tasks are told to stop, which keep what they learned. The summary is written in any case.
        """
        started = time.perf_counter()
        try:
            while self._waiting or self._running:
                self._submit()
                self._take_results(POLL_SECONDS)
                running = {str(job.name) for job in self._running.values()}
                told: dict[str, Progress] = self._ray.get(self._board.take.remote())
                self._signs |= {name: sign for name, sign in told.items() if name in running}
                on_states(self.states, self._signs)
        except KeyboardInterrupt:
            self._stop()
            raise
        finally:
            summary = summarise(self.states, time.perf_counter() - started)
            write_summary(self._places, summary)
        return summary

    @property
    def states(self) -> list[ClipState]:
        """Of all clips, in the order of the jobs."""
        return list(self._states.values())

    def _submit(self) -> None:
        """As many as keep all machines busy and a few more: what is prepared lies on the disk until it is learned."""
        at_once = self._ray.cluster_resources().get("CPU", 1) / max(self._resources.cpus, 0.1)
        while self._waiting and len(self._running) < 2 * at_once + 2:
            self._begin(self._waiting.popleft(), "prepare")

    def _begin(self, job: Job, stage: str) -> None:
        learns = stage == "learn"
        gpus = self._resources.gpus if learns else 0
        options = {"num_cpus": self._resources.cpus, "num_gpus": gpus, "max_retries": self._resources.retries}
        task = self._task.options(**options, name=f"{stage} {job.name}")
        threads = max(1, round(self._resources.cpus))
        reference = task.remote(stage, job, str(self._places.folder), self._options, self._board, threads)
        self._running[reference] = job
        name = str(job.name)
        self._states[name] = replace(self._states[name], stage="waiting")

    def _take_results(self, seconds: float) -> None:
        ready, _ = self._ray.wait(list(self._running), num_returns=len(self._running), timeout=seconds)
        for reference in ready:
            job = self._running.pop(reference)
            name = str(job.name)
            try:
                state: ClipState = self._ray.get(reference)
            except Exception as error:
                state = self._places.keep(self._failed(name, error))
            self._states[name] = state
            self._signs.pop(name, None)
            if state.stage not in ("done", "failed"):
                self._begin(job, "learn")

    def _failed(self, name: str, error: Exception) -> ClipState:
        """What Ray says of a task that it gave up, or that raised what is not the user's fault."""
        cause = getattr(error, "cause", None)
        if isinstance(cause, Exception):
            line = f"unexpected {type(cause).__name__}: {cause}"
        else:
            line = f"its worker ended {self._resources.retries + 1} times ({type(error).__name__})"
        last = self._places.state(name) or self._states[name]
        return replace(last, stage="failed", error=" ".join(line.split())[:400])

    def _stop(self) -> None:
        """Tell all tasks, and give those that learn the time to put away what they have."""
        for reference in self._running:
            self._ray.cancel(reference)
        until = time.monotonic() + STOP_SECONDS
        while self._running and time.monotonic() < until:
            ready, _ = self._ray.wait(list(self._running), timeout=until - time.monotonic())
            for reference in ready:
                job = self._running.pop(reference)
                with contextlib.suppress(Exception):
                    state: ClipState = self._ray.get(reference)
                    self._states[str(job.name)] = state


def run_stage(stage: str, job: Job, folder: str, options: Any, board: Any, threads: int) -> ClipState:
    """A stage in a worker, with signs of life to the board. What is the user's to mend becomes a failed state."""
    from layerloom.batch.stages import learn_clip, limit_cores, prepare_clip

    limit_cores(threads)
    told = 0.0
    name = str(job.name)

    def tell(progress: Progress) -> None:
        nonlocal told
        if time.perf_counter() - told > TELL_SECONDS:
            told = time.perf_counter()
            board.note.remote(name, progress)

    work = {"prepare": prepare_clip, "learn": learn_clip}[stage]
    try:
        return work(job, Path(folder), options, tell)
    except (LayerloomError, OSError) as error:
        places = Places(Path(folder))
        last = places.state(name) or ClipState(name=name, footage=str(job.footage))
        line = " ".join(str(error).split())
        if last.stage == "done":  # it is another's work that lies there: its state stays
            return replace(last, stage="failed", error=line)
        return places.keep(replace(last, stage="failed", error=line))


class Board:
    """Where tasks leave signs of life, and the batch takes them: the last one of each clip."""

    def __init__(self) -> None:
        self._signs: dict[str, Progress] = {}

    def note(self, name: str, progress: Progress) -> None:
        self._signs[name] = progress

    def take(self) -> dict[str, Progress]:
        signs, self._signs = self._signs, {}
        return signs


def _start_board(ray: Any) -> Any:
    """Beside the batch itself, so that no other machine's end takes it along."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(Board).options(num_cpus=0, scheduling_strategy=here).remote()
