"""Training that goes on: memory that is too small, and numbers that stop being finite."""

from collections.abc import Callable

import pytest
import torch
from clips import clip_from_truth, small_synthetic
from test_model import tiny_settings

from layerloom.core.errors import LayerloomError
from layerloom.data.clip import Clip
from layerloom.train.recovery import CHECK_STEPS, LEAST_TILES, MOST_RETRIES, is_out_of_memory
from layerloom.train.settings import TrainSettings
from layerloom.train.trainer import Trainer

CPU = torch.device("cpu")
CHECK = 4
STEPS = 2 * CHECK + 2


@pytest.fixture(autouse=True)
def often_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As steps take long on a CPU."""
    monkeypatch.setitem(CHECK_STEPS, "cpu", CHECK)


@pytest.fixture(scope="module")
def clip() -> Clip:
    return clip_from_truth(small_synthetic(frames=3))


def settings(steps: int = STEPS, tiles: int = 8) -> TrainSettings:
    return TrainSettings(steps, tiles, field=tiny_settings().field)


def trainer_with(clip: Clip, fault: Callable[[Trainer], None], how: TrainSettings) -> Trainer:
    """A trainer whose steps go through a fault first: it raises, or spoils what was learned."""
    trainer = Trainer(clip, how, CPU)
    compute = trainer._compute_or_replay

    def faulty() -> None:
        compute()
        fault(trainer)

    trainer._compute_or_replay = faulty
    return trainer


def spoil(trainer: Trainer) -> None:
    with torch.no_grad():
        next(trainer.field.parameters()).view(-1)[0] = float("nan")


def run(trainer: Trainer) -> list[str]:
    told: list[str] = []
    for _ in trainer.run(told.append):
        pass
    assert all(bool(value.isfinite().all()) for value in trainer.tensors().values())
    return told


def out_of_memory_above(tiles: int) -> Callable[[Trainer], None]:
    def fault(trainer: Trainer) -> None:
        if trainer.tiles > tiles and trainer.step >= 1:
            spoil(trainer)  # the step had begun to change things
            raise torch.OutOfMemoryError("CUDA out of memory")

    return fault


def test_out_of_memory_makes_batches_smaller(clip: Clip) -> None:
    trainer = trainer_with(clip, out_of_memory_above(LEAST_TILES), settings(6, 4 * LEAST_TILES))
    told = run(trainer)
    assert told == ["the GPU's memory is full: learning goes on with smaller batches"]
    assert trainer.step == 6 and trainer.tiles == LEAST_TILES == sum(trainer.sampler.counts)
    resumed = Trainer(clip, settings(6, 4 * LEAST_TILES), CPU)
    resumed.restore(*trainer.state())
    assert resumed.tiles == LEAST_TILES


def test_memory_that_is_too_small_for_anything_is_told(clip: Clip) -> None:
    trainer = trainer_with(clip, out_of_memory_above(0), settings(6, 2 * LEAST_TILES))
    with pytest.raises(LayerloomError, match="memory is too small for this clip"):
        run(trainer)
    trainer.settle()  # what is left can be stored


def test_what_is_no_lack_of_memory_is_raised(clip: Clip) -> None:
    def fault(trainer: Trainer) -> None:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run(trainer_with(clip, fault, settings(6)))


def test_lack_of_memory_is_known_behind_what_came_of_it() -> None:
    try:
        try:
            raise torch.OutOfMemoryError("first")
        except torch.OutOfMemoryError:
            raise RuntimeError("the recording was broken off")  # noqa: B904
    except RuntimeError as error:
        assert is_out_of_memory(error)
    assert not is_out_of_memory(RuntimeError("first"))


def once_at(step: int) -> Callable[[Trainer], None]:
    left = [step]

    def fault(trainer: Trainer) -> None:
        if left and trainer.step == step:
            left.clear()
            spoil(trainer)

    return fault


@pytest.mark.parametrize("step", [2, CHECK + 1, STEPS - 1])
def test_a_step_that_is_not_finite_is_undone(clip: Clip, step: int) -> None:
    ends: list[Trainer] = []
    for _ in range(2):
        trainer = trainer_with(clip, once_at(step), settings())
        ends.append(trainer)
        told = run(trainer)
        assert told == ["numbers stopped being finite: learning goes back a little and on with smaller steps"]
        assert trainer.step == STEPS
        assert [record.step for record in trainer.history] == sorted({record.step for record in trainer.history})
    for name, value in ends[0].tensors().items():
        assert torch.equal(value, ends[1].tensors()[name]), "the same every time"


def test_smaller_steps_are_only_for_a_while(clip: Clip) -> None:
    trainer = trainer_with(clip, once_at(2), settings())
    run(trainer)
    assert trainer.rate_share == 1


def test_what_breaks_down_again_and_again_ends(clip: Clip) -> None:
    tries = []

    def fault(trainer: Trainer) -> None:
        if trainer.step == CHECK + 1:
            tries.append(trainer.rate_share)
            spoil(trainer)

    trainer = trainer_with(clip, fault, settings())
    with pytest.raises(LayerloomError, match=r"breaks down between steps 4 and 8.*1/32"):
        run(trainer)
    assert tries == [2.0**-number for number in range(MOST_RETRIES + 1)]
    assert trainer.step == CHECK and trainer.is_between_steps


def test_what_is_stored_is_finite(clip: Clip) -> None:
    """Also where a run is interrupted before the fault was noticed."""
    trainer = trainer_with(clip, once_at(CHECK + 1), settings())
    while trainer.step < CHECK + 3:
        trainer._guard.take_step()
    trainer.settle()
    assert trainer.step == CHECK
    tensors, _ = trainer.state()
    assert all(bool(value.isfinite().all()) for value in tensors.values() if value.is_floating_point())
