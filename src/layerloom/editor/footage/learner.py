"""The process that learns for the page: its order comes as a line, what it says goes out as lines, JSON all of them.

It stops, with what was learned put away, when its input ends: so it goes with the program that began it.

    python -m layerloom.editor.footage.learner
"""

import _thread
import base64
import sys
import threading
import time
from pathlib import Path
from typing import Annotated

import cv2
import msgspec
import numpy as np
import torch
from jaxtyping import UInt8
from msgspec import Meta

from layerloom.core.errors import LayerloomError
from layerloom.core.geometry import fit_long_edge, pixel_centres, rescale_positions
from layerloom.core.progress import Pace, Progress
from layerloom.core.quality import Quality
from layerloom.core.records import Record, optional_path, parse_record, path_field, record_values
from layerloom.data.clip import Clip
from layerloom.decompose import decompose
from layerloom.media import ReadOptions
from layerloom.model.field import LayeredField
from layerloom.prepare.prepare import prepare
from layerloom.train.checkpoint import is_resumable

BETWEEN_LOOKS_SECONDS = 3.0
BETWEEN_LINES_SECONDS = 0.2
LOOK_LONG_EDGE = 320


class Order(Record):
    """What to learn. frames: of the source, half-open. masks: None where objects are to be found."""

    footage: Path
    out: Path
    frames: tuple[int, int]
    masks: Path | None = path_field(converter=optional_path, default=None)
    quality: Quality = "draft"
    resume: bool = False
    fps: tuple[int, int] | None = None
    exr_layer: str = ""
    linear: bool | None = None


class Sign(Record, tag_field="says", tag="sign"):
    """A sign of life."""

    stage: str
    done: float
    seconds_left: float | None = None
    psnr_db: float | None = None
    message: str | None = None


class Look(Record, tag_field="says", tag="look"):
    """A layer as it is learned by now: PNG in base 64. matte: its share of each pixel in one frame."""

    layer: Annotated[int, Meta(ge=0)]
    name: str
    texture: str
    matte: str


class Ended(Record, tag_field="says", tag="ended"):
    """The project is there."""


class Stopped(Record, tag_field="says", tag="stopped"):
    """It was stopped, or failed with a reason. can_resume: whether something is kept to go on from."""

    can_resume: bool
    failed: str = ""


Saying = Sign | Look | Ended | Stopped


class Reporter:
    """Says what goes on, now and then."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._pace = Pace()
        self._stage = ""
        self._last_sign = self._last_look = 0.0

    def report(self, progress: Progress) -> None:
        """As `on_progress`."""
        left = self._pace.seconds_left(progress)
        is_new = progress.stage != self._stage or progress.message
        if is_new or time.monotonic() - self._last_sign > BETWEEN_LINES_SECONDS:
            self._stage, self._last_sign = progress.stage, time.monotonic()
            say(Sign(progress.stage, min(progress.done, 1.0), left, progress.psnr_db, progress.message))

    def look(self, field: LayeredField) -> None:
        """As `on_field`."""
        if time.monotonic() - self._last_look < BETWEEN_LOOKS_SECONDS:
            return
        mattes = visible_shares(field, field.frames // 2)
        for number, name in enumerate(self.names):
            say(Look(number, name, _png(texture_of(field, number)), _png(mattes[number])))
        self._last_look = time.monotonic()


def texture_of(field: LayeredField, layer: int) -> UInt8[np.ndarray, "h w 3"]:
    """A layer's texture as it is by now, small."""
    canvas = field.layer(layer).canvas
    size = fit_long_edge(canvas, LOOK_LONG_EDGE)
    uv = torch.from_numpy(rescale_positions(pixel_centres(size), size, canvas)).float().to(field.alpha_start.device)
    with torch.no_grad():
        colours = field.layer(layer).texture(uv.reshape(1, -1, 2))
    return _levels(colours.view(size[1], size[0], 3))


def visible_shares(field: LayeredField, frame: int) -> UInt8[np.ndarray, "layers h w"]:
    """What each layer shows of a frame, small."""
    size, device = fit_long_edge(field.size, LOOK_LONG_EDGE), field.alpha_start.device
    xy = torch.from_numpy(rescale_positions(pixel_centres(size), size, field.size)).float().to(device)
    with torch.no_grad():
        is_plain = len(field.layers) == 1
        shares = field.alpha(xy.reshape(1, -1, 2), torch.tensor([frame], device=device), is_plain)
    return _levels(shares.view(-1, size[1], size[0]))


def learn(order: Order, reporter: Reporter) -> None:
    """Carry an order out. LayerloomError and KeyboardInterrupt as `decompose` raises them."""

    def make_clip() -> Clip:
        clip = prepare(
            order.footage,
            masks=order.masks,
            reading=ReadOptions(order.fps, order.exr_layer, order.linear),
            quality=order.quality,
            frames=order.frames,
            on_progress=reporter.report,
        )
        reporter.names = clip.layer_names
        return clip

    decompose(make_clip, order.out, resume=order.resume, on_progress=reporter.report, on_field=reporter.look)


def say(saying: Saying) -> None:
    """A line, at once."""
    sys.stdout.write(msgspec.json.encode(record_values(saying)).decode() + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the order, and carry it out; stop when the input ends."""
    order = parse_record(sys.stdin.readline(), Order)
    is_over = threading.Event()

    def watch() -> None:
        sys.stdin.read()
        if not is_over.is_set():
            _thread.interrupt_main()

    threading.Thread(target=watch, daemon=True).start()
    try:
        learn(order, Reporter())
        is_over.set()
        say(Ended())
    except KeyboardInterrupt:
        is_over.set()
        say(Stopped(is_resumable(order.out)))
    except (LayerloomError, OSError, MemoryError) as error:
        is_over.set()
        say(Stopped(is_resumable(order.out), str(error) or type(error).__name__))


def _levels(values: torch.Tensor) -> np.ndarray:
    return (255 * values.clamp(0, 1)).round().to(torch.uint8).cpu().numpy()


def _png(picture: np.ndarray) -> str:
    _, data = cv2.imencode(".png", picture[..., ::-1] if picture.ndim == 3 else picture)
    return base64.b64encode(data.tobytes()).decode("ascii")


if __name__ == "__main__":
    main()
