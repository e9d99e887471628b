"""What keeps a training going: a step that runs out of memory, or whose numbers are no longer finite, is undone."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from layerloom.core.errors import LayerloomError

CHECK_STEPS = {"cpu": 100, "cuda": 500}
"""After so many steps the state is looked at and kept: some seconds of a CPU, less than one of a GPU."""
MOST_RETRIES = 5
"""From one kept state, each with half the rates of the one before."""
LEAST_TILES = 32

Tell = Callable[[str], None]


@dataclass(frozen=True)
class KeptState:
    """A whole state, as copies on its device. schedule: its `steps` and `psnr_db`; reports: how many there were."""

    step: int
    tensors: dict[str, Tensor]
    schedule: tuple[int, tuple[float, ...]]
    reports: int


class Training(ABC):
    """What is kept going. rate_share: what rates are multiplied by, beside the schedule."""

    device: torch.device
    step: int
    rate_share: float

    @property
    @abstractmethod
    def tiles(self) -> int:
        """Of a step."""

    @property
    @abstractmethod
    def is_due(self) -> bool:
        """Whether it is time to look whether all numbers are finite."""

    @abstractmethod
    def take_step(self) -> None:
        """The next one, at its rates."""

    @abstractmethod
    def take_tiles(self, tiles: int) -> None:
        """So many a step from now on."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """All that learning changes, as it lies on the device."""

    @abstractmethod
    def keep(self) -> KeptState:
        """A copy of the state on the device, but for chance."""

    @abstractmethod
    def return_to(self, kept: KeptState) -> None:
        """Go back to a kept state. Chance goes on, so other tiles are drawn."""


class Guard:
    """Takes a training's steps. Everything is said once."""

    def __init__(self, training: Training) -> None:
        self.tell: Tell = ignore
        self._training = training
        self._kept: KeptState | None = None
        self._retries = 0
        self._said: set[str] = set()

    def take_step(self) -> None:
        """The next one; where that cannot be, go back to the state that was kept last, with smaller steps.

        LayerloomError where that does not help either; then the training is in that state.
        """
        training = self._training
        if self._kept is None:
            self._kept = training.keep()
        try:
            training.take_step()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            error.__traceback__ = None  # it holds what the step had allocated
            self._take_smaller_batches(self._kept)
        if training.is_due:
            self.settle()

    def settle(self) -> None:
        """Look at the state: keep it if all of it is finite, else go back. LayerloomError as `take_step`."""
        if all_finite(self._training.tensors()):
            self._kept, self._retries = None, 0  # one copy at a time
            self._kept = self._training.keep()
            self._training.rate_share = min(1.0, 2 * self._training.rate_share)
        elif self._kept is None:
            raise LayerloomError("what was learned until now is not finite; start anew", "resume")
        else:
            self._take_smaller_steps(self._kept, self._training.step)

    def forget(self) -> None:
        """The training was set to another state."""
        self._kept, self._retries = None, 0

    def _take_smaller_steps(self, good: KeptState, bad_step: int) -> None:
        self._training.return_to(good)
        self._retries += 1
        if self._retries > MOST_RETRIES:
            raise LayerloomError(
                f"learning breaks down between steps {good.step} and {bad_step}, also with steps of"
                f" 1/{2**MOST_RETRIES}: numbers stop being finite; another seed or size may help",
                *("seed", "long_edge"),
            )
        self._training.rate_share /= 2
        self._say("numbers stopped being finite: learning goes back a little and on with smaller steps")

    def _take_smaller_batches(self, good: KeptState) -> None:
        self._training.return_to(good)
        tiles = self._training.tiles // 2
        if tiles < LEAST_TILES:
            raise LayerloomError(
                "the GPU's memory is too small for this clip; learn at a smaller size, fewer frames, or on the CPU",
                *("long_edge", "frames", "device"),
            )
        if self._training.device.type == "cuda":
            torch.cuda.empty_cache()
        self._training.take_tiles(tiles)
        self._say("the GPU's memory is full: learning goes on with smaller batches")

    def _say(self, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            self.tell(text)


def ignore(text: str) -> None:
    """Say nothing."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is that, or came of it, as where a CUDA graph was being recorded."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, torch.OutOfMemoryError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def all_finite(tensors: dict[str, Tensor]) -> bool:
    """Of numbers that are no integers; asks the device once."""
    sums = [tensor.isfinite().all() for tensor in tensors.values() if tensor.is_floating_point()]
    devices = {answer.device for answer in sums}
    return all(bool(torch.stack([answer for answer in sums if answer.device == device]).all()) for device in devices)
