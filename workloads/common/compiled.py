"""Compilation of loops over numbers."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(function: Callable[..., Any]) -> Any:
    """Compiles at the first call; other threads run meanwhile. Later processes load the result where it can be kept."""
    try:
        return njit(nogil=True, cache=True)(function)
    except RuntimeError:  # no folder that can be written: neither next to the source nor in the user's cache
        return njit(nogil=True)(function)
