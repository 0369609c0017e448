"""How each trial ended: as its record says, or inferred from the log."""

import enum
from dataclasses import dataclass

import numpy as np

from algoperf.records.outcome import Outcome
from scoring.logs import LogStatus, Trial
from scoring.rules import WorkloadRule
from scoring.times import first_reached, own_budget_s


class InferredOutcome(enum.StrEnum):
    """Ends that no record states: what logs without one show."""

    ENDED_EARLY = "ended_early"
    NO_LOG = "no_log"
    UNREADABLE_LOG = "unreadable_log"


@dataclass(frozen=True, kw_only=True)
class Ending:
    """`recorded`: the outcome stands in `trial.json`; otherwise it is inferred."""

    outcome: Outcome | InferredOutcome
    recorded: bool


def ending(trial: Trial, rule: WorkloadRule, budget_s: float) -> Ending:
    """How `trial` ended. Whether the validation target was reached within the budget is always read from the log."""
    budget_s = own_budget_s(trial, budget_s)
    stated = trial.record.outcome if trial.record else None
    if trial.status is LogStatus.READ:
        first = first_reached(trial, rule)
        if first is not None and trial.time_s[first] <= budget_s:
            return Ending(outcome=Outcome.REACHED, recorded=stated is Outcome.REACHED)
    if stated is not None and stated is not Outcome.REACHED:
        return Ending(outcome=stated, recorded=True)
    return Ending(outcome=_inferred(trial, budget_s), recorded=False)


def _inferred(trial: Trial, budget_s: float) -> Outcome | InferredOutcome:
    if trial.status is LogStatus.MISSING:
        return InferredOutcome.NO_LOG
    if trial.status is LogStatus.UNREADABLE or not len(trial.time_s):
        return InferredOutcome.UNREADABLE_LOG
    if np.isnan(trial.validation[-1]):
        return Outcome.DIVERGED
    last_gap_s = float(np.diff(trial.time_s).max(initial=0.0))
    if trial.time_s[-1] + 1.5 * last_gap_s >= budget_s:
        return Outcome.OUT_OF_TIME
    step_limit = trial.flags.get("max_global_steps")
    if isinstance(step_limit, int) and trial.step[-1] >= step_limit:
        return Outcome.COMPLETED
    return InferredOutcome.ENDED_EARLY


def censored_at_s(trial: Trial, end: Ending, budget_s: float) -> float | None:
    """Submission time (s) up to which a trial without success is known not to have reached the target.

    A run that failed by its own doing would not have reached it later: the budget. One that was interrupted from
    outside is known up to its last evaluation. None where there is no log at all.
    """
    if end.outcome in (InferredOutcome.NO_LOG, InferredOutcome.UNREADABLE_LOG):
        return None
    if end.outcome is Outcome.INTERRUPTED:
        return float(trial.time_s[-1]) if len(trial.time_s) else 0.0
    return own_budget_s(trial, budget_s)
