"""Why a time is what it is: steps times step time, share of evaluation, stability, passages, outcomes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.records.best import where_reached
from scoring.board import Board
from scoring.logs import LogStatus, LogTree, Trial
from scoring.outcomes import ending
from scoring.rules import WorkloadRule
from scoring.times import first_reached


@dataclass(frozen=True, kw_only=True)
class WorkloadDiagnostics:
    """Of one submission on one workload; medians over its trials, NaN where the logs do not tell.

    Attributes:
      steps_to_target: global steps when the target was first reached, of trials that reached it. Submissions that hide
        several optimizer steps in one call count calls.
      step_s: seconds of submission time per step, start-up (up to the first evaluation) left out.
      step_s_spread: median absolute deviation of the step time between evaluations, over its median.
      evaluation_share: share of wall time spent in evaluation.
      logging_share: the same for logging and checkpoints.
      startup_s: submission time at the first evaluation (compilation, mostly).
      sustained: trials on target that stayed there until their log ends; `first_only`: those that fell back.
      rank_by_time, rank_by_steps: among submissions with a finite value, from 1; NaN otherwise.
      outcomes: how many trials ended how.
    """

    submission: str
    workload: str
    steps_to_target: float
    step_s: float
    step_s_spread: float
    evaluation_share: float
    logging_share: float
    startup_s: float
    sustained: int
    first_only: int
    rank_by_time: float
    rank_by_steps: float
    outcomes: dict[str, int]
    recorded_outcomes: int


def diagnose(tree: LogTree, board: Board) -> list[WorkloadDiagnostics]:
    """One entry for each submission and scored workload, in the board's order."""
    grouped: dict[tuple[str, str], list[Trial]] = {}
    for trial in tree.trials:
        grouped.setdefault((trial.submission, trial.workload), []).append(trial)
    shape = (len(board.submissions), len(board.times.workloads))
    steps = np.full(shape, np.nan)
    for i, submission in enumerate(board.submissions):
        for j, workload in enumerate(board.times.workloads):
            steps[i, j] = _steps_to_target(grouped.get((submission, workload), []), board.rules.workloads[workload])
    by_time = _ranks(board.times.workload_s)
    by_steps = _ranks(np.where(np.isfinite(board.times.workload_s), steps, np.nan))
    return [
        _diagnose(board, j, grouped.get((s, w), []), s, w, steps[i, j], by_time[i, j], by_steps[i, j])
        for i, s in enumerate(board.submissions)
        for j, w in enumerate(board.times.workloads)
    ]


def _diagnose(
    board: Board,
    column: int,
    trials: Sequence[Trial],
    submission: str,
    workload: str,
    steps: float,
    rank_by_time: float,
    rank_by_steps: float,
) -> WorkloadDiagnostics:
    rule = board.rules.workloads[workload]
    read = [t for t in trials if t.status is LogStatus.READ]
    endings = [ending(t, rule, float(board.budgets_s[column])) for t in trials]
    lasting = [_sustained(t, rule) for t in read]
    rates = [step_times(t) for t in read]
    return WorkloadDiagnostics(
        submission=submission,
        workload=workload,
        steps_to_target=steps,
        step_s=_median([np.median(r) for r in rates if len(r)]),
        step_s_spread=_median([_relative_spread(r) for r in rates if len(r) > 1]),
        evaluation_share=_median([_share(t, t.eval_time_s) for t in read]),
        logging_share=_median([_share(t, t.logging_time_s) for t in read]),
        startup_s=_median([t.time_s[0] for t in read if len(t.time_s)]),
        sustained=sum(p is True for p in lasting),
        first_only=sum(p is False for p in lasting),
        rank_by_time=rank_by_time,
        rank_by_steps=rank_by_steps,
        outcomes=dict(sorted(Counter(str(e.outcome) for e in endings).items())),
        recorded_outcomes=sum(e.recorded for e in endings),
    )


def _steps_to_target(trials: Sequence[Trial], rule: WorkloadRule) -> float:
    firsts = [(t, first_reached(t, rule)) for t in trials if t.status is LogStatus.READ]
    return _median([t.step[first] for t, first in firsts if first is not None])


def step_times(trial: Trial) -> np.ndarray:
    """Seconds per step between evaluations."""
    steps, times = np.diff(trial.step), np.diff(trial.time_s)
    sound = steps > 0
    return times[sound] / steps[sound]


def _relative_spread(values: np.ndarray) -> float:
    middle = float(np.median(values))
    return float(np.median(np.abs(values - middle))) / middle if middle > 0 else float("nan")


def _share(trial: Trial, seconds: np.ndarray) -> float:
    """Accumulated `seconds` over wall time at the last evaluation."""
    if not len(seconds) or not trial.wall_s[-1] > 0:
        return float("nan")
    return float(seconds[-1] / trial.wall_s[-1])


def _sustained(trial: Trial, rule: WorkloadRule) -> bool | None:
    """Whether the metric never falls behind the target once it has reached it; None if it never did."""
    first = first_reached(trial, rule)
    if first is None:
        return None
    return bool(where_reached(trial.validation[first:], rule.metric, rule.validation_target).all())


def _median(values: Sequence[float]) -> float:
    known = [float(v) for v in values if np.isfinite(v)]
    return float(np.median(known)) if known else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    """Competition ranks of finite values down each column [n, w], smallest first; NaN for the others."""
    finite = np.isfinite(values)
    smaller = (values[None, :, :] < values[:, None, :]) & finite[None, :, :]
    return np.where(finite, 1.0 + smaller.sum(axis=1), np.nan)
