"""Long tasks of the editor: each in a thread of its own, with signs of life to all pages, and a stop."""

import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from layerloom.core.errors import LayerloomError
from layerloom.core.progress import OnProgress, Progress
from layerloom.editor.protocol import Job, StartExport
from layerloom.editor.session import EditSession
from layerloom.export.export import export
from layerloom.render.video import write_video

BETWEEN_SIGNS_SECONDS = 0.2
SUFFIXES = {"h264": ".mp4", "hevc": ".mp4", "prores": ".mov", "prores4444": ".mov", "vp9": ".webm", "ffv1": ".mkv"}


class Cancelled(Exception):
    """Raised inside of a task that is to stop."""


class Jobs:
    """The tasks of one editor. tell: takes their signs of life, from their threads."""

    def __init__(self, session: EditSession, tell: Callable[[Job], None]) -> None:
        self._session, self._tell = session, tell
        self._folder = session.folder / "exports"
        self._cancelled: dict[str, threading.Event] = {}
        self._count = 0

    def export(self, wanted: StartExport) -> str:
        """Start writing what a page asked for; the task's name. LayerloomError if that cannot be begun."""
        if wanted.kind == "video":
            return self._start("export", lambda path, report: self._write_video(wanted, path, report))
        return self._start("export", lambda path, report: self._write_layers(path, report))

    def cancel(self, name: str) -> None:
        """Stop a task. LayerloomError if there is none of that name."""
        if name not in self._cancelled:
            raise LayerloomError(f"task '{name}': there is none of that name; it may have ended")
        self._cancelled[name].set()

    def result(self, name: str) -> Path | None:
        """A file that a task has written; None if there is none of that name."""
        path = self._folder / name
        return path if path.parent == self._folder and path.is_file() else None

    def _start(self, kind: Literal["export"], work: Callable[[Path, OnProgress], Path]) -> str:
        self._count += 1
        name = f"{kind}-{self._count}"
        stop = self._cancelled[name] = threading.Event()
        self._folder.mkdir(parents=True, exist_ok=True)
        last = [0.0]

        def report(progress: Progress) -> None:
            if stop.is_set():
                raise Cancelled
            if time.monotonic() - last[0] > BETWEEN_SIGNS_SECONDS or progress.message:
                last[0] = time.monotonic()
                self._tell(
                    Job(name, kind, progress.stage, progress.done, "running", progress.psnr_db, progress.message)
                )

        def run() -> None:
            try:
                path = work(self._folder / name, report)
            except Cancelled:
                self._tell(Job(name, kind, kind, 0.0, "cancelled"))
            except (LayerloomError, OSError) as error:
                self._tell(Job(name, kind, kind, 0.0, "failed", message=str(error)))
            else:
                self._tell(Job(name, kind, kind, 1.0, "ended", result=f"/api/exports/{path.name}"))
            finally:
                del self._cancelled[name]

        threading.Thread(target=run, name=name, daemon=True).start()
        return name

    def _write_video(self, wanted: StartExport, path: Path, report: OnProgress) -> Path:
        output = path.with_suffix(SUFFIXES[wanted.codec])
        write_video(
            self._session.project, self._session.with_paintings(), output, None, wanted.codec, on_progress=report
        )
        return output

    def _write_layers(self, path: Path, report: OnProgress) -> Path:
        """Textures, mattes, ST maps and light, in one archive."""
        try:
            export(self._session.project, path, on_progress=report)
            report(Progress("pack", 0.0))
            return Path(shutil.make_archive(str(path), "zip", path))
        finally:
            shutil.rmtree(path, ignore_errors=True)
