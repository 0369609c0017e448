"""How many studies would resolve two submissions, and what a number of studies can show at all.

Source: the usual sample-size formula for a difference of means (for example Cohen, "Statistical power analysis for the
behavioral sciences", 1988, chapter 2), with a standard error that shrinks as one over the root of the number of
studies. The difference in standard errors that is put into it is not known either; its limits are those of a
noncentral t, by the normal approximation of Johnson and Welch (1940).
"""

import math
from statistics import NormalDist

import numpy as np

from scoring.statistics.permutation import smallest_p_value

POWER = 0.8
MOST_STUDIES = 1000


def studies_to_resolve(
    difference: float,
    standard_error: float,
    degrees_of_freedom: float,
    *,
    studies: int,
    workloads: int,
    entrants: int,
    level: float = 0.95,
    power: float = POWER,
) -> tuple[float, float]:
    """10 % and 90 % limits of the studies per submission, in all, that resolve a pair with the given power.

    `difference`, its `standard_error` and `degrees_of_freedom` are those of `studies` studies. The more other pairs are
    resolved, the milder is the adjustment: the lower limit takes the pair last, the upper one first among all pairs of
    the `entrants`. More than `studies` always; inf beyond MOST_STUDIES; NaN from one study.
    """
    if studies < 2:
        return math.nan, math.nan
    if standard_error == 0 and difference == 0:
        return math.inf, math.inf
    observed = abs(difference) / standard_error if standard_error else math.inf
    margin = NormalDist().inv_cdf(0.9) * math.sqrt(1 + observed**2 / (2 * degrees_of_freedom))
    degrees = degrees_of_freedom / studies
    pairs = max(1, entrants * (entrants - 1) // 2)
    alone, among_all = (_reaches(degrees, studies, workloads, (1 - level) / share, power) for share in (1, pairs))
    return _studies_for(observed + margin, alone, studies), _studies_for(observed - margin, among_all, studies)


def _reaches(degrees_per_study: float, studies: int, workloads: int, tail: float, power: float) -> np.ndarray:
    """Differences, in standard errors of `studies` studies, that studies + 1, ..., MOST_STUDIES resolve; inf: none."""
    from scipy.special import stdtrit

    numbers = np.arange(studies + 1, MOST_STUDIES + 1)
    reach = stdtrit(degrees_per_study * numbers, 1 - tail / 2) + NormalDist().inv_cdf(power)
    possible = np.array([n > 20 or smallest_p_value(int(n), workloads) <= tail for n in numbers])
    return np.where(possible, reach * np.sqrt(studies / numbers), np.inf)


def _studies_for(detectable: float, needed: np.ndarray, studies: int) -> float:
    enough = needed <= detectable
    return float(studies + 1 + enough.argmax()) if enough.any() else math.inf


def undetected_failure_rate(studies: int, *, level: float = 0.95) -> float:
    """Largest failure rate that is still compatible with `studies` successes in a row (exact one-sided bound)."""
    rate: float = 1 - (1 - level) ** (1 / studies)
    return rate


def what_studies_can_show(studies: int, workloads: int, entrants: int) -> list[str]:
    """Plain statements about the resolving power of a board."""
    failures = (
        f"{studies} of {studies} studies on target still allow a true failure rate of up to "
        f"{100 * undetected_failure_rate(studies):.0f} % (95 % bound): reliability cannot be read off this board."
    )
    spread = (
        "One study says nothing about spread, so no interval is given."
        if studies < 2
        else f"The spread between studies is estimated from {studies} values per workload; intervals pool the "
        "workloads and are widened for that, but a rare very slow run that did not occur is not in them."
    )
    scope = "Everything is conditional on these workloads, this hardware and these entrants: scores are relative."
    return [*_verdicts_possible(studies, workloads, entrants), failures, spread, scope]


def _verdicts_possible(studies: int, workloads: int, entrants: int) -> list[str]:
    """What the comparison of pairs, whose error rate is shared by all of them, can say at best."""
    pairs = entrants * (entrants - 1) // 2
    if not pairs:
        return []
    if studies < 2:
        return ["No pair is compared: that takes two studies of each submission."]
    on_one = smallest_p_value(studies, 1)
    one = (
        f"On one workload alone, the smallest p-value that a comparison of two submissions with {studies} studies each "
        f"can give is {on_one:.2g}" + (": too large for any claim." if on_one > 0.05 else ".")
    )
    smallest = min(1.0, pairs * smallest_p_value(studies, workloads))
    count = f"{pairs} {_plural(pairs, 'pair', 'pairs')}"
    if smallest > 0.05:
        return [
            one,
            f"With {workloads} workloads, {studies} studies and {count}, the smallest adjusted p-value is "
            f"{smallest:.2g}: this board cannot distinguish anybody, whatever the times.",
        ]
    return [
        one,
        f"Claims about {count} come from all {workloads} workloads together. Where all are equal, the chance of any "
        "claim on a board is at most 5 %.",
    ]


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
