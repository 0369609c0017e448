"""Which differences on a board are resolved: separation of pairs, intervals of ranks, and tie groups.

Source of the rank intervals: Mogstad, Romano, Shaikh and Wilhelm, "Inference for ranks with applications to mobility
across neighbourhoods and academic achievement across countries" (Review of Economic Studies, 2024): invert intervals
for the pairwise differences. They stay valid under ties, where resampled ranks do not. The pairs of one submission
share the error rate by Bonferroni's inequality.
"""

from dataclasses import dataclass

import numpy as np

from scoring.statistics.bootstrap import LEVEL, expanded_quantile, interval


@dataclass(frozen=True, kw_only=True)
class Separation:
    """Pairwise differences of scores, row minus column, [n, n] each; `low` and `high` bound each difference."""

    difference: np.ndarray
    low: np.ndarray
    high: np.ndarray
    standard_error: np.ndarray

    @property
    def better(self) -> np.ndarray:
        """[n, n], whether the row is better than the column beyond doubt."""
        return self.low > 0


def separate(draws: np.ndarray, scores: np.ndarray, *, studies: int, strata: int, level: float = LEVEL) -> Separation:
    """Intervals of all differences of `scores` [n] from bootstrap boards `draws` [r, n], each of the given level."""
    difference = scores[:, None] - scores[None, :]
    drawn = draws[:, :, None] - draws[:, None, :]
    standard_error = drawn.std(axis=0)
    low, high = interval(drawn, difference, studies=studies, strata=strata, level=level)
    if studies > 1:
        reach = expanded_quantile(level, studies, strata) * standard_error
        low, high = np.minimum(low, difference - reach).clip(-1, 1), np.maximum(high, difference + reach).clip(-1, 1)
    return Separation(difference=difference, low=low, high=high, standard_error=standard_error)


def rank_intervals(
    draws: np.ndarray, scores: np.ndarray, *, studies: int, strata: int, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Best and worst rank [n] that the data allow each submission, at `level` for each submission."""
    count = len(scores)
    shared = 1 - (1 - level) / max(1, count - 1)
    better = separate(draws, scores, studies=studies, strata=strata, level=shared).better
    return 1 + better.sum(axis=0), count - better.sum(axis=1)


def tie_groups(order: list[int], better: np.ndarray) -> list[int]:
    """Group number [n] of each submission: who is not resolved from the best of the group above belongs to it.

    `order` lists positions from best to worst; `better` [n, n] is `Separation.better`.
    """
    groups = [0] * len(order)
    leader, group = None, 0
    for position in order:
        if leader is None or better[leader, position]:
            leader, group = position, group + 1
        groups[position] = group
    return groups
