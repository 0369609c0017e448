"""Everything that can be said about a folder of logs, computed once and handed to the writers of results."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from algoperf.records.outcome import Outcome
from scoring.board import Board, make_board, score_times, workload_scores
from scoring.completeness import log_issues_of
from scoring.costs import CostRow, Prices, cost_rows
from scoring.diagnostics import WorkloadDiagnostics, diagnose
from scoring.differences import Difference, differences
from scoring.ladder import FIRST_REACHED, Ladder, Passage, score_ladder
from scoring.log_issues import LogIssue
from scoring.logs import LogStatus, LogTree, Trial
from scoring.outcomes import censored_at_s, ending
from scoring.placement import Placement, place_submissions
from scoring.provenance import ProvenanceRow, provenance_rows
from scoring.published import PublishedBoard
from scoring.ranked_row import RankedRow
from scoring.record_findings import record_findings
from scoring.rules import Rules, TuningRule
from scoring.speedups import Speedup, speedups
from scoring.statistics import sensitivity
from scoring.statistics.best_of_k import (
    Runs,
    configuration_of,
    group_runs,
    median_of_best,
    resample_best,
    tuning_curve,
)
from scoring.statistics.bootstrap import resample_studies, score_intervals
from scoring.statistics.head_to_head import PairwiseComparison, comparisons
from scoring.statistics.power import what_studies_can_show
from scoring.statistics.ranking import Separation, rank_sets, separate, tie_groups
from scoring.statistics.sensitivity import Scenario
from scoring.statistics.survival import TimeToTargetDistribution, survival_curve
from scoring.submission_info import SubmissionInfo, read_infos
from scoring.times import Mode
from scoring.validity import RuleConflict, rule_conflicts, validity_issues

DEFAULT_REPLICATES = 2000


@dataclass(frozen=True, kw_only=True)
class LeaderboardRow(RankedRow):
    """One submission on the board."""

    workloads_solved: int
    score_best_of_k: float
    score_best_of_k_low: float
    score_best_of_k_high: float
    score_rules: float
    score_algoperf: float
    trials_missing: int
    trials_unreadable: int


@dataclass(frozen=True, kw_only=True)
class WorkloadResult:
    """One submission on one workload; times in seconds, inf for a miss. Limits are the fastest and slowest study."""

    submission: str
    workload: str
    time_s: float
    time_low_s: float
    time_high_s: float
    ratio: float | None
    counts: bool | None
    study_times_s: tuple[float, ...]
    best_of_k_s: float
    tuning_curve: tuple[dict[str, float], ...]
    law: TimeToTargetDistribution


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    workloads: list[Scenario]
    submissions: list[Scenario]
    budgets: list[Scenario]
    tau_limits: list[Scenario]
    targets: list[Scenario]
    ecdf_budget_share: tuple[float, ...]
    ecdf_solved: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """`board` is that of the chosen mode; `rules_board` and `algoperf_board` are both modes. Statistics are of the
    written rules. Rows follow `rules_board.submissions` unless said otherwise; `leaderboard` is sorted."""

    tree: LogTree
    board: Board
    rules_board: Board
    algoperf_board: Board
    leaderboard: list[LeaderboardRow]
    results: list[WorkloadResult]
    separation: Separation
    comparisons: list[PairwiseComparison]
    sensitivity: Sensitivity
    diagnostics: list[WorkloadDiagnostics]
    provenance: list[ProvenanceRow]
    rule_conflicts: list[RuleConflict]
    speedups: list[Speedup]
    differences: list[Difference]
    placement: Placement | None
    submission_info: dict[str, SubmissionInfo]
    ladder: Ladder | None
    costs: list[CostRow]
    findings: list[LogIssue]
    statements: list[str]
    seed: int
    replicates: int


def analyse(
    tree: LogTree,
    rules: Rules,
    tuning: TuningRule,
    mode: Mode = Mode.RULES,
    *,
    seed: int = 0,
    replicates: int = DEFAULT_REPLICATES,
    reference: str | None = None,
    against: PublishedBoard | None = None,
    info_directory: Path | None = None,
    passage: Passage | None = FIRST_REACHED,
    prices: Prices | None = None,
) -> Analysis:
    """Scores the logs in both modes and computes all statistics and diagnostics.

    `reference` is the submission over which speedups are given; by default `baseline`, if it is there, else the best.
    `against` is a published board to place the submissions on. `info_directory` holds
    `<submission>/submission_info.yml` where the results hold none. `passage` is what passing a rung
    takes, where the rules have a ladder of targets; None leaves the ladder out. `prices` turn costs into money.
    """
    boards = {m: make_board(tree, rules, tuning, m) for m in Mode}
    board = boards[Mode.RULES]
    draws = resample_studies(board.times, seed=seed, replicates=replicates)
    drawn_shares = workload_scores(draws, board.times.workloads, rules)
    grouped = _group(tree)
    runs = _all_runs(board, grouped)
    reference = reference or _default_reference(board)
    separation = separate(board.times, drawn_shares, rules, seed=seed)
    provenance, conflicts = provenance_rows(tree), rule_conflicts(tree, rules, tuning)
    infos, info_issues = read_infos(tree, tuning.name, info_directory)
    validity = validity_issues(tree, conflicts, provenance)
    return Analysis(
        tree=tree,
        board=boards[mode],
        rules_board=board,
        algoperf_board=boards[Mode.ALGOPERF],
        leaderboard=_leaderboard(boards, mode, drawn_shares, separation, runs, grouped, seed, replicates),
        results=_results(board, runs, grouped),
        separation=separation,
        comparisons=comparisons(board.times, separation, rules),
        sensitivity=_sensitivity(tree, board),
        diagnostics=diagnose(tree, board),
        provenance=provenance,
        rule_conflicts=conflicts,
        speedups=speedups(boards[mode], reference),
        differences=differences(boards[Mode.ALGOPERF], board),
        submission_info=infos,
        placement=None if against is None else place_submissions(boards[mode], against),
        findings=sorted([*log_issues_of(tree, board), *validity, *record_findings(tree, rules), *info_issues]),
        ladder=score_ladder(tree, board, seed=seed, replicates=replicates, passage=passage) if passage else None,
        costs=cost_rows(tree, prices),
        statements=what_studies_can_show(tuning.studies, len(rules.base_workloads), len(board.submissions)),
        seed=seed,
        replicates=replicates,
    )


Grouped = dict[tuple[str, str], list[Trial]]


def _group(tree: LogTree) -> Grouped:
    grouped: Grouped = {}
    for trial in tree.trials:
        grouped.setdefault((trial.submission, trial.workload), []).append(trial)
    return grouped


def _default_reference(board: Board) -> str:
    return "baseline" if "baseline" in board.submissions else board.submissions[board.ranking()[0]]


def _prescribed(board: Board, trials: Sequence[Trial]) -> list[Trial]:
    times = board.times
    return [t for t in trials if t.study in times.studies and t.number in times.trial_numbers]


def _all_runs(board: Board, grouped: Grouped) -> list[list[Runs]]:
    """Runs by [submission][workload], grouped by configuration where the hyperparameter files allow it."""
    times = board.times
    return [
        [_runs(board, i, j, _prescribed(board, grouped.get((s, w), []))) for j, w in enumerate(times.workloads)]
        for i, s in enumerate(times.submissions)
    ]


def _runs(board: Board, i: int, j: int, trials: list[Trial]) -> Runs:
    times = board.times
    configurations: list[list[str | None]] = [[None] * len(times.trial_numbers) for _ in times.studies]
    if len(times.trial_numbers) > 1:
        for trial in trials:
            configuration_row = configurations[times.studies.index(trial.study)]
            configuration_row[times.trial_numbers.index(trial.number)] = configuration_of(trial)
    return group_runs(times.trial_s[i, j], configurations)


def _leaderboard(
    boards: dict[Mode, Board],
    mode: Mode,
    drawn_shares: np.ndarray,
    separation: Separation,
    runs: list[list[Runs]],
    grouped: Grouped,
    seed: int,
    replicates: int,
) -> list[LeaderboardRow]:
    board, shown = boards[Mode.RULES], boards[mode]
    low, high = score_intervals(drawn_shares, board.scores, studies=board.tuning.studies)
    rank_low, rank_high = rank_sets(separation.better)
    groups = tie_groups(board.ranking(), separation.better)
    best, best_low, best_high = _best_of_k_scores(board, runs, seed, replicates)
    ranks = shown.ranks()
    rows = []
    for i in shown.ranking():
        name = board.submissions[i]
        prescribed = [t for w in board.times.workloads for t in _prescribed(board, grouped.get((name, w), []))]
        expected = board.times.trial_s[i].size
        rows.append(
            LeaderboardRow(
                submission=name,
                score=float(shown.scores[i]),
                score_low=float(low[i]),
                score_high=float(high[i]),
                rank=int(ranks[i]),
                rank_low=int(rank_low[i]),
                rank_high=int(rank_high[i]),
                tie_group=groups[i],
                workloads_solved=int(np.isfinite(shown.qualified_s[i]).sum()),
                score_best_of_k=float(best[i]),
                score_best_of_k_low=float(best_low[i]),
                score_best_of_k_high=float(best_high[i]),
                score_rules=float(board.scores[i]),
                score_algoperf=float(boards[Mode.ALGOPERF].scores[i]),
                trials_missing=expected - sum(t.status is not LogStatus.MISSING for t in prescribed),
                trials_unreadable=sum(t.status is LogStatus.UNREADABLE for t in prescribed),
            )
        )
    return rows


def _best_of_k_scores(
    board: Board, runs: list[list[Runs]], seed: int, replicates: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores [n] from median best-of-k times, with limits from resampling trials within configurations."""
    times, k = board.times, board.tuning.trials_per_study
    medians = np.array([[median_of_best(r, k) for r in row] for row in runs])
    scores = score_times(medians, times.workloads, board.rules)
    draws = np.stack(
        [
            np.stack(
                [
                    resample_best(runs[i][j], k, seed=seed, names=(s, w), replicates=replicates)
                    for j, w in enumerate(times.workloads)
                ],
                axis=-1,
            )
            for i, s in enumerate(times.submissions)
        ],
        axis=1,
    )
    drawn_shares = workload_scores(draws, times.workloads, board.rules)
    low, high = score_intervals(drawn_shares, scores, studies=board.tuning.studies)
    return scores, low, high


