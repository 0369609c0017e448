"""Where AlgoPerf's scorer and the written rules part on the logs at hand."""

from dataclasses import dataclass

import numpy as np

from scoring.board import Board


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One place. `algoperf` and `rules` are seconds, or scores for the kind `score`."""

    kind: str
    submission: str
    workload: str | None
    study: int | None
    algoperf: float
    rules: float
    reason: str


def differences(algoperf: Board, rules: Board) -> list[Difference]:
    """Every study time, workload time and score that differs between two boards of the same logs, with the reason."""
    rows: list[Difference] = []
    for submission in rules.submissions:
        for workload in sorted({*algoperf.times.workloads, *rules.times.workloads}):
            rows += _of_studies(algoperf, rules, submission, workload)
            rows += _of_workload(algoperf, rules, submission, workload)
    rows += _of_scores(algoperf, rules)
    return rows


def _study_times(board: Board, submission: str, workload: str) -> dict[int, float]:
    if workload not in board.times.workloads:
        return {}
    values = board.times.study_s[board.times.index(submission, workload)]
    return {study: float(v) for study, v in zip(board.times.studies, values, strict=True)}


def _of_studies(algoperf: Board, rules: Board, submission: str, workload: str) -> list[Difference]:
    if workload not in rules.times.workloads:
        return []
    theirs, ours = _study_times(algoperf, submission, workload), _study_times(rules, submission, workload)
    rows = []
    for study in sorted(theirs.keys() | ours.keys()):
        a, b = theirs.get(study, np.nan), ours.get(study, np.nan)
        if _same(a, b):
            continue
        if study not in ours:
            kind, reason = (
                "extra_study",
                "beyond the number of studies that the rules know; AlgoPerf's scorer counts it",
            )
        elif np.isnan(a):
            kind, reason = "missing_study", "no readable trial: a miss by the rules; AlgoPerf's scorer leaves it out"
        elif np.isfinite(a) and np.isinf(b):
            kind, reason = "over_budget", "met the target after the budget; AlgoPerf's scorer does not check"
        else:
            kind, reason = (
                "fewest_evaluations",
                "AlgoPerf's scorer takes the trial with the fewest evaluations, the rules the fastest one",
            )
        rows.append(_difference(kind, submission, workload, study, a, b, reason))
    return rows


def _of_workload(algoperf: Board, rules: Board, submission: str, workload: str) -> list[Difference]:
    if workload not in rules.times.workloads:
        value = float(algoperf.times.workload_s[algoperf.times.index(submission, workload)])
        reason = (
            "logged by someone though no part of the rules; AlgoPerf's scorer then demands it from everyone who wants "
            "its base workload counted"
        )
        return [_difference("extra_workload", submission, workload, None, value, np.nan, reason)]
    b = float(rules.times.workload_s[rules.times.index(submission, workload)])
    a = float(algoperf.times.workload_s[algoperf.times.index(submission, workload)])
    if _same(a, b):
        return []
    if np.isnan(a):
        return [
            _difference(
                "missing_workload", submission, workload, None, a, b, "no readable trial at all: a miss by the rules"
            )
        ]
    return [_difference("workload_time", submission, workload, None, a, b, "follows from the studies above")]


def _of_scores(algoperf: Board, rules: Board) -> list[Difference]:
    reason = "integral on a grid of 100 points (AlgoPerf's scorer) against the exact one, and the differences above"
    return [
        _difference("score", submission, None, None, float(a), float(b), reason)
        for submission, a, b in zip(rules.submissions, algoperf.scores, rules.scores, strict=True)
        if not np.isclose(a, b, rtol=0, atol=1e-12)
    ]


def _same(a: float, b: float) -> bool:
    return a == b or (np.isnan(a) and np.isnan(b))


def _difference(
    kind: str, submission: str, workload: str | None, study: int | None, a: float, b: float, reason: str
) -> Difference:
    return Difference(
        kind=kind, submission=submission, workload=workload, study=study, algoperf=a, rules=b, reason=reason
    )
