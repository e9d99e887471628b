import torch
from test_model import tiny_settings

from layerloom.train.trainer import Trainer
from layerloom.train.warm_up import _blank_clip, warm_up  # pyright: ignore[reportPrivateUsage]


def test_steps_are_taken_on_a_clip_of_nothing() -> None:
    trainer = Trainer(_blank_clip((120, 80)), tiny_settings(), torch.device("cpu"))
    before = [parameter.detach().clone() for parameter in trainer.field.parameters()]
    trainer.take_unrecorded_steps()
    after = list(trainer.field.parameters())
    assert trainer.step == 0
    assert all(bool(parameter.isfinite().all()) for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_any_training_size_will_do() -> None:
    for size in ((64, 36), (37, 53)):
        warm_up(size, torch.device("cpu"))
