"""Stratified bootstrap of times to target, and intervals for what is computed from them.

Each submission and workload is a stratum with its own random stream, keyed by their names and the seed. Hence the
resampled times of a submission do not depend on who else is on the board, nor on the order of anything.

Sources: Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapters 8 and 13; the expansion for small
samples is that of Hesterberg, "What teachers should know about the bootstrap" (2015), section 4.1; stratified
resampling of runs for benchmarks as in Agarwal et al., "Deep reinforcement learning at the edge of the statistical
precipice" (2021).
"""

import hashlib
from statistics import NormalDist

import numpy as np

from scoring.times import TimeTable, median_of_studies

LEVEL = 0.95


def stream(seed: int, *names: str) -> np.random.Generator:
    """The random stream of a stratum: a function of the seed and the names alone."""
    digest = hashlib.sha256("\x00".join(names).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32)])


def resample_studies(times: TimeTable, *, seed: int, replicates: int) -> np.ndarray:
    """Median study times [r, n, w] of `replicates` boards whose studies are drawn with replacement per stratum."""
    ordered = np.sort(times.study_s, axis=-1)
    count = ordered.shape[-1]
    draws = np.empty((replicates, *ordered.shape[:2]))
    for i, submission in enumerate(times.submissions):
        for j, workload in enumerate(times.workloads):
            values = ordered[i, j]
            if values[0] == values[-1]:
                draws[:, i, j] = values[0]
                continue
            picks = stream(seed, submission, workload).integers(count, size=(replicates, count))
            draws[:, i, j] = median_of_studies(values[picks])
    return draws


def interval(
    draws: np.ndarray,
    estimate: np.ndarray,
    *,
    studies: int,
    strata: int,
    level: float = LEVEL,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> tuple[np.ndarray, np.ndarray]:
    """Limits [...] of a confidence interval from bootstrap `draws` [r, ...] of `estimate` [...].

    The union of two intervals. The percentile interval is right where misses make the draws lumpy. The basic interval
    (its reflection at the estimate) is right where the draws are biased, as ratios to the fastest of several are; it is
    expanded for small samples by sqrt(S / (S - 1)) and Student's t with one degree of freedom for every spare study of
    `strata` strata, and moved once more by the bias of the draws, because among near ties the bootstrap finds only part
    of the bias. `benchmarks/scoring_coverage.py` measures the coverage, which guided these choices.
    NaN from a single study, which says nothing about spread.
    """
    if studies < 2:
        return np.full(np.shape(estimate), np.nan), np.full(np.shape(estimate), np.nan)
    tail = (1 - level) / 2
    expanded_tail = NormalDist().cdf(-expanded_quantile(level, studies, strata))
    quantiles = np.quantile(draws, [expanded_tail, tail, 1 - tail, 1 - expanded_tail], axis=0)
    bias = draws.mean(axis=0) - estimate
    low = np.minimum(quantiles[1], 2 * estimate - quantiles[3] - np.maximum(bias, 0))
    high = np.maximum(quantiles[2], 2 * estimate - quantiles[0] - np.minimum(bias, 0))
    return np.clip(np.minimum(low, estimate), *bounds), np.clip(np.maximum(high, estimate), *bounds)


def expanded_quantile(level: float, studies: int, strata: int) -> float:
    """Standard errors on either side of an estimate for `level`, after the expansion for small samples."""
    from scipy.special import stdtrit

    return float(np.sqrt(studies / (studies - 1)) * stdtrit(strata * (studies - 1), 0.5 + level / 2))


def probability_of_beating(draws: np.ndarray) -> np.ndarray:
    """[n, n] share of the boards `draws` [r, n] on which the row's score exceeds the column's; ties count half."""
    rows, columns = draws[:, :, None], draws[:, None, :]
    shares: np.ndarray = ((rows > columns).mean(axis=0) + (rows >= columns).mean(axis=0)) / 2
    return shares
