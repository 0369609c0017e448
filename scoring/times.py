"""Times to target: of a trial, of a study (its best trial), and of a workload (the median study)."""

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from algoperf.records import best
from scoring.log_issues import LogIssue, Severity
from scoring.logs import LogStatus, LogTree, Trial
from scoring.rules import Rules, TuningRule, WorkloadRule


class Mode(enum.StrEnum):
    """The written rules, or what AlgoPerf's scorer computes, its departures from the rules included."""

    RULES = "rules"
    ALGOPERF = "algoperf"


@dataclass(frozen=True, kw_only=True)
class TimeTable:
    """Times to target in seconds; inf is a miss.

    Shapes: n submissions, w workloads, S studies, T trials of a study.

    Attributes:
      studies, trial_numbers: numbers in the folder names along the last two axes.
      trial_s: [n, w, S, T].
      present: [n, w, S, T], whether the trial was logged and read.
      study_s: [n, w, S]; NaN where AlgoPerf's scorer would not see the study.
      workload_s: [n, w]; NaN where AlgoPerf's scorer would not see the workload.
      study_spread: [n, w, S], standard deviation of the logarithm of the unit of `study_s`; None: all 0.
      evaluations: [n, w, S, T], 0-based number of the first evaluation on target, inf for a miss.
    """

    submissions: tuple[str, ...]
    workloads: tuple[str, ...]
    studies: tuple[int, ...]
    trial_numbers: tuple[int, ...]
    trial_s: np.ndarray
    present: np.ndarray
    study_s: np.ndarray
    workload_s: np.ndarray
    evaluations: np.ndarray
    study_spread: np.ndarray | None = None

    def index(self, submission: str, workload: str) -> tuple[int, int]:
        return self.submissions.index(submission), self.workloads.index(workload)


def first_reached(trial: Trial, rule: WorkloadRule, target: float | None = None) -> int | None:
    """Index of the first evaluation whose validation metric meets the target; None when there is none."""
    return best.first_reached(trial.validation, rule.metric, rule.validation_target if target is None else target)


def own_budget_s(trial: Trial, budget_s: float) -> float:
    """The budget that `trial` is scored by, seconds: its own, if it has one, else `budget_s` of the rules."""
    return budget_s if trial.budget_s is None else trial.budget_s


def numbering_offset(trials: Iterable[Trial]) -> int:
    """0, or 1 where nobody has a study_0: then studies are counted from 1."""
    return int(min((t.study for t in trials), default=0) == 1)


def outside_the_rules(tree: LogTree, tuning: TuningRule) -> list[LogIssue]:
    """A finding for each trial beyond the allowed studies and trials; these do not count.

    The allowed ones are fixed by their numbers, so that nobody gains by adding attempts or by deleting some.
    """
    offset = numbering_offset(tree.trials)
    findings = []
    for trial in tree.trials:
        study, number = trial.study - offset, trial.number - 1
        if 0 <= study < tuning.studies and 0 <= number < tuning.trials_per_study:
            continue
        message = (
            f"the rules know studies {offset} to {offset + tuning.studies - 1} and trials 1 to "
            f"{tuning.trials_per_study}; this one does not count"
        )
        findings.append(LogIssue(path=trial.name, code="extra_trial", severity=Severity.WARNING, message=message))
    return findings


# Time in seconds and number of the evaluation at which a trial is on target, given the budget in seconds; inf: never.
Reached = Callable[[Trial, WorkloadRule, float], tuple[float, float]]


def rules_times(
    tree: LogTree,
    rules: Rules,
    tuning: TuningRule,
    workloads: Sequence[str] | None = None,
    *,
    reached: Reached | None = None,
) -> TimeTable:
    """Times by the written rules.

    A trial counts if it meets the target within the budget; a study takes its fastest trial; a workload takes the
    median of the prescribed number of studies. What is missing or unreadable is a miss. `reached` stands in for the
    official target where another one is asked for.
    """
    workloads = tuple(workloads if workloads is not None else rules.scored_workloads)
    offset = numbering_offset(tree.trials)
    studies = tuple(range(offset, offset + tuning.studies))
    numbers = tuple(range(1, tuning.trials_per_study + 1))
    axes = (tree.submissions, workloads, studies, numbers)
    trial_s, present, evaluations = _collect(
        tree.trials, axes, rules, tuning.budget_factor, reached or _reached_in_budget
    )
    study_s = trial_s.min(axis=-1)
    return TimeTable(
        submissions=tree.submissions,
        workloads=workloads,
        studies=tuple(studies),
        trial_numbers=tuple(numbers),
        trial_s=trial_s,
        present=present,
        study_s=study_s,
        workload_s=median_of_studies(study_s),
        evaluations=evaluations,
        study_spread=_study_spread(tree.trials, axes, trial_s.argmin(axis=-1)),
    )


