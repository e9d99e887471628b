"""Each fuzz target for a second (LAYERLOOM_FUZZ_SECONDS: for longer): nothing but LayerloomError, in one line."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.fuzz.driver import fuzz
from tests.fuzz.targets import TARGETS

SECONDS = float(os.environ.get("LAYERLOOM_FUZZ_SECONDS", "1"))


@pytest.mark.parametrize("name", list(TARGETS))
def test_hostile_inputs_are_read_or_refused_in_one_line(name: str) -> None:
    outcome = fuzz(TARGETS[name], SECONDS)
    assert not outcome.findings, [trouble for trouble, _ in outcome.findings][:5]
    assert outcome.counts["read"] > 0
