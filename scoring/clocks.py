"""The clock that a board goes by: seconds, reference steps of each run's machine, steps, or steps times their cost.

Trials and rules are converted once, before anything is scored; what is called seconds afterwards is the clock's unit.
"""

import enum
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from algoperf.records.calibration import Calibration
from scoring.logs import LogsError, LogStatus, LogTree, Trial
from scoring.rules import Rules, TuningRule
from scoring.step_costs import ProjectedCosts
from scoring.times import own_budget_s

_SHOWN = 3
# The budget in steps of a run that was not evaluated within its budget: less than any step.
_NO_STEP = 0.5


class Clock(enum.StrEnum):
    """What times are measured in."""

    SECONDS = "seconds"
    REFERENCE = "reference"
    STEPS = "steps"
    PROJECTED = "projected"


def in_clock(
    tree: LogTree, rules: Rules, tuning: TuningRule, clock: Clock | None = None, costs: ProjectedCosts | None = None
) -> tuple[LogTree, Rules]:
    """Logs and rules in the unit of `clock`; None: reference steps where every scored run has them, else seconds.

    With `costs`, None means projected: the steps of a run times the cost of its submission's step, in reference steps.

    A run whose budget was declared in reference steps is scored by what these took it in seconds, in every clock.

    Raises:
      LogsError: a run lacks what the clock needs, or costs were given to another clock.
    """
    if costs is not None and clock not in (None, Clock.PROJECTED):
        raise LogsError(f"--step_costs is for the projected clock, not for --clock={clock}; leave one of them out")
    if costs is not None:
        clock = Clock.PROJECTED
    counts_steps = any(rules.workloads[name].max_runtime_steps is not None for name in rules.scored_workloads)
    if clock is None:
        clock = Clock.REFERENCE if counts_steps and _lacking(_scored(tree, rules)) == [] else Clock.SECONDS
    if clock is Clock.SECONDS and not counts_steps:
        return tree, rules
    _check(_scored(tree, rules), rules, clock, costs)
    trials = tuple(
        _converted(trial, rules, tuning, clock, costs) if _counts(trial, rules) else trial for trial in tree.trials
    )
    return replace(tree, trials=trials), _converted_rules(trials, rules, tuning, clock)


def calibration_of(trial: Trial) -> Calibration | None:
    return trial.record.calibration if trial.record is not None else None


def _counts(trial: Trial, rules: Rules) -> bool:
    return trial.workload in rules.scored_workloads and trial.status is LogStatus.READ


def _scored(tree: LogTree, rules: Rules) -> list[Trial]:
    return [trial for trial in tree.trials if _counts(trial, rules)]


def _lacking(trials: Sequence[Trial]) -> list[str]:
    return [trial.name for trial in trials if calibration_of(trial) is None] if trials else ["any run"]


def _check(trials: Sequence[Trial], rules: Rules, clock: Clock, costs: ProjectedCosts | None) -> None:
    if clock is Clock.PROJECTED and costs is None:
        raise LogsError("--clock=projected needs --step_costs, what a step of each submission costs")
    if clock is Clock.REFERENCE:
        unknown = [name for name in rules.scored_workloads if rules.workloads[name].max_runtime_steps is None]
        if unknown:
            raise LogsError(
                f"rule set {rules.name!r} has no budget in reference steps for {_some(unknown)}; "
                "score by another --clock"
            )
        lacking, what = _lacking(trials), "have recorded no reference step"
    elif clock in (Clock.STEPS, Clock.PROJECTED):
        lacking, what = [trial.name for trial in trials if np.isnan(trial.step).any()], "lack global steps"
    else:
        return
    if lacking:
        raise LogsError(f"{len(lacking)} of {len(trials)} runs {what}: {_some(lacking)}; score by another --clock")


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
    return ", ".join(names[:_SHOWN]) + more


def _converted(trial: Trial, rules: Rules, tuning: TuningRule, clock: Clock, costs: ProjectedCosts | None) -> Trial:
    calibration, rule = calibration_of(trial), rules.workloads[trial.workload]
    if calibration is not None and rule.max_runtime_steps is not None:
        budget_s = rule.max_runtime_steps * tuning.budget_factor * calibration.budget_step_s
        trial = _changed(trial, budget_s=budget_s)
    if clock in (Clock.STEPS, Clock.PROJECTED):
        cost = costs.of(trial.submission, trial.workload) if costs is not None else None
        ratio = 1.0 if cost is None else cost.ratio
        within = trial.time_s <= own_budget_s(trial, tuning.budget_factor * rule.max_runtime_s)
        raw = np.interp(trial.raw_time_s, trial.time_s, trial.step) if len(trial.step) else trial.raw_time_s
        return _changed(
            trial,
            time_s=trial.step * ratio,
            raw_time_s=raw * ratio,
            budget_s=float(trial.step[within].max(initial=_NO_STEP)) * ratio,
            time_spread=0.0 if cost is None else cost.log_spread,
        )
    if clock is Clock.REFERENCE and calibration is not None and trial.budget_s is not None:
        step_s = calibration.step_s
        return _changed(
            trial,
            time_s=trial.time_s / step_s,
            raw_time_s=trial.raw_time_s / step_s,
            budget_s=trial.budget_s / step_s,
            time_spread=calibration.spread,
        )
    return trial


def _changed(trial: Trial, **changes: Any) -> Trial:
    """A copy with other values; what was read of its JSON files stays."""
    changed = replace(trial, **changes)
    vars(changed)["companions"] = trial.companions
    return changed


def _converted_rules(trials: Sequence[Trial], rules: Rules, tuning: TuningRule, clock: Clock) -> Rules:
    """The rules with the largest budget of a run as that of its workload, so that every run fits on one axis."""
    workloads = dict(rules.workloads)
    for name in rules.scored_workloads:
        rule = workloads[name]
        own = [t.budget_s for t in trials if _counts(t, rules) and t.workload == name and t.budget_s is not None]
        stated = {
            Clock.SECONDS: rule.max_runtime_s,
            Clock.REFERENCE: float(rule.max_runtime_steps or rule.max_runtime_s),
            Clock.STEPS: float(rule.step_hint),
            Clock.PROJECTED: float(rule.step_hint),
        }[clock]
        workloads[name] = replace(rule, max_runtime_s=max(own) / tuning.budget_factor if own else stated)
    return replace(rules, workloads=workloads, clock=clock.value, in_seconds=rules)
