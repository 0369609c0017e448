"""The order in which TFDS stores the examples that it generates from raw files."""

import hashlib
from collections.abc import Iterable

import numpy as np


def tfds_order(split: str, keys: Iterable[str | int]) -> np.ndarray:
    """Returns int64 [n]: positions of the examples with these keys, sorted as TFDS sorts them.

    It sorts by the MD5 of the split's name followed by the key (`core/hashing.py` and `core/shuffle.py` of
    tensorflow-datasets 4.9.10), so that slices of a split, such as a validation split, depend on it.
    """
    salt = hashlib.md5(split.encode())
    digests = bytearray()
    for key in keys:
        digest = salt.copy()
        digest.update(str(key).encode())
        digests += digest.digest()
    halves = np.frombuffer(digests, ">u8").reshape(-1, 2)
    return np.lexsort((halves[:, 1], halves[:, 0]))
