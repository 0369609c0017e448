"""The fixed position signal, common to both frameworks."""

import functools

import numpy as np

_LONGEST_WAVELENGTH = 10_000.0


@functools.lru_cache(maxsize=8)
def sinusoids(length: int, width: int) -> np.ndarray:
    """Returns float32 [length, width]: sines in the first half of the channels, cosines in the second.

    angle(position, i) = position * exp(-i * ln(10000) / (width / 2 - 1)), computed in float64.
    """
    half = width // 2
    frequencies = np.exp(-np.arange(half) * np.log(_LONGEST_WAVELENGTH) / (half - 1))
    angles = np.arange(length)[:, None] * frequencies[None, :]
    table = np.concatenate([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    table.setflags(write=False)
    return table
