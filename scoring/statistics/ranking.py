"""Which differences on a board are resolved. Verdicts, ranks and tie groups are all read off this one comparison.

A pair has one p-value, the larger of two: of the permutation test, which is exact where both have the same
distribution of times, and of Student's t over the bootstrap's standard error, which holds where the scores are equal
though one submission is the noisier. The p-values of all pairs are then adjusted together, so that the chance of any
false claim on a board is at most 1 - LEVEL.

Source of the sets of ranks: Mogstad, Romano, Shaikh and Wilhelm, "Inference for ranks with applications to mobility
across neighbourhoods and academic achievement across countries" (Review of Economic Studies, 2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scoring.board import workload_scores
from scoring.rules import Rules
from scoring.statistics.bootstrap import LEVEL, Spread, spread_of_mean
from scoring.statistics.multiplicity import adjusted_p_values
from scoring.statistics.permutation import MOST_DEALS, permutation_p_values
from scoring.times import TimeTable

_MOST_FULLY_PERMUTED = 20  # entrants; the number of pairs grows with the square


@dataclass(frozen=True, kw_only=True)
class Separation:
    """The comparison of all pairs, [n, n] each, row against column.

    Attributes:
      difference: of scores on the whole board, row minus column.
      p_value, p_adjusted: of a pair alone, and together with all others; NaN from one study. On boards of more
        than 20, pairs that Student's t does not resolve have its p-values.
      better: whether the row is better than the column beyond doubt.
      standard_error, degrees_of_freedom: of the difference.
    """

    difference: np.ndarray
    p_value: np.ndarray
    p_adjusted: np.ndarray
    better: np.ndarray
    standard_error: np.ndarray
    degrees_of_freedom: np.ndarray


def separate(
    times: TimeTable,
    drawn_shares: np.ndarray,
    rules: Rules,
    *,
    seed: int,
    level: float = LEVEL,
    most_deals: int = MOST_DEALS,
) -> Separation:
    """Compares all pairs of a board; `drawn_shares` [r, n, b] are what workloads add to scores on resampled boards."""
    return separate_rungs((times,), drawn_shares, rules, seed=seed, level=level, most_deals=most_deals)


def separate_rungs(
    rungs: Sequence[TimeTable],
    drawn_shares: np.ndarray,
    rules: Rules,
    *,
    seed: int,
    level: float = LEVEL,
    most_deals: int = MOST_DEALS,
) -> Separation:
    """The same for the mean score over tables of one set of runs, each at a target of its own."""
    times = rungs[-1]
    workload_s = np.stack([table.workload_s for table in rungs])
    scores = workload_scores(workload_s, times.workloads, rules).mean(axis=0).mean(axis=-1)
    difference = np.round(scores[:, None] - scores[None, :], 12)
    spread = _spread_of_differences(drawn_shares, times.study_s.shape[-1])
    p_value = _t_test(difference, spread)
    if times.study_s.shape[-1] < 2:
        p_value = np.full_like(p_value, np.nan)
    np.fill_diagonal(p_value, np.nan)
    chosen = None
    if len(p_value) > _MOST_FULLY_PERMUTED:
        # Larger p-values only take claims away: a pair that Student's t does not resolve needs no permutations.
        chosen = adjusted_p_values(p_value) <= 1 - level
    permuted = permutation_p_values(rungs, rules, seed=seed, most_deals=most_deals, chosen=chosen)
    p_value = np.fmax(p_value, permuted)
    p_adjusted = adjusted_p_values(p_value)
    return Separation(
        difference=difference,
        p_value=p_value,
        p_adjusted=p_adjusted,
        better=(difference > 0) & (p_adjusted <= 1 - level),
        standard_error=spread.standard_error,
        degrees_of_freedom=spread.degrees_of_freedom,
    )


def _spread_of_differences(drawn_shares: np.ndarray, studies: int) -> Spread:
    rows = [spread_of_mean(drawn_shares[:, i, None] - drawn_shares, studies) for i in range(drawn_shares.shape[1])]
    return Spread(
        standard_error=np.stack([row.standard_error for row in rows]),
        degrees_of_freedom=np.stack([row.degrees_of_freedom for row in rows]),
    )


def _t_test(difference: np.ndarray, spread: Spread) -> np.ndarray:
    """Two-sided p-values [n, n]; without any spread, only equal scores are compatible with equality."""
    from scipy.special import stdtr

    exact = np.where(difference == 0, 0.0, np.inf)
    error = spread.standard_error
    statistic = np.divide(np.abs(difference), error, out=exact, where=error > 0)
    p_values: np.ndarray = 2 * stdtr(spread.degrees_of_freedom, -statistic)
    return p_values


def rank_sets(better: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best and worst rank [n] that `Separation.better` leaves to each; all sets hold together."""
    return 1 + better.sum(axis=0), len(better) - better.sum(axis=1)


def tie_groups(order: list[int], better: np.ndarray) -> list[int]:
    """Group number [n] of each submission; `order` lists positions from best to worst.

    A new group starts where everybody above is resolved from everybody below: members of different groups are always
    resolved, and a group is not split where any pair across the cut is not.
    """
    groups = [0] * len(order)
    group = 1
    for number_above, position in enumerate(order):
        if number_above and better[np.ix_(order[:number_above], order[number_above:])].all():
            group += 1
        groups[position] = group
    return groups
