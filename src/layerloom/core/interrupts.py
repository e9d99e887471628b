"""Signals that end a program, as KeyboardInterrupt: at once, or where the state is whole."""

import contextlib
import signal
import threading
from collections.abc import Generator
from types import FrameType

TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(KeyboardInterrupt):
    """What SIGTERM and SIGHUP raise: `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


@contextlib.contextmanager
def terminations_as_interrupts() -> Generator[None]:
    """Within, SIGTERM and SIGHUP raise Terminated, so that work is put away as for ctrl-C.

    Where they are ignored (as `nohup` does) or handled already they stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: FrameType | None) -> None:
        raise Terminated(number)

    usual = [number for number in TERMINATIONS if signal.getsignal(number) is signal.SIG_DFL]
    for number in usual:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in usual:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def postponed_interrupts() -> Generator[None]:
    """Within, what would raise KeyboardInterrupt waits for the end; who insists is heard at once.

    For what must not stop half-way, such as one step of training. It should take no longer than a second.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are for the main thread
        return
    waiting: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, *TERMINATIONS)}
    raising = {number: handler for number, handler in handlers.items() if callable(handler)}

    def note(number: int, frame: FrameType | None) -> None:
        if waiting:
            raising[number](number, frame)
        waiting.append(number)

    for number in raising:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in raising.items():
            signal.signal(number, handler)
        if waiting:
            raising[waiting[0]](waiting[0], None)
