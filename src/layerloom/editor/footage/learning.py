"""Learning begun from the page: masks are written down, a process learns from them, its signs of life are told."""

import base64
import hashlib
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from layerloom.core.atomic import atomic_file
from layerloom.core.errors import LayerloomError
from layerloom.core.records import parse_one_of, record_values
from layerloom.data.selection import selection_to_json
from layerloom.editor.footage.follower import Follower
from layerloom.editor.footage.hint_store import HintStore
from layerloom.editor.footage.learner import Ended, Look, Order, Saying, Sign, Stopped
from layerloom.editor.footage.messages import Learn, Learning
from layerloom.editor.footage.source import FootageChoice, OpenedFootage
from layerloom.train.checkpoint import checkpoint_folder, is_resumable

MASKS, RECORD = "masks", "learning.json"


class Learner:
    """One process at a time that learns. Its state is told whenever it changes, from its own thread."""

    def __init__(
        self, choice: FootageChoice, footage: OpenedFootage, store: HintStore, follower: Follower, out: Path
    ) -> None:
        self._choice, self._footage, self._store, self._follower = choice, footage, store, follower
        self._out = out
        self._folder = store.path.parent
        self._lock = threading.RLock()
        self._process: subprocess.Popen[str] | None = None
        self._is_stopping = False
        self._looks: dict[tuple[int, str], bytes] = {}
        self.tell: Callable[[Learning], None] = lambda learning: None
        self.on_ended: Callable[[], None] = lambda: None
        self.state = Learning("idle", can_resume=self._can_resume())

    def start(self, wanted: Learn) -> None:
        """Begin, or go on. LayerloomError if that cannot be."""
        with self._lock:
            if self.state.state in ("waiting", "running", "stopping"):
                raise LayerloomError("learning goes on already")
            if wanted.resume and not self._can_resume():
                raise LayerloomError("there is nothing to go on from; begin anew")
            self._is_stopping = False
            self._looks.clear()
            self._say(Learning("waiting", "follow"))
        threading.Thread(target=self._run, args=(wanted,), name="learning", daemon=True).start()

    def stop(self) -> None:
        """Stop; what was learned is kept. LayerloomError if nothing goes on."""
        with self._lock:
            if self.state.state not in ("waiting", "running"):
                raise LayerloomError("nothing is being learned")
            self._is_stopping = True
            self._say(_with(self.state, state="stopping"))
            self._end_input()

    def close(self) -> None:
        """Stop, and wait until what was learned is put away."""
        with self._lock:
            self._is_stopping = True
            process = self._process
            self._end_input()
        if process is not None:
            process.wait()

    def selection_changed(self) -> None:
        """Whether there is something to go on from depends on the selection."""
        with self._lock:
            if self.state.state in ("idle", "stopped", "failed"):
                self._say(_with(self.state, can_resume=self._can_resume()))

    def look(self, layer: int, kind: str) -> bytes | None:
        """A picture (PNG) of what is being learned: a layer's "texture" or "matte"; None if there is none yet."""
        return self._looks.get((layer, kind))

    def _run(self, wanted: Learn) -> None:
        try:
            self._learn(wanted)
        except (LayerloomError, OSError) as error:
            self._finish(Stopped(self._can_resume(), str(error)))

    def _learn(self, wanted: Learn) -> None:
        revision = self._store.revision
        if not wanted.resume:
            if not self._follower.wait_followed(revision, lambda: self._is_stopping):
                reason = "" if self._is_stopping else "the objects changed, or could not be followed; begin again"
                self._finish(Stopped(False, reason))
                return
            shutil.rmtree(checkpoint_folder(self._out), ignore_errors=True)
            self._write_masks(wanted)
        order = self._order(wanted)
        with self._lock:
            if self._is_stopping:
                self._finish(Stopped(wanted.resume))
                return
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "layerloom.editor.footage.learner"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
            self._say(Learning("running", "start"))
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(record_values(order)).decode() + "\n")
        process.stdin.flush()
        self._finish(self._listen(process.stdout, process))

    def _listen(self, lines: IO[str], process: subprocess.Popen[str]) -> Ended | Stopped:
        """Tell what the process says until it ends; its last word."""
        last: Ended | Stopped | None = None
        for line in lines:
            if not line.startswith("{"):
                continue  # what libraries print
            saying: Saying = parse_one_of(line, Saying)
            match saying:
                case Sign(stage, done, left, psnr, message):
                    self._sign(stage, done, left, psnr, message)
                case Look(layer, name, texture, matte):
                    self._take_look(layer, name, texture, matte)
                case _:
                    last = saying
        code = process.wait()
        return last or Stopped(is_resumable(self._out), f"the learning process ended by itself ({code})")

    def _sign(self, *sign: Any) -> None:
        stage, done, left, psnr, message = sign
        with self._lock:
            state = "stopping" if self._is_stopping else "running"
            kept = self.state.psnr_db if psnr is None else psnr
            self._say(
                _with(
                    self.state,
                    state=state,
                    stage=stage,
                    done=done,
                    seconds_left=left,
                    psnr_db=kept,
                    message=message or self.state.message,
                )
            )

    def _take_look(self, layer: int, name: str, texture: str, matte: str) -> None:
        with self._lock:
            self._looks[layer, "texture"] = base64.b64decode(texture)
            self._looks[layer, "matte"] = base64.b64decode(matte)
            layers = (*self.state.layers[:layer], name, *self.state.layers[layer + 1 :])
            self._say(_with(self.state, looks=self.state.looks + 1, layers=layers))

    def _finish(self, last: Ended | Stopped) -> None:
        with self._lock:
            self._process = None
            if isinstance(last, Ended):
                self._say(_with(self.state, state="ended", done=1.0, seconds_left=None))
            else:
                state = "failed" if last.failed else "stopped"
                kept = _with(self.state, state=state, message=last.failed, seconds_left=None)
                self._say(_with(kept, can_resume=last.can_resume and self._can_resume()))
        if isinstance(last, Ended):
            self.on_ended()

    def _order(self, wanted: Learn) -> Order:
        reading = self._footage.info.description.options
        masks = self._folder / MASKS if self._store.objects else None
        record = json.loads((self._folder / RECORD).read_text(encoding="utf-8")) if wanted.resume else {}
        return Order(
            self._choice.path.absolute(),
            self._out.absolute(),
            (self._footage.frames.start, self._footage.frames.stop),
            masks and masks.absolute(),
            record.get("quality", wanted.quality),
            wanted.resume,
            reading.fps,
            reading.layer,
            reading.linear,
        )

    def _write_masks(self, wanted: Learn) -> None:
        """The masks that the page shows, and what they were made for."""
        folder = self._folder / MASKS
        shutil.rmtree(folder, ignore_errors=True)
        for each in self._store.objects:
            (folder / each.name).mkdir(parents=True)
            for frame in self._footage.frames:
                name = self._footage.info.names[frame] if self._footage.info.names else f"{frame:05d}"
                data = self._follower.mask(each.name, frame)
                if data is None:
                    raise LayerloomError(f"'{each.name}', frame {frame}: there is no mask yet; begin again")
                (folder / each.name / f"{name}.png").write_bytes(data)
        self._folder.mkdir(exist_ok=True)
        with atomic_file(self._folder / RECORD) as temporary:
            temporary.write_text(json.dumps({"selection": self._key(), "quality": wanted.quality}), encoding="utf-8")

    def _can_resume(self) -> bool:
        """Whether something was learned from the masks of the selection as it is."""
        if not is_resumable(self._out):
            return False
        try:
            return json.loads((self._folder / RECORD).read_text(encoding="utf-8"))["selection"] == self._key()
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _key(self) -> str:
        selection = self._store.selection
        text = "" if selection is None else selection_to_json(selection)
        return hashlib.sha256(repr((text, self._footage.info.fingerprint, self._footage.frames)).encode()).hexdigest()

    def _end_input(self) -> None:
        """The process stops when its input ends."""
        if self._process is not None and self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()

    def _say(self, state: Learning) -> None:
        self.state = state
        self.tell(state)


_with = msgspec.structs.replace
