"""What the user sees while a command works: bars with time left on a terminal, else a line now and then, or JSON."""

import json
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from layerloom.core.progress import Report

JSON_INTERVAL_SECONDS = 0.5
LOG_INTERVAL_SECONDS = 10.0


class Console:
    """Progress on standard error, results on standard output; as JSON, both on the latter. A context manager."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._progress = Progress(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=RichConsole(stderr=True),
            disable=as_json or not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._first_pieces: dict[str, tuple[float, float]] = {}
        self._stage: str | None = None
        self._last_line = time.perf_counter()

    def __enter__(self) -> "Console":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def report(self, report: Report) -> None:
        """Show a sign of life."""
        is_new = report.stage != self._stage
        self._stage = report.stage
        left = self._seconds_left(report)
        if report.message is not None and not self.as_json:
            self.note(report.message)
        if not self._progress.disable:
            self._report_bar(report, left)
        elif self.as_json and (self._is_due(report, JSON_INTERVAL_SECONDS) or is_new or report.done >= 1):
            self._print_object(report, left)
        elif not self.as_json and self._is_due(report, LOG_INTERVAL_SECONDS):
            print(f"{report.stage} {report.done:.0%} {_notes(report, left)}".rstrip(), file=sys.stderr, flush=True)

    def counter(self, stage: str) -> Callable[[int, int], None]:
        """A function of (done, in all) that reports a stage."""
        return lambda done, total: self.report(Report(stage, done / total))

    def share(self, stage: str) -> Callable[[float], None]:
        """A function of the share done, in [0, 1], that reports a stage."""
        return lambda done: self.report(Report(stage, done))

    def note(self, text: str) -> None:
        """Something that the user should know, worth a line."""
        if self.as_json:
            print(json.dumps({"event": "note", "text": text}), flush=True)
        else:
            self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def result(self, text: str, values: dict[str, Any]) -> None:
        """The command's outcome."""
        self._progress.stop()
        print(json.dumps({"event": "result", **values}) if self.as_json else text, flush=True)

    def facts(self, values: Mapping[str, Any], meanings: Mapping[str, str] | None = None) -> None:
        """A table of names, values and, where they are given, meanings; as JSON, one object without the meanings."""
        self._progress.stop()
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

    def _seconds_left(self, report: Report) -> float | None:
        """By the pace since a stage's first piece, which takes longer: it loads and compiles."""
        if not 0 < report.done < 1:
            return None
        now = time.perf_counter()
        begun, first = self._first_pieces.setdefault(report.stage, (now, report.done))
        return (now - begun) * (1 - report.done) / (report.done - first) if report.done > first else None

    def _is_due(self, report: Report, interval_seconds: float) -> bool:
        """Whether the last line is long past, or a line of JSON bears a message."""
        now = time.perf_counter()
        if now - self._last_line < interval_seconds and not (self.as_json and report.message):
            return False
        self._last_line = now
        return True

    def _print_object(self, report: Report, left: float | None) -> None:
        values = {"stage": report.stage, "done": report.done, "seconds_left": left, "psnr": report.psnr}
        line = {name: value for name, value in {**values, "message": report.message}.items() if value is not None}
        print(json.dumps({"event": "progress", **line}), flush=True)

    def _report_bar(self, report: Report, left: float | None) -> None:
        if report.stage not in self._tasks:
            for task in self._tasks.values():
                self._progress.update(task, completed=1.0, note="")
            self._tasks[report.stage] = self._progress.add_task(report.stage, total=1.0, note="")
        self._progress.update(self._tasks[report.stage], completed=report.done, note=_notes(report, left))


def _notes(report: Report, left: float | None) -> str:
    notes = [f"{left:.0f} s left"] if left is not None and report.done < 1 else []
    notes += [f"{report.psnr:.1f} dB"] if report.psnr is not None else []
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
