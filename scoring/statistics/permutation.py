"""Tests of every pair of submissions by permutation, valid with few studies and with misses.

If two submissions have the same distribution of study times on each workload, then any way of dealing their studies
between them, workload by workload, was as likely as the one observed: the share of deals whose statistic is at least
as extreme is an exact p-value, whatever the distribution. The statistic is the difference of the two scores on the
whole board over a standard error. Dividing makes the test sensitive when submissions differ from workload to workload,
and keeps it valid for larger numbers of studies where scores are equal though distributions are not.

Sources: Pitman, "Significance tests which may be applied to samples from any populations" (1937); Chung and Romano,
"Exact and asymptotically robust permutation tests" (2013) for the division by a standard error.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from scoring.board import workload_scores
from scoring.rules import Rules
from scoring.statistics.bootstrap import ordered_studies, stream
from scoring.statistics.rival_fronts import RivalFronts
from scoring.times import TimeTable, median_of_studies

MOST_DEALS = 9_999
_MOST_TABULATED = 256
_SMALLEST_VARIANCE = 1e-12  # where neither varies, the larger difference is the more extreme


def permutation_p_values(
    rungs: Sequence[TimeTable],
    rules: Rules,
    *,
    seed: int,
    most_deals: int = MOST_DEALS,
    chosen: np.ndarray | None = None,
) -> np.ndarray:
    """Two-sided p-values [n, n] of equal distributions, for each pair; NaN from a single study and on the diagonal.

    `rungs` are tables of one set of runs, at one target or several: a study is dealt with its times in all of them, and
    the statistic is that of the mean score. Pairs outside `chosen`, a mask [n, n], stay NaN.
    """
    times = rungs[-1]
    count, studies = len(times.submissions), times.study_s.shape[-1]
    p_values = np.full((count, count), np.nan)
    if studies < 2:
        return p_values
    ordered = ordered_studies(rungs)
    fronts = RivalFronts(np.stack([table.workload_s for table in rungs]), times.workloads, rules)
    for i, j in itertools.combinations(range(count), 2):
        if chosen is not None and not chosen[i, j]:
            continue
        names = sorted((times.submissions[i], times.submissions[j]))
        random = stream(seed, *names, "permutation")
        rivals = fronts.without(i, j)
        tables = _tables(ordered[:, i], ordered[:, j], rivals, times.workloads, rules, random)
        p_values[i, j] = p_values[j, i] = _p_value(*tables, random, most_deals)
    return p_values


def smallest_p_value(studies: int, workloads: int) -> float:
    """Smallest two-sided p-value that the test can give with `studies` of each submission on `workloads`."""
    return min(1.0, 2 / float(math.comb(2 * studies, studies)) ** workloads)


def _tables(
    first: np.ndarray,
    second: np.ndarray,
    rivals: np.ndarray,
    workloads: Sequence[str],
    rules: Rules,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Difference of the score and its variance, up to a factor, by deal and base workload: [k, b] each.

    `first`, `second` are study times [t, w, S], ordered; `rivals` [t, m, w] are the times of the others, at each of t
    targets. Row 0 is the observed deal. Study times within a workload and its held-out ones are dealt independently.
    """
    studies = first.shape[-1]
    pooled = np.concatenate((first, second), axis=-1)
    deals = _deals(studies, len(workloads), bool(rules.held_out), random)[:, None]
    dealt = np.take_along_axis(pooled[None], np.broadcast_to(deals, (len(deals), *pooled.shape)), axis=-1)
    a, b = np.sort(dealt[..., :studies], axis=-1), np.sort(dealt[..., studies:], axis=-1)
    spare = (studies - 1) // 4  # the middle half of the studies, as the median varies with them
    low, high = spare, studies - 1 - spare
    middle_a, middle_b = median_of_studies(a), median_of_studies(b)
    pairs = np.stack(
        [
            np.stack((middle_a, middle_b), axis=-2),
            np.stack((a[..., low], middle_b), axis=-2),
            np.stack((a[..., high], middle_b), axis=-2),
            np.stack((middle_a, b[..., low]), axis=-2),
            np.stack((middle_a, b[..., high]), axis=-2),
        ]
    )
    others = np.broadcast_to(rivals, (*pairs.shape[:2], *rivals.shape))
    shares = workload_scores(np.concatenate((pairs, others), axis=-2), workloads, rules).mean(axis=2)
    d = shares[..., 0, :] - shares[..., 1, :]
    return d[0], ((d[2] - d[1]) ** 2 + (d[4] - d[3]) ** 2) / 4


def _deals(studies: int, workloads: int, independent: bool, random: np.random.Generator) -> np.ndarray:
    """Orders of the pooled studies, [k, w or 1, 2 S], whose first S go to the first submission; row 0 is the observed.

    All deals, the same for every workload, where they are few and no workload depends on another; else a sample.
    """
    pooled = 2 * studies
    if not independent and math.comb(pooled, studies) <= _MOST_TABULATED:
        chosen = np.array(list(itertools.combinations(range(pooled), studies)))
        others = [[s for s in range(pooled) if s not in deal] for deal in chosen.tolist()]
        return np.concatenate((chosen, np.array(others)), axis=1)[:, None, :]
    sampled = random.permuted(np.tile(np.arange(pooled), (_MOST_TABULATED, workloads, 1)), axis=-1)
    sampled[0] = np.arange(pooled)
    return sampled


def _p_value(difference: np.ndarray, variance: np.ndarray, random: np.random.Generator, most_deals: int) -> float:
    """Share of deals that are as extreme as the first: of all of them where they are few, else of a sample."""
    count, blocks = difference.shape
    exhaustive = count**blocks <= most_deals
    if exhaustive:
        picks = np.indices((count,) * blocks).reshape(blocks, -1).T
    else:
        picks = random.integers(count, size=(most_deals, blocks))
    columns = np.arange(blocks)
    total, spread = difference[picks, columns].sum(axis=-1), variance[picks, columns].sum(axis=-1)
    statistic = np.abs(total) / np.sqrt(spread + _SMALLEST_VARIANCE)
    observed = abs(difference[0].sum()) / math.sqrt(variance[0].sum() + _SMALLEST_VARIANCE)
    extreme = int((statistic >= observed * (1 - 1e-9)).sum())
    return extreme / len(picks) if exhaustive else (1 + extreme) / (1 + len(picks))
