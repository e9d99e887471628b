"""Functions compiled by Numba and kept on disk, or only in memory where nothing can be written."""

import logging
from collections.abc import Callable
from functools import cache
from typing import Any

from numba import njit

Function = Callable[..., Any]

logger = logging.getLogger(__name__)


def compiled(**options: Any) -> Callable[[Function], Function]:
    """`njit` with these options, and its cache: beside the file, in the user's, or where NUMBA_CACHE_DIR names."""

    def compile_lazily(function: Function) -> Function:
        try:
            return njit(cache=True, **options)(function)
        except RuntimeError:  # Numba finds no folder that it may write to
            _say_once()
            return njit(**options)(function)

    return compile_lazily


@cache
def _say_once() -> None:
    logger.warning(
        "no folder for compiled code can be written to, so it is compiled anew each time (NUMBA_CACHE_DIR names one)"
    )
