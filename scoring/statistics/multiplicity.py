"""One adjustment for all pairs of a board, from which everything that is said about pairs follows.

Source: Shaffer, "Modified sequentially rejective multiple test procedures" (1986): Holm's procedure, sharpened by
logic. If a and b differ, then a and c or b and c differ too, so that fewer hypotheses can still be true together. It
controls the probability of any false claim under every configuration, however the tests depend on each other.
"""

from functools import cache

import numpy as np


@cache
def possible_true(entrants: int) -> tuple[int, ...]:
    """Numbers of pairs that can be equal at once among `entrants`, ascending: ties come in groups."""
    numbers = {0}
    for group in range(2, entrants + 1):
        numbers |= {group * (group - 1) // 2 + rest for rest in possible_true(entrants - group)}
    return tuple(sorted(numbers))


def adjusted_p_values(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p-values [n, n] from symmetric ones; NaN stays. All at most `level` may be claimed together."""
    count = len(p_values)
    adjusted = np.full_like(p_values, np.nan)
    rows, columns = np.triu_indices(count, 1)
    single = p_values[rows, columns]
    if np.isnan(single).any():
        return adjusted
    order = np.argsort(single, kind="stable")
    possible = np.array(possible_true(count))
    left = np.arange(len(single), 0, -1)
    factors = possible[np.searchsorted(possible, left, side="right") - 1]
    values = np.minimum(1.0, np.maximum.accumulate(factors * single[order]))
    adjusted[rows[order], columns[order]] = adjusted[columns[order], rows[order]] = values
    return adjusted