def algoperf_times(tree: LogTree, rules: Rules) -> TimeTable:
    """Times as AlgoPerf's scorer computes them.

    A study takes the trial with the fewest evaluations before the target (not the least time), the fastest of those
    that tie; the median runs over the studies that are there, and no crossing is checked against the budget. Without
    held-out workloads, every known workload in the logs takes part.
    """
    read = [t for t in tree.trials if t.status is LogStatus.READ]
    logged = {t.workload for t in read}
    workloads = rules.scored_workloads if rules.held_out else tuple(sorted(logged | set(rules.base_workloads)))
    studies = sorted({t.study for t in read}) or [0]
    numbers = sorted({t.number for t in read}) or [1]
    trial_s, present, evaluations = _collect(
        read, (tree.submissions, workloads, studies, numbers), rules, 1.0, _reached_ever
    )
    fewest = evaluations == evaluations.min(axis=-1, keepdims=True)
    study_s = np.where(fewest, trial_s, np.inf).min(axis=-1)
    study_s = np.where(present.any(axis=-1), study_s, np.nan)
    return TimeTable(
        submissions=tree.submissions,
        workloads=workloads,
        studies=tuple(studies),
        trial_numbers=tuple(numbers),
        trial_s=trial_s,
        present=present,
        study_s=study_s,
        workload_s=_median_of_present(study_s),
        evaluations=evaluations,
    )


def _study_spread(
    trials: Iterable[Trial],
    axes: tuple[Sequence[str], Sequence[str], Sequence[int], Sequence[int]],
    fastest: np.ndarray,
) -> np.ndarray | None:
    """Spread [n, w, S] of the unit of each study's fastest trial, `fastest` [n, w, S]; None where all are zero."""
    spreads = {
        (trial.submission, trial.workload, trial.study, trial.number): trial.time_spread
        for trial in trials
        if trial.time_spread
    }
    if not spreads:
        return None
    submissions, workloads, studies, numbers = axes
    spread = np.zeros(fastest.shape)
    for i, j, k in np.ndindex(fastest.shape):
        spread[i, j, k] = spreads.get((submissions[i], workloads[j], studies[k], numbers[int(fastest[i, j, k])]), 0.0)
    return spread


def _collect(
    trials: Iterable[Trial],
    axes: tuple[Sequence[str], Sequence[str], Sequence[int], Sequence[int]],
    rules: Rules,
    budget_factor: float,
    reached: Reached,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arrays [n, w, S, T] of times, presence and evaluation numbers."""
    indices = [{value: i for i, value in enumerate(axis)} for axis in axes]
    shape = tuple(len(axis) for axis in axes)
    trial_s, evaluations = np.full(shape, np.inf), np.full(shape, np.inf)
    present = np.zeros(shape, bool)
    for trial in trials:
        keys = (trial.submission, trial.workload, trial.study, trial.number)
        if trial.status is not LogStatus.READ or any(
            k not in index_of for k, index_of in zip(keys, indices, strict=True)
        ):
            continue
        at = tuple(index_of[k] for k, index_of in zip(keys, indices, strict=True))
        rule = rules.workloads[trial.workload]
        present[at] = True
        trial_s[at], evaluations[at] = reached(trial, rule, own_budget_s(trial, budget_factor * rule.max_runtime_s))
    return trial_s, present, evaluations


def _reached_ever(trial: Trial, rule: WorkloadRule, budget_s: float) -> tuple[float, float]:
    raw = best.first_reached(trial.raw_validation, rule.metric, rule.validation_target)
    return (np.inf, np.inf) if raw is None else (float(trial.raw_time_s[raw]), float(raw))


def _reached_in_budget(trial: Trial, rule: WorkloadRule, budget_s: float) -> tuple[float, float]:
    first = first_reached(trial, rule)
    if first is None or trial.time_s[first] > budget_s:
        return np.inf, np.inf
    return float(trial.time_s[first]), float(first)


def median_of_studies(study_s: np.ndarray) -> np.ndarray:
    """Median over the last axis; inf where the middle, or either of two middle values, is inf."""
    ordered = np.sort(study_s, axis=-1)
    count = ordered.shape[-1]
    medians: np.ndarray = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    return medians


def _median_of_present(study_s: np.ndarray) -> np.ndarray:
    """Median over the last axis of the values that are not NaN; NaN where there are none."""
    result = np.full(study_s.shape[:-1], np.nan)
    for at in np.ndindex(result.shape):
        there = study_s[at][~np.isnan(study_s[at])]
        if len(there):
            result[at] = median_of_studies(there)
    return result
