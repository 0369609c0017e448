"""How many more studies would separate two submissions, and what a number of studies can show at all.

Source: the usual sample-size formula for a difference of means (for example Cohen, "Statistical power analysis for the
behavioral sciences", 1988, chapter 2), with the bootstrap's standard error, which shrinks as one over the root of the
number of studies.
"""

import math
from statistics import NormalDist

POWER = 0.8
MOST_STUDIES = 1000


def studies_to_separate(
    difference: float, standard_error: float, studies: int, *, level: float = 0.95, power: float = POWER
) -> float:
    """Studies per submission, in all, after which `difference` is resolved with the given power.

    `standard_error` is that of the difference with `studies` studies. inf beyond MOST_STUDIES, NaN from one study.
    """
    if studies < 2:
        return math.nan
    if difference == 0:
        return math.inf
    normal = NormalDist()
    reach = normal.inv_cdf(0.5 + level / 2) + normal.inv_cdf(power)
    needed = math.ceil(studies * (reach * standard_error / abs(difference)) ** 2)
    return float(max(studies, needed)) if needed <= MOST_STUDIES else math.inf


def smallest_p_value(studies: int) -> float:
    """Smallest two-sided p-value of an exact comparison of two submissions on one workload (rank-sum test).

    With S studies each, the most extreme split is one of C(2S, S) equally likely ones, in two directions.
    """
    return min(1.0, 2 / math.comb(2 * studies, studies))


def undetected_failure_rate(studies: int, *, level: float = 0.95) -> float:
    """Largest failure rate that is still compatible with `studies` successes in a row (exact one-sided bound)."""
    rate: float = 1 - (1 - level) ** (1 / studies)
    return rate


def what_studies_can_show(studies: int, workloads: int) -> list[str]:
    """Plain statements about the resolving power of a board."""
    smallest = smallest_p_value(studies)
    one = (
        f"On one workload, two submissions with {studies} {_plural(studies, 'study', 'studies')} each cannot be told "
        f"apart at the 5 % level by an exact test, whatever the times: its smallest p-value is {smallest:.3g}."
        if smallest > 0.05
        else f"On one workload, an exact test of two submissions with {studies} studies each can reach p = "
        f"{smallest:.2g} at best, and only if every study of one is faster than every study of the other."
    )
    together = (
        f"Over {workloads} workloads together a consistent difference shows: winning all of them has p = "
        f"{2 * 0.5**workloads:.2g} by a sign test; winning {max(0, workloads - 1)} has p = "
        f"{min(1.0, 2 * (workloads + 1) * 0.5**workloads):.2g}."
    )
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
    return [one, together, failures, spread, scope]


def _plural(count: int, one: str, many: str) -> str:
    return one if count == 1 else many
