"""From times to performance ratios: who still counts on which workload."""

from collections.abc import Mapping, Sequence

import numpy as np


def qualified_times(
    times_s: np.ndarray,
    workloads: Sequence[str],
    base_workloads: Sequence[str],
    base_of: Mapping[str, str],
    cutoff_factor: float,
    *,
    reference_s: np.ndarray | None = None,
) -> np.ndarray:
    """Times of the base workloads that count; the others become inf.

    `times_s` [..., n, w] holds times of n submissions on `workloads`, inf (or NaN) for a miss; `base_of` maps the
    extra workloads among them to the base workload they guard. In this order: an extra time needs its base time; a
    time above `cutoff_factor` times the fastest is a miss; a base time needs the times of its extra workloads.
    `reference_s` [w] stands in for the fastest times where these are fixed; inf: nobody has a time to be measured by.
    Returns [..., n, len(base_workloads)]. Source: AlgoPerf's benchmark rules, v0.5, and its scorer's order of steps.
    """
    times = np.where(np.isnan(times_s), np.inf, times_s)
    column = {name: i for i, name in enumerate(workloads)}
    held_out = [(column[extra], column[base]) for extra, base in base_of.items() if extra in column and base in column]
    for extra, base in held_out:
        times[..., extra] = np.where(np.isfinite(times[..., base]), times[..., extra], np.inf)
    fastest = times.min(axis=-2, keepdims=True) if reference_s is None else reference_s
    times = np.where(times > cutoff_factor * fastest, np.inf, times)
    for extra, base in held_out:
        times[..., base] = np.where(np.isfinite(times[..., extra]), times[..., base], np.inf)
    return times[..., [column[name] for name in base_workloads]]


def performance_ratios(times_s: np.ndarray) -> np.ndarray:
    """Times over the fastest submission's, [..., n, w]; inf for a miss, and where nobody has a time."""
    fastest = times_s.min(axis=-2, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = times_s / fastest
    return np.where(np.isfinite(times_s), np.where(np.isnan(ratios), 1.0, ratios), np.inf)
