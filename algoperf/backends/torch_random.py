"""Keys of PyTorch runs: two integers below 2**31 - 1."""

from collections.abc import Sequence

import numpy as np

_LIMIT = 2**31 - 1

Key = np.ndarray | Sequence[int]


def seed_of(parent: Key) -> int:
    """A 62-bit seed for generators that want a single number."""
    high, low = (int(word) % _LIMIT for word in parent)
    return high << 31 | low
