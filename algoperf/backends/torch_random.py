"""Keys for PyTorch runs, in NumPy: AlgoPerf v0.6's emulation of JAX's key functions, value for value.

A key is two integers below 2**31 - 1. Known weakness, kept because submissions see the values: `fold_in` and `split`
of one key share their first number.
"""

from collections.abc import Sequence

import numpy as np

_LIMIT = 2**31 - 1

Key = np.ndarray | Sequence[int]


def key(seed: int) -> np.ndarray:
    """Key of a seed: int32 [2]. Seeds count modulo 2**31 - 1."""
    first: np.ndarray = split(seed, 2)[0]
    return first


def split(parent: Key | int, num: int = 2) -> np.ndarray:
    """Returns `num` keys: int32 [num, 2]."""
    return _generator(parent).randint(_LIMIT, size=(num, 2), dtype=np.int32)


def fold_in(parent: Key | int, data: int) -> list[int]:
    """Returns the key of `parent` and a number, for example a step."""
    return [int(_generator(parent).randint(_LIMIT, dtype=np.int32)), int(data)]


def seed_of(parent: Key) -> int:
    """A 62-bit seed for generators that want a single number."""
    high, low = (int(word) % _LIMIT for word in parent)
    return high << 31 | low


def _generator(parent: Key | int) -> np.random.RandomState:
    return np.random.RandomState(np.asarray(parent, np.int64) % _LIMIT)
