"""Best-of-k time to target from all trials, instead of from the arbitrary deal of trials into studies.

A study's time is the smallest of k trials. Which run met which in a study is chance, so the law of that minimum is
estimated from every combination at once, in closed form.

Sources: Dodge et al., "Show your work: improved reporting of experimental results" (2019), with the unbiased form
(draws without replacement) of Tang et al., "Showing your work doesn't always work" (2020). Where the trials of a
study are k fixed configurations, run once per study, the minimum is over one run of each.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from scoring.logs import Trial
from scoring.statistics.bootstrap import stream


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All times of one submission and workload. `values` is [configurations, runs of each], inf for a miss.

    `fixed`: each row is one configuration. Otherwise there is one row, and the runs are interchangeable.
    """

    values: np.ndarray
    fixed: bool

    @property
    def most_draws(self) -> int:
        return len(self.values) if self.fixed else self.values.size


def group_runs(times_s: np.ndarray, configurations: Sequence[Sequence[str | None]]) -> Runs:
    """Orders times [S, T] by configuration, if every study ran the same T ones; else takes them as interchangeable.

    `configurations` [S][T] identifies the hyperparameters of each trial; None where unknown. A study's missing trials
    are misses, so it does not matter which of its configurations they stand for.
    """
    studies, trials = times_s.shape
    keys = sorted({key for study in configurations for key in study if key is not None})
    distinct = all(_all_different(k for k in study if k is not None) for study in configurations)
    gaps_are_misses = all(
        key is not None or np.isinf(times_s[s, t])
        for s, study in enumerate(configurations)
        for t, key in enumerate(study)
    )
    if trials == 1 or len(keys) != trials or not distinct or not gaps_are_misses:
        return Runs(values=np.sort(times_s, axis=None)[None, :], fixed=False)
    grouped = np.full((trials, studies), np.inf)
    for s, study in enumerate(configurations):
        for t, key in enumerate(study):
            if key is not None:
                grouped[keys.index(key), s] = times_s[s, t]
    return Runs(values=np.sort(grouped, axis=1), fixed=True)


def configuration_of(trial: Trial) -> str | None:
    hyperparameters = trial.hyperparameters
    return None if hyperparameters is None else json.dumps(hyperparameters, sort_keys=True)


def survival_of_best(runs: Runs, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct finite times [m], increasing, and the chance [m] that the best of k runs is still above each."""
    times = np.unique(runs.values[np.isfinite(runs.values)])
    above = (runs.values[None, :, :] > times[:, None, None]).sum(axis=-1)
    if not runs.fixed:
        total = math.comb(runs.values.size, k)
        return times, np.array([math.comb(int(a), k) / total for a in above[:, 0]])
    return times, _elementary_symmetric(above / runs.values.shape[1], k) / math.comb(len(runs.values), k)


def median_of_best(runs: Runs, k: int) -> float:
    """Smallest time by which the best of k runs is on target with a chance of one half; inf if never."""
    times, survival = survival_of_best(runs, k)
    reached = survival <= 0.5 + 1e-12
    return float(times[reached.argmax()]) if reached.any() else math.inf


def restricted_mean_of_best(runs: Runs, k: int, budget_s: float) -> float:
    """Mean time of the best of k runs, a miss counting as the budget."""
    times, survival = survival_of_best(runs, k)
    steps = np.diff(np.concatenate(([0.0], np.minimum(times, budget_s), [budget_s])))
    return float((steps * np.concatenate(([1.0], survival))).sum())


def tuning_curve(runs: Runs, budget_s: float) -> list[dict[str, float]]:
    """For each k: median and restricted mean time of the best of k runs (s), and its chance of reaching the target."""
    curve = []
    for k in range(1, runs.most_draws + 1):
        _, survival = survival_of_best(runs, k)
        curve.append(
            {
                "k": k,
                "median_s": median_of_best(runs, k),
                "restricted_mean_s": restricted_mean_of_best(runs, k, budget_s),
                "success": float(1 - survival[-1]) if len(survival) else 0.0,
            }
        )
    return curve


def resample_best(runs: Runs, k: int, *, seed: int, names: Sequence[str], replicates: int) -> np.ndarray:
    """Medians [r] of the best of k runs after drawing each configuration's runs (or all runs) with replacement.

    `k` is the number of configurations where they are fixed.
    """
    if runs.values.min() == runs.values.max():
        return np.full(replicates, runs.values.flat[0])
    random = stream(seed, *names, "best of k")
    rows, count = runs.values.shape
    picks = random.integers(count, size=(replicates, rows, count))
    flat = picks + count * np.arange(rows)[:, None] + runs.values.size * np.arange(replicates)[:, None, None]
    drawn = np.bincount(flat.ravel(), minlength=replicates * runs.values.size).reshape(replicates, -1)
    order = np.argsort(runs.values, axis=None, kind="stable")
    return _medians_of_best(runs, drawn[:, order], order, k)


def _medians_of_best(runs: Runs, drawn: np.ndarray, order: np.ndarray, k: int) -> np.ndarray:
    """`median_of_best` of every replicate; `drawn` [r, m] tells how often each of the m runs, by time, is in it.

    Among runs of equal time, the last tells the chance that the best is above; the others overstate it, which moves
    the median to no other time.
    """
    rows, count = runs.values.shape
    if runs.fixed:
        own = order // count == np.arange(rows)[:, None]
        above = 1 - np.cumsum(drawn[:, None, :] * own, axis=-1) / count
        survival = above.clip(0, 1).prod(axis=1)
    else:
        not_above = np.cumsum(drawn, axis=-1)
        chances = np.array([math.comb(count - a, k) for a in range(count + 1)]) / math.comb(count, k)
        survival = chances[not_above]
    reached = survival <= 0.5 + 1e-12
    return np.where(reached.any(axis=-1), runs.values.ravel()[order][reached.argmax(axis=-1)], np.inf)


def _elementary_symmetric(shares: np.ndarray, k: int) -> np.ndarray:
    """e_k of the last axis: the sum over all k-subsets of products. [m, T] gives [m]."""
    sums = np.zeros((k + 1, len(shares)))
    sums[0] = 1.0
    for column in shares.T:
        sums[1:] += column * sums[:-1]
    last: np.ndarray = sums[k]
    return last


def _all_different(values: Iterable[str]) -> bool:
    listed = list(values)
    return len(listed) == len(set(listed))
