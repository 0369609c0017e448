"""Fixed position embedding of the tokens, the same in both frameworks."""

import numpy as np


def sincos_positions(rows: int, columns: int, width: int) -> np.ndarray:
    """Returns float32 [rows * columns, width]: for token (y, x), the quarters sin(x w), cos(x w), sin(y w), cos(y w).

    The width / 4 frequencies w fall geometrically from 1 to 1 / 10000.
    """
    quarter = width // 4
    frequencies = 10_000.0 ** (-np.arange(quarter) / max(quarter - 1, 1))
    y, x = np.mgrid[:rows, :columns].reshape(2, -1, 1) * frequencies
    return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1).astype(np.float32)
