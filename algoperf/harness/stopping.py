"""When a run is over."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from algoperf.definition import Ruleset, Split, WorkloadDefinition
from algoperf.records.columns import metric_column, metric_of
from algoperf.records.outcome import Outcome

# A single non-finite evaluation may be a submission in the middle of a restart; two in a row are divergence.
NONFINITE_EVALUATIONS_UNTIL_DIVERGED = 2


@dataclass
class Stopping:
    """Remembers which goals were reached and whether the run diverged.

    Goals are sticky and strict (`>` or `<`), as in AlgoPerf's runner; scoring compares inclusively.
    A self-tuning submission may restart itself after a divergence, so only the external ruleset ends such a run early.
    """

    definition: WorkloadDefinition
    ruleset: Ruleset
    stop_at_validation_target: bool = False
    validation_goal_reached: bool = False
    test_goal_reached: bool = False
    nonfinite_evaluations: int = 0

    @property
    def budget_s(self) -> float:
        return self.definition.budget.max_runtime_s * self.ruleset.budget_factor

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        metric = self.definition.metric
        self.validation_goal_reached |= metric.better(
            metrics[metric_column(Split.VALIDATION, metric.name)], self.definition.validation_target
        )
        if self.definition.test_target is None:
            self.test_goal_reached = self.validation_goal_reached
        else:
            self.test_goal_reached |= metric.better(
                metrics[metric_column(Split.TEST, metric.name)], self.definition.test_target
            )
        finite = all(
            math.isfinite(value)
            for key, value in metrics.items()
            if metric_of(key) in {metric.name, "loss", "ctc_loss"}
        )
        self.nonfinite_evaluations = 0 if finite else self.nonfinite_evaluations + 1

    def state_dict(self) -> dict[str, Any]:
        return {
            "validation_goal_reached": self.validation_goal_reached,
            "test_goal_reached": self.test_goal_reached,
            "nonfinite_evaluations": self.nonfinite_evaluations,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.validation_goal_reached = state["validation_goal_reached"]
        self.test_goal_reached = state["test_goal_reached"]
        self.nonfinite_evaluations = state["nonfinite_evaluations"]

    def outcome(self, *, complete: bool, out_of_time: bool) -> Outcome | None:
        """The typed end of the run, or None while the run continues."""
        if self.validation_goal_reached and (self.test_goal_reached or self.stop_at_validation_target):
            return Outcome.REACHED
        if self.nonfinite_evaluations >= NONFINITE_EVALUATIONS_UNTIL_DIVERGED and (
            self.ruleset.tunable or complete or out_of_time
        ):
            return Outcome.DIVERGED
        if complete:
            return Outcome.DIVERGED if self.nonfinite_evaluations else Outcome.COMPLETED
        if out_of_time:
            return Outcome.OUT_OF_TIME
        return None
