"""Steps of a submission in the loop of a run, without evaluations, and the seconds that it is charged for them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from algoperf import spec
from algoperf.backends.base import Backend
from algoperf.harness.loop import LoopPlan, LoopPorts, TrainingLoop
from algoperf.harness.run_state import RunState
from algoperf.harness.seeds import Seeds
from algoperf.records.outcome import Outcome
from algoperf.submissions.loading import Submission


class TimedStepsError(RuntimeError):
    """The submission failed, or ended its training."""


class SilentObserver:
    """Observer of a loop that shows nothing."""

    def update(self, step: int, submission_time_s: float, seconds_to_next_evaluation: float) -> None: ...

    def evaluation(self, step: int, submission_time_s: float, metrics: Mapping[str, float]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class TimedSteps:
    """A submission in training, continued by each call.

    Attributes:
      run_state: its stopping and schedule must leave room for the steps: no evaluation may come due.
    """

    backend: Backend
    workload: spec.Workload
    submission: Submission
    hyperparameters: Any
    seeds: Seeds
    run_state: RunState

    def __call__(self, steps: int) -> float:
        """Takes `steps` steps and returns the seconds that a submission would be charged.

        Raises:
          TimedStepsError: it did not take them all.
        """
        clock = self.run_state.clock
        before_s = clock.submission_time_s()
        loop = TrainingLoop(
            LoopPlan(
                workload=self.workload,
                submission=self.submission,
                hyperparameters=self.hyperparameters,
                seeds=self.seeds,
                max_global_steps=self.run_state.training.global_step + steps,
                skip_evals=True,
            ),
            self.run_state,
            LoopPorts(backend=self.backend, evaluate=_never, observer=SilentObserver()),
        )
        result = loop.run()
        if result.outcome is not Outcome.COMPLETED:
            raise TimedStepsError(result.error or str(result.outcome))
        return clock.submission_time_s() - before_s


def _never(params: Any, model_state: Any) -> dict[str, float]:
    raise AssertionError("timed steps are never evaluated")
