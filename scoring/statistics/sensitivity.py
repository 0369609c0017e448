"""How much the board owes to a choice: a workload, an entrant, the budget, the tau limit, the target.

Source of the many-target ECDF: Hansen et al., "COCO: a platform for comparing continuous optimizers in a black-box
setting" (2021), section 3: runs are compared at several targets and the solved share is shown over the time spent.
"""

import dataclasses
from typing import Any

import numpy as np

from algoperf.definition import Direction
from scoring.board import Board, competition_ranks, score_times
from scoring.logs import LogStatus, LogTree, Trial
from scoring.rules import WorkloadRule
from scoring.times import median_of_studies

BUDGET_FACTORS = (0.8, 0.9, 1.0, 1.1, 1.2)
TAU_LIMITS = (2.0, 4.0, 8.0)
TARGET_SHARES = (0.90, 0.92, 0.94, 0.96, 0.98, 0.99, 1.0, 1.01)
ECDF_POINTS = 61


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scenario:
    """Scores and ranks under one altered choice; NaN for a submission that it leaves out."""

    name: str
    scores: tuple[float, ...]
    ranks: tuple[float, ...]


def leave_one_workload_out(board: Board) -> list[Scenario]:
    scenarios = []
    for left_out in board.rules.base_workloads:
        if len(board.rules.base_workloads) == 1:
            break
        rules = dataclasses.replace(
            board.rules,
            base_workloads=tuple(w for w in board.rules.base_workloads if w != left_out),
            held_out={extra: base for extra, base in board.rules.held_out.items() if base != left_out},
        )
        scores = score_times(board.times.workload_s, board.times.workloads, rules)
        scenarios.append(_scenario(f"without {left_out}", scores))
    return scenarios


def leave_one_submission_out(board: Board) -> list[Scenario]:
    scenarios = []
    for i, left_out in enumerate(board.submissions):
        others = [k for k in range(len(board.submissions)) if k != i]
        scores = np.full(len(board.submissions), np.nan)
        if others:
            scores[others] = score_times(board.times.workload_s[others], board.times.workloads, board.rules)
        scenarios.append(_scenario(f"without {left_out}", scores))
    return scenarios


@dataclasses.dataclass(frozen=True, kw_only=True)
class ReachedTimes:
    """When each trial first reached several targets, without the budget: `trial_s` [p, n, w, S, T], inf for never.

    A share of 0.9 means 90 % of the target for a metric to maximise, and the target over 0.9 for one to minimise.
    """

    shares: tuple[float, ...]
    trial_s: np.ndarray
    budgets_s: np.ndarray

    def study_s(self, budget_factor: float = 1.0) -> np.ndarray:
        """[p, n, w, S] times of studies within `budget_factor` times the budgets."""
        limits = budget_factor * self.budgets_s[:, None, None]
        fastest: np.ndarray = np.where(self.trial_s <= limits, self.trial_s, np.inf).min(axis=-1)
        return fastest


def target_reached_times(tree: LogTree, board: Board, shares: tuple[float, ...] = TARGET_SHARES) -> ReachedTimes:
    """Reads the reached_times off the logs of a board by the written rules."""
    times = board.times
    indices = [{v: i for i, v in enumerate(axis)} for axis in _axes(board)]
    trial_s = np.full((len(shares), *times.trial_s.shape), np.inf)
    for trial in tree.trials:
        keys = (trial.submission, trial.workload, trial.study, trial.number)
        if trial.status is LogStatus.READ and all(k in index_of for k, index_of in zip(keys, indices, strict=True)):
            at = tuple(index_of[k] for k, index_of in zip(keys, indices, strict=True))
            trial_s[:, at[0], at[1], at[2], at[3]] = _first_reached_s(
                trial, board.rules.workloads[trial.workload], shares
            )
    return ReachedTimes(shares=shares, trial_s=trial_s, budgets_s=board.budgets_s)


def _axes(board: Board) -> tuple[tuple[Any, ...], ...]:
    times = board.times
    return times.submissions, times.workloads, times.studies, times.trial_numbers


def _first_reached_s(trial: Trial, rule: WorkloadRule, shares: tuple[float, ...]) -> np.ndarray:
    """First times [p] at which the target of each share is met."""
    maximise = rule.metric.direction is Direction.MAXIMIZE
    sign = 1.0 if maximise else -1.0
    best = np.maximum.accumulate(np.where(np.isnan(trial.validation), -np.inf, sign * trial.validation))
    factors = np.array(shares) if maximise else 1 / np.array(shares)
    first = np.searchsorted(best, sign * factors * rule.validation_target, side="left")
    return np.append(trial.time_s, np.inf)[first]


def other_budgets(board: Board, reached_times: ReachedTimes) -> list[Scenario]:
    """Budgets of 0.8 to 1.2 times the rules'. Runs end at the budget, so a larger one counts only what was logged."""
    real = reached_times.shares.index(1.0)
    return [
        _scenario(f"budget x {factor:g}", _score_studies(board, reached_times.study_s(factor)[real]))
        for factor in BUDGET_FACTORS
    ]


def other_targets(board: Board, reached_times: ReachedTimes) -> list[Scenario]:
    """Easier and harder targets. Runs stop soon after the real one, so a harder one counts only what was logged."""
    times = reached_times.study_s()
    return [
        _scenario(f"{100 * share:.0f} % of the target", _score_studies(board, times[p]))
        for p, share in enumerate(reached_times.shares)
    ]


def other_tau_limits(board: Board) -> list[Scenario]:
    """Profiles up to tau 2, 4 and 8; the cutoff follows where it would otherwise bite first."""
    scenarios = []
    for limit in TAU_LIMITS:
        cutoff = max(board.rules.cutoff_factor, limit)
        rules = dataclasses.replace(board.rules, tau_max=limit, cutoff_factor=cutoff)
        scores = score_times(board.times.workload_s, board.times.workloads, rules)
        scenarios.append(_scenario(f"tau up to {limit:g}", scores))
    return scenarios


def solved_over_time(board: Board, reached_times: ReachedTimes) -> tuple[np.ndarray, np.ndarray]:
    """Shares of the budget [x] and, for each, the share [n, x] of (base workload, target, study) solved by then."""
    base = [board.times.workloads.index(w) for w in board.rules.base_workloads]
    spent = reached_times.study_s()[:, :, base] / reached_times.budgets_s[base, None]
    grid = np.linspace(0, 1, ECDF_POINTS)
    return grid, (spent[..., None] <= grid).mean(axis=(0, 2, 3))


def _score_studies(board: Board, study_s: np.ndarray) -> np.ndarray:
    return score_times(median_of_studies(study_s), board.times.workloads, board.rules)


def _scenario(name: str, scores: np.ndarray) -> Scenario:
    known = np.isfinite(scores)
    ranks = np.full(len(scores), np.nan)
    ranks[known] = competition_ranks(scores[known])
    return Scenario(name=name, scores=tuple(map(float, scores)), ranks=tuple(map(float, ranks)))
