"""Every pair of a board with its verdict and what stands behind it."""

import itertools
from dataclasses import dataclass

import numpy as np

from scoring.rules import Rules
from scoring.statistics.power import studies_to_resolve
from scoring.statistics.ranking import Separation
from scoring.times import TimeTable


@dataclass(frozen=True, kw_only=True)
class PairwiseComparison:
    """Two submissions of a board.

    Attributes:
      verdict: name of the better one, or None if the data do not resolve it.
      difference: score of a minus score of b.
      p_adjusted: of equality, adjusted for all pairs of the board; the verdict is this at 5 %. NaN from one study.
      wins_a, wins_b: workloads on which each was faster (or alone in reaching the target).
      time_ratio: geometric mean of time_a / time_b over workloads that both reached; NaN if there are none.
      studies_needed_low, studies_needed_high: studies per submission, in all, that would resolve the pair: 10 % and
        90 % limits (inf: more than 1000). Both are the present number where it is resolved.
    """

    a: str
    b: str
    verdict: str | None
    difference: float
    p_adjusted: float
    wins_a: int
    wins_b: int
    time_ratio: float
    studies_needed_low: float
    studies_needed_high: float


def comparisons(times: TimeTable, separation: Separation, rules: Rules) -> list[PairwiseComparison]:
    """Every pair once, in the order of names."""
    pairs = itertools.combinations(range(len(times.submissions)), 2)
    return [_compare(times, separation, rules, i, j) for i, j in pairs]


def _compare(times: TimeTable, separation: Separation, rules: Rules, i: int, j: int) -> PairwiseComparison:
    base = [times.workloads.index(w) for w in rules.base_workloads]
    a, b = times.workload_s[i, base], times.workload_s[j, base]
    common = np.isfinite(a) & np.isfinite(b)
    better = separation.better
    verdict = times.submissions[i] if better[i, j] else times.submissions[j] if better[j, i] else None
    studies = times.study_s.shape[-1]
    needed = (float(studies), float(studies))
    if verdict is None:
        needed = studies_to_resolve(
            float(separation.difference[i, j]),
            float(separation.standard_error[i, j]),
            float(separation.degrees_of_freedom[i, j]),
            studies=studies,
            workloads=len(base),
            entrants=len(times.submissions),
        )
    return PairwiseComparison(
        a=times.submissions[i],
        b=times.submissions[j],
        verdict=verdict,
        difference=float(separation.difference[i, j]),
        p_adjusted=float(separation.p_adjusted[i, j]),
        wins_a=int((a < b).sum()),
        wins_b=int((b < a).sum()),
        time_ratio=float(np.exp(np.log(a[common] / b[common]).mean())) if common.any() else float("nan"),
        studies_needed_low=needed[0],
        studies_needed_high=needed[1],
    )
