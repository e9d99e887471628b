"""What the user sees while a command works: bars with time left on a terminal, else a line now and then, or JSON."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich import progress as bars
from rich.console import Console as RichConsole
from rich.progress import BarColumn, TaskID, TextColumn, TimeElapsedColumn

from layerloom.core.progress import Pace, Progress

JSON_INTERVAL_SECONDS = 0.5
LOG_INTERVAL_SECONDS = 10.0


class Console:
    """Progress on standard error, results on standard output; as JSON, both on the latter. A context manager."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._bars = bars.Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=RichConsole(stderr=True),
            disable=as_json or not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._pace = Pace()
        self._stage: str | None = None
        self._last_line = time.perf_counter()

    def __enter__(self) -> "Console":
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._bars.stop()

    def report(self, progress: Progress) -> None:
        """Show a sign of life."""
        is_new = progress.stage != self._stage
        self._stage = progress.stage
        left = self._pace.seconds_left(progress)
        if progress.message is not None and not self.as_json:
            self.note(progress.message)
        if not self._bars.disable:
            self._report_bar(progress, left)
        elif self.as_json and (self._is_due(progress, JSON_INTERVAL_SECONDS) or is_new or progress.done >= 1):
            self._print_object(progress, left)
        elif not self.as_json and self._is_due(progress, LOG_INTERVAL_SECONDS):
            print(
                f"{progress.stage} {progress.done:.0%} {_notes(progress, left)}".rstrip(), file=sys.stderr, flush=True
            )

    def counter(self, stage: str) -> Callable[[int, int], None]:
        """A function of (done, in all) that reports a stage."""
        return lambda done, total: self.report(Progress(stage, done / total))

    def share(self, stage: str) -> Callable[[float], None]:
        """A function of the share done, in [0, 1], that reports a stage."""
        return lambda done: self.report(Progress(stage, done))

    def note(self, text: str) -> None:
        """Something that the user should know, worth a line."""
        if self.as_json:
            print(json.dumps({"event": "note", "text": text}), flush=True)
        else:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def result(self, text: str, values: dict[str, Any]) -> None:
        """The command's outcome."""
        self._bars.stop()
        print(json.dumps({"event": "result", **values}) if self.as_json else text, flush=True)

    def facts(self, values: Mapping[str, Any], meanings: Mapping[str, str] | None = None) -> None:
        """A table of names, values and, where they are given, meanings; as JSON, one object without the meanings."""
        self._bars.stop()
        if self.as_json:
            print(json.dumps(values), flush=True)
            return
        rows = [
            (label, entry, (meanings or {}).get(name, ""))
            for name, value in values.items()
            for label, entry in _rows(name, value)
        ]
        # Nothing is wrapped or cut: paths are to be copied.
        widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
        for label, entry, meaning in rows:
            print(f"{label:<{widths[0]}}  {entry:<{widths[1] if meaning else 0}}  {meaning}".rstrip(), flush=True)

    def _is_due(self, progress: Progress, interval_seconds: float) -> bool:
        """Whether the last line is long past, or a line of JSON bears a message."""
        now = time.perf_counter()
        if now - self._last_line < interval_seconds and not (self.as_json and progress.message):
            return False
        self._last_line = now
        return True

    def _print_object(self, progress: Progress, left: float | None) -> None:
        values = {"stage": progress.stage, "done": progress.done, "seconds_left": left, "psnr": progress.psnr_db}
        line = {name: value for name, value in {**values, "message": progress.message}.items() if value is not None}
        print(json.dumps({"event": "progress", **line}), flush=True)

    def _report_bar(self, progress: Progress, left: float | None) -> None:
        if progress.stage not in self._tasks:
            for task in self._tasks.values():
                self._bars.update(task, completed=1.0, note="")
            self._tasks[progress.stage] = self._bars.add_task(progress.stage, total=1.0, note="")
        self._bars.update(self._tasks[progress.stage], completed=progress.done, note=_notes(progress, left))


def _notes(progress: Progress, left: float | None) -> str:
    notes = [f"{left:.0f} s left"] if left is not None and progress.done < 1 else []
    notes += [f"{progress.psnr_db:.1f} dB"] if progress.psnr_db is not None else []
    return ", ".join(notes)


def _rows(name: str, value: Any) -> list[tuple[str, str]]:
    """Nested values one row each, at most one level deep."""
    if isinstance(value, dict):
        return [(f"{name} · {key}", _format(entry)) for key, entry in value.items()]
    return [(name, _format(value))]


def _format(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return str(value)
