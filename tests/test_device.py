"""Where work is done, and how large, by one dial."""

from typing import get_args

import pytest
import torch

from layerloom.core.device import choose_device
from layerloom.core.errors import LayerloomError
from layerloom.core.quality import Quality, check_quality, default_long_edge


@pytest.mark.parametrize("to_draw", [False, True])
def test_devices(to_draw: bool) -> None:
    assert choose_device("cpu", to_draw=to_draw) == "cpu"
    assert choose_device("auto", to_draw=to_draw) == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(LayerloomError, match="allowed are auto, cpu, cuda"):
        choose_device("tpu", to_draw=to_draw)
    if not torch.cuda.is_available():
        with pytest.raises(LayerloomError, match="no CUDA GPU here"):
            choose_device("cuda", to_draw=to_draw)


def test_finer_quality_learns_larger() -> None:
    for device in ("cpu", "cuda"):
        sizes = [default_long_edge(quality, device) for quality in get_args(Quality)]
        assert sizes == sorted(sizes) and len(set(sizes)) == 3


def test_the_dial_has_three_positions() -> None:
    assert [check_quality(name) for name in ("draft", "standard", "fine")] == list(get_args(Quality))
    with pytest.raises(LayerloomError, match="'best': allowed are draft, standard, fine"):
        check_quality("best")
