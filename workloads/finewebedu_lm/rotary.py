"""The angles of rotary positions, common to both frameworks."""

import functools

import numpy as np


@functools.lru_cache(maxsize=8)
def rotations(length: int, depth: int, base: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns cosines and sines, float32 [length, depth / 2], of the angle of each pair of components at each position.

    angle(position, i) = position * base ** (-2 i / depth), computed in float64. Pair i is components 2 i and 2 i + 1.
    """
    frequencies = base ** (-np.arange(0, depth, 2) / depth)
    angles = np.arange(length)[:, None] * frequencies[None, :]
    tables = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    for table in tables:
        table.setflags(write=False)
    return tables
