"""Times to target with their misses handled as censored: how long runs take, and how often they succeed.

Sources: Kaplan and Meier, "Nonparametric estimation from incomplete observations" (1958); restricted mean survival time
as in Royston and Parmar (2013), its variance by Greenwood's formula (Klein and Moeschberger, "Survival analysis", 2003,
section 4.5); Wilson, "Probable inference" (1927). Both are a few lines of NumPy: loading scipy.stats takes longer than
scoring a board.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_Z = 1.959963984540054  # the 0.975 quantile of the standard normal distribution


@dataclass(frozen=True, kw_only=True)
class TimeToTargetDistribution:
    """Of the trials of one submission on one workload.

    Attributes:
      trials, reached: numbers of trials prescribed and of those on target; missing logs count as not reached.
      without_log: trials that are in `trials` but tell no time.
      success_low, success_high: 95 % Wilson interval of the success rate.
      restricted_mean_s, standard_error_s: mean time to target within the budget, a miss lasting the whole budget.
      times_s, survival: steps of the Kaplan-Meier curve.
    """

    trials: int
    reached: int
    without_log: int
    success_low: float
    success_high: float
    restricted_mean_s: float
    standard_error_s: float
    times_s: tuple[float, ...]
    survival: tuple[float, ...]


def survival_curve(
    reached_s: Sequence[float], censored_s: Sequence[float], *, without_log: int, budget_s: float
) -> TimeToTargetDistribution:
    """The law of times to target from times reached and times of censoring (s).

    Trials without a log enter the success rate as failures, and the curve as runs that never reach the target.
    """
    trials = len(reached_s) + len(censored_s) + without_log
    censored = [min(t, budget_s) for t in censored_s] + [budget_s] * without_log
    low, high = _wilson_interval(len(reached_s), max(trials, 1))
    mean_s, error_s, times, survival = budget_s, 0.0, np.empty(0), np.empty(0)
    if reached_s:
        times, at_risk, survival = _kaplan_meier(np.array(reached_s), np.array(censored))
        mean_s, error_s = _restricted_mean(times, survival, at_risk, budget_s)
    return TimeToTargetDistribution(
        trials=trials,
        reached=len(reached_s),
        without_log=without_log,
        success_low=low,
        success_high=high,
        restricted_mean_s=mean_s,
        standard_error_s=error_s,
        times_s=tuple(float(t) for t in times),
        survival=tuple(float(s) for s in survival),
    )


def _wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """95 % limits of a success rate."""
    share = successes / trials
    scale = 2 * (trials + _Z**2)
    center = (2 * trials * share + _Z**2) / scale
    width = _Z / scale * math.sqrt(4 * trials * share * (1 - share) + _Z**2)
    return (0.0 if successes == 0 else center - width), (1.0 if successes == trials else center + width)


def _kaplan_meier(reached_s: np.ndarray, censored_s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct times, how many runs were at risk at each, and the share that survives it."""
    everything = np.concatenate((reached_s, censored_s))
    times = np.unique(everything)
    at_risk = (everything[None, :] >= times[:, None]).sum(axis=1)
    events = (reached_s[None, :] == times[:, None]).sum(axis=1)
    if not len(censored_s):  # the empirical distribution, exact where the product is not
        return times, at_risk, 1 - np.cumsum(events) / len(reached_s)
    return times, at_risk, np.cumprod((at_risk - events) / at_risk)


def _restricted_mean(
    times_s: np.ndarray, survival: np.ndarray, at_risk: np.ndarray, budget_s: float
) -> tuple[float, float]:
    """Area under the survival curve up to the budget, and its standard error (Greenwood)."""
    edges = np.concatenate(([0.0], np.minimum(times_s, budget_s), [budget_s]))
    areas = np.diff(edges) * np.concatenate(([1.0], survival))
    remaining = areas[::-1].cumsum()[::-1][1:]  # area to the right of each time
    before = np.concatenate(([1.0], survival[:-1]))
    events = np.round(at_risk * (1 - np.divide(survival, before, out=np.zeros_like(survival), where=before > 0)))
    spare = at_risk * (at_risk - events)
    terms = np.divide(remaining**2 * events, spare, out=np.zeros_like(remaining), where=spare > 0)
    return float(areas.sum()), float(np.sqrt(terms.sum()))