def _results(board: Board, runs: list[list[Runs]], grouped: Grouped) -> list[WorkloadResult]:
    times, base = board.times, board.rules.base_workloads
    results = []
    for i, submission in enumerate(times.submissions):
        for j, workload in enumerate(times.workloads):
            budget_s = float(board.budgets_s[j])
            column = base.index(workload) if workload in base else None
            ratio = None if column is None else float(board.ratios[i, column])
            results.append(
                WorkloadResult(
                    submission=submission,
                    workload=workload,
                    time_s=float(times.workload_s[i, j]),
                    time_low_s=float(times.study_s[i, j].min()),
                    time_high_s=float(times.study_s[i, j].max()),
                    ratio=ratio,
                    counts=None if ratio is None else bool(np.isfinite(ratio)),
                    study_times_s=tuple(map(float, times.study_s[i, j])),
                    best_of_k_s=median_of_best(runs[i][j], board.tuning.trials_per_study),
                    tuning_curve=tuple(tuning_curve(runs[i][j], budget_s)),
                    law=_law(board, grouped.get((submission, workload), []), budget_s),
                )
            )
    return results


def _law(board: Board, trials: list[Trial], budget_s: float) -> TimeToTargetDistribution:
    reached, censored = [], []
    rule = board.rules.workloads
    prescribed = _prescribed(board, trials)
    for trial in prescribed:
        end = ending(trial, rule[trial.workload], budget_s)
        if end.outcome is Outcome.REACHED:
            at = np.argwhere(np.array(board.times.studies) == trial.study)[0, 0]
            i, j = board.times.index(trial.submission, trial.workload)
            number = board.times.trial_numbers.index(trial.number)
            reached.append(float(board.times.trial_s[i, j, at, number]))
        elif (limit := censored_at_s(trial, end, budget_s)) is not None:
            censored.append(limit)
    expected = len(board.times.studies) * len(board.times.trial_numbers)
    without_log = expected - len(reached) - len(censored)
    return survival_curve(reached, censored, without_log=without_log, budget_s=budget_s)


def _sensitivity(tree: LogTree, board: Board) -> Sensitivity:
    reached_times = sensitivity.target_reached_times(tree, board)
    grid, solved = sensitivity.solved_over_time(board, reached_times)
    return Sensitivity(
        workloads=sensitivity.leave_one_workload_out(board),
        submissions=sensitivity.leave_one_submission_out(board),
        budgets=sensitivity.other_budgets(board, reached_times),
        tau_limits=sensitivity.other_tau_limits(board),
        targets=sensitivity.other_targets(board, reached_times),
        ecdf_budget_share=tuple(map(float, grid)),
        ecdf_solved=tuple(tuple(map(float, row)) for row in solved),
    )
