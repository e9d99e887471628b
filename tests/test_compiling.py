"""Compiled functions without a place to keep them."""

import logging
from typing import Any

import pytest

from layerloom.core import jit as compiling


def test_what_cannot_be_kept_is_compiled_in_memory_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    compiling._say_once.cache_clear()
    names: dict[str, Any] = {}
    # Of a function that comes from no file, Numba does not know where to keep it either.
    exec("def double(x):\n    return 2 * x\ndef triple(x):\n    return 3 * x", names)
    with caplog.at_level(logging.WARNING):
        functions = [compiling.compiled(nogil=True)(names[name]) for name in ("double", "triple")]
    assert [function(7) for function in functions] == [14, 21]
    assert len(caplog.records) == 1


def test_what_can_be_kept_says_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    assert compiling.compiled()(_halve)(8) == 4
    assert not caplog.records
    assert list(tmp_path.rglob("*.nbi"))


def _halve(x: int) -> float:
    return x / 2
