"""Stratified bootstrap of times to target, and intervals for what is computed from them.

Each submission and workload is a stratum with its own random stream, keyed by their names and the seed. Hence the
resampled times of a submission do not depend on who else is on the board, nor on the order of anything.

Sources: Efron and Tibshirani, "An introduction to the bootstrap" (1993), chapters 6 and 13; Satterthwaite, "An
approximate distribution of estimates of variance components" (1946); stratified resampling of runs for benchmarks as
in Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice" (2021).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scoring.times import TimeTable, median_of_studies

LEVEL = 0.95
# Standard deviation of a median of S normal values over what resampling finds on average, and 3 % more.
_STANDARD_ERROR_FACTORS = {2: 1.45, 3: 0.95, 4: 0.96, 5: 0.89, 6: 0.93, 7: 0.90, 8: 0.93, 9: 0.91, 10: 0.94}
_BIAS_FACTOR = 4.0


def stream(seed: int, *names: str) -> np.random.Generator:
    """The random stream of a stratum: a function of the seed and the names alone."""
    digest = hashlib.sha256("\x00".join(names).encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32)])


def resample_studies(times: TimeTable, *, seed: int, replicates: int) -> np.ndarray:
    """Median study times [r, n, w] of `replicates` boards whose studies are drawn with replacement per stratum."""
    return resample_rungs((times,), seed=seed, replicates=replicates)[:, 0]


def resample_rungs(rungs: Sequence[TimeTable], *, seed: int, replicates: int) -> np.ndarray:
    """The same for k tables of one set of runs, [r, k, n, w]: a study that is drawn is drawn in all of them.

    Where the unit of times is uncertain, each drawn study has a log-normal error of its spread, the same in all tables.
    """
    ordered, spread = ordered_studies(rungs), _ordered_spread(rungs)
    count = ordered.shape[-1]
    draws = np.empty((replicates, *ordered.shape[:3]))
    for i, submission in enumerate(rungs[-1].submissions):
        for j, workload in enumerate(rungs[-1].workloads):
            values = ordered[:, i, j]
            is_certain = spread is None or not spread[i, j].any()
            if (values[:, :1] == values).all() and (is_certain or np.isinf(values).all()):
                draws[:, :, i, j] = values[:, 0]
                continue
            random = stream(seed, submission, workload)
            picks = random.integers(count, size=(replicates, count))
            drawn = values[:, picks]
            if spread is not None and not is_certain:
                drawn = drawn * np.exp(spread[i, j][picks] * random.standard_normal(picks.shape))
            draws[:, :, i, j] = np.moveaxis(median_of_studies(drawn), 0, 1)
    return draws


def ordered_studies(rungs: Sequence[TimeTable]) -> np.ndarray:
    """Study times [k, n, w, S] of k tables, studies in the order of the last table's times, ties by those before it."""
    study_s = np.stack([table.study_s for table in rungs])
    return np.take_along_axis(study_s, np.lexsort(tuple(study_s))[None], axis=-1)


def _ordered_spread(rungs: Sequence[TimeTable]) -> np.ndarray | None:
    """Spread of the unit [n, w, S] by the last table, in the order of `ordered_studies`; None where it is not known."""
    if rungs[-1].study_spread is None:
        return None
    order = np.lexsort(tuple(table.study_s for table in rungs))
    return np.take_along_axis(rungs[-1].study_spread, order, axis=-1)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard errors [...] of scores or of their differences, each with its degrees of freedom [...]."""

    standard_error: np.ndarray
    degrees_of_freedom: np.ndarray

    def reach(self, level: float) -> np.ndarray:
        """Half the width [...] of an interval of the given level, by Student's t."""
        from scipy.special import stdtrit

        half: np.ndarray = stdtrit(self.degrees_of_freedom, 0.5 + level / 2) * self.standard_error
        return half


def spread_of_mean(drawn_shares: np.ndarray, studies: int) -> Spread:
    """Spread of the mean over base workloads from resampled boards [r, ..., b], whose workloads are independent.

    Degrees of freedom by Satterthwaite (1946): many where workloads contribute alike, few where one dominates. Each
    workload counts for `studies` of them: its own spread has S - 1, and that of the fastest, over which it is divided,
    adds some.
    """
    variances = drawn_shares.var(axis=0) / drawn_shares.shape[-1] ** 2
    total, squares = variances.sum(axis=-1), (variances**2).sum(axis=-1)
    ratio = np.divide(total**2, squares, out=np.ones_like(total), where=squares > 0)
    return Spread(
        standard_error=_factor(studies) * np.sqrt(total),
        degrees_of_freedom=studies * ratio,
    )


def score_intervals(
    drawn_shares: np.ndarray, scores: np.ndarray, *, studies: int, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray]:
    """Limits [n] of confidence intervals of `scores` [n] from resampled boards `drawn_shares` [r, n, b].

    A score over its standard error on either side, times Student's t. A ratio to the fastest of several is biased,
    and the bootstrap finds only part of that bias where submissions are close: the interval is longer on its side.
    `benchmarks/scoring_coverage.py` measures the coverage, by which the constants were chosen. NaN from one study.
    """
    if studies < 2:
        return np.full(np.shape(scores), np.nan), np.full(np.shape(scores), np.nan)
    half = spread_of_mean(drawn_shares, studies).reach(level)
    bias = _BIAS_FACTOR * _factor(studies) * (drawn_shares.mean(axis=(0, -1)) - scores)
    low, high = scores - half - np.maximum(bias, 0), scores + half - np.minimum(bias, 0)
    return np.clip(low, 0.0, 1.0), np.clip(high, 0.0, 1.0)


def _factor(studies: int) -> float:
    return _STANDARD_ERROR_FACTORS.get(studies, 1.0)
