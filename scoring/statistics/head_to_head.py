"""Verdicts between two submissions that no third entrant can change.

On a board, a score depends on who else is there: the fastest sets the scale and the cutoff. Here each pair is scored
on a board of its own, with the same resampled times, so that a verdict is a function of the two logs alone.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from scoring.board import score_times
from scoring.rules import Rules
from scoring.statistics.bootstrap import LEVEL, interval, probability_of_beating
from scoring.statistics.power import studies_to_separate
from scoring.times import TimeTable


@dataclass(frozen=True, kw_only=True)
class PairwiseComparison:
    """Two submissions on a board of their own.

    Attributes:
      verdict: name of the better one, or None if the data do not resolve it.
      score_a, score_b: scores on the board of two; `low`, `high` bound score_a - score_b.
      p_a_beats_b: share of resampled boards on which a wins, ties counting half.
      wins_a, wins_b: workloads on which each was faster (or alone in reaching the target).
      time_ratio: geometric mean of time_a / time_b over workloads that both reached; NaN if there are none.
      studies_needed: studies per submission, in all, that would resolve the difference (inf: more than 1000).
    """

    a: str
    b: str
    verdict: str | None
    score_a: float
    score_b: float
    low: float
    high: float
    p_a_beats_b: float
    wins_a: int
    wins_b: int
    time_ratio: float
    studies_needed: float


def comparisons(times: TimeTable, draws: np.ndarray, rules: Rules, *, level: float = LEVEL) -> list[PairwiseComparison]:
    """Every pair once, in the order of names. `draws` [r, n, w] are resampled workload times (see `bootstrap`)."""
    pairs = itertools.combinations(range(len(times.submissions)), 2)
    return [_compare(times, draws, rules, i, j, level) for i, j in pairs]


def _compare(times: TimeTable, draws: np.ndarray, rules: Rules, i: int, j: int, level: float) -> PairwiseComparison:
    both = [i, j]
    studies, strata = times.study_s.shape[-1], len(rules.base_workloads)
    scores = score_times(times.workload_s[both], times.workloads, rules)
    drawn = score_times(draws[:, both], times.workloads, rules)
    difference = np.array(scores[0] - scores[1])
    drawn_difference = drawn[:, 0] - drawn[:, 1]
    limits = (-1.0, 1.0)
    low, high = interval(drawn_difference, difference, studies=studies, strata=strata, level=level, bounds=limits)
    base = [times.workloads.index(w) for w in rules.base_workloads]
    a, b = times.workload_s[i, base], times.workload_s[j, base]
    common = np.isfinite(a) & np.isfinite(b)
    verdict = times.submissions[i] if low > 0 else times.submissions[j] if high < 0 else None
    return PairwiseComparison(
        a=times.submissions[i],
        b=times.submissions[j],
        verdict=verdict,
        score_a=float(scores[0]),
        score_b=float(scores[1]),
        low=float(low),
        high=float(high),
        p_a_beats_b=float(probability_of_beating(drawn)[0, 1]),
        wins_a=int((a < b).sum()),
        wins_b=int((b < a).sum()),
        time_ratio=float(np.exp(np.log(a[common] / b[common]).mean())) if common.any() else float("nan"),
        studies_needed=studies_to_separate(float(difference), float(drawn_difference.std()), studies, level=level),
    )
