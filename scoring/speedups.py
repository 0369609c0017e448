"""Speedups over a reference: how many times faster, as a geometric mean over workloads.

The speedup on a workload is time of the reference over time of the submission. A miss has no time, only a lower
bound, the budget; the mean is therefore given twice, and it is declared how many ratios are bounds.
"""

from dataclasses import dataclass

import numpy as np

from scoring.board import Board


@dataclass(frozen=True, kw_only=True)
class Speedup:
    """Of one submission over the reference; above 1 is faster.

    Attributes:
      ratios: by base workload, with the budget in place of a miss.
      kinds: by base workload: `exact`, `at_most` (the submission missed), `at_least` (the reference missed) or
        `unknown` (both missed; the ratio is then 1).
      with_budgets: geometric mean of all ratios.
      on_common: geometric mean of the exact ones alone; NaN if there are none.
      saved: 1 - 1 / with_budgets, the share of time saved.
    """

    submission: str
    reference: str
    ratios: dict[str, float]
    kinds: dict[str, str]
    with_budgets: float
    on_common: float
    saved: float


def speedups(board: Board, reference: str) -> list[Speedup]:
    """Of every other submission over `reference`. Raises ValueError when the reference is not on the board."""
    if reference not in board.submissions:
        raise ValueError(f"reference {reference!r} is not on the board; choose from {', '.join(board.submissions)}")
    base = [board.times.workloads.index(w) for w in board.rules.base_workloads]
    budgets = board.budgets_s[base]
    times = np.nan_to_num(board.times.workload_s[:, base], nan=np.inf, posinf=np.inf)
    reference_s = times[board.submissions.index(reference)]
    return [
        _speedup(name, reference, board.rules.base_workloads, times[i], reference_s, budgets)
        for i, name in enumerate(board.submissions)
        if name != reference
    ]


def _speedup(
    name: str,
    reference: str,
    workloads: tuple[str, ...],
    times_s: np.ndarray,
    reference_s: np.ndarray,
    budgets_s: np.ndarray,
) -> Speedup:
    hit, reference_hit = np.isfinite(times_s), np.isfinite(reference_s)
    ratios = np.where(reference_hit, reference_s, budgets_s) / np.where(hit, times_s, budgets_s)
    kinds = np.select([hit & reference_hit, hit, reference_hit], ["exact", "at_least", "at_most"], "unknown")
    mean = float(np.exp(np.log(ratios).mean()))
    exact = ratios[kinds == "exact"]
    return Speedup(
        submission=name,
        reference=reference,
        ratios=dict(zip(workloads, map(float, ratios), strict=True)),
        kinds=dict(zip(workloads, map(str, kinds), strict=True)),
        with_budgets=mean,
        on_common=float(np.exp(np.log(exact).mean())) if len(exact) else float("nan"),
        saved=1 - 1 / mean,
    )
