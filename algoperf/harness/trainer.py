"""Who takes the steps of the training loop: the loop's own process, or another that answers to it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Protocol

from algoperf import spec
from algoperf.backends.base import Backend
from algoperf.errors import UserError
from algoperf.harness.checkpoint import Checkpointer
from algoperf.harness.failure import reraise_from_submission
from algoperf.harness.hooks import hook_arguments, training_constants
from algoperf.harness.run_state import RunState, TrainingState
from algoperf.harness.schedule import DeviceSyncSchedule, RankClockSync
from algoperf.harness.seeds import Seeds
from algoperf.records import columns
from algoperf.submissions.loading import Submission


class Observer(Protocol):
    """Is told what happens, to show it to a person."""

    def update(self, step: int, submission_time_s: float, seconds_to_next_evaluation: float) -> None: ...

    def evaluation(self, step: int, submission_time_s: float, metrics: Mapping[str, float]) -> None: ...


class EvaluateFn(Protocol):
    """Measures the present model on all splits."""

    def __call__(self, params: Any, model_state: Any) -> dict[str, float]: ...


class StopRequest(Protocol):
    """Says whether somebody asks to stop."""

    def is_set(self) -> bool: ...


@dataclass(kw_only=True)
class LoopStatus:
    """What hooks are told of the loop.

    Attributes:
      train_state: times and goals, by the names that AlgoPerf gives them.
      eval_results: copies of (global step, row) of each evaluation so far.
    """

    train_state: dict[str, Any]
    eval_results: list[tuple[int, dict[str, float]]] = field(default_factory=list)


class Trainer(Protocol):
    """Takes the steps of a loop, on the loop's clock."""

    def train_until_due(self, status: LoopStatus, stop: StopRequest, observer: Observer) -> None:
        """Charged: steps until an evaluation is due, the budget is spent, training is complete or a stop is asked."""
        ...

    def prepare_for_eval(self, status: LoopStatus) -> None:
        """Charged: gives the submission's hook its turn; afterwards the parameters are those to evaluate."""
        ...

    def rest(self) -> None:
        """A pause begins: nothing of the submission may work until the next call."""
        ...


@dataclass(frozen=True, kw_only=True)
class LoopPlan:
    """What is decided before the loop starts.

    Attributes:
      workload, submission, hyperparameters: what trains.
      seeds: of the keys of each step.
      max_global_steps: the run is complete after so many steps; None sets no limit.
      skip_evals: never evaluate.
      strict_guards: end the run at the first violation of a rule that a pause shows.
    """

    workload: spec.Workload
    submission: Submission
    hyperparameters: Any
    seeds: Seeds
    max_global_steps: int | None = None
    skip_evals: bool = False
    strict_guards: bool = False

    def is_complete(self, state: TrainingState) -> bool:
        """Whether the submission said so or the step limit is reached."""
        return state.complete or (self.max_global_steps is not None and state.global_step >= self.max_global_steps)


@dataclass(frozen=True, kw_only=True)
class LoopPorts:
    """What the loop calls, besides the components of the run state.

    Attributes:
      checkpointer: None saves nothing.
      trainer: None takes the steps in this process.
    """

    backend: Backend
    evaluate: EvaluateFn
    observer: Observer
    checkpointer: Checkpointer | None = None
    trainer: Trainer | None = None


class InProcessTrainer:
    """Calls the hooks of the submission in this process.

    Args:
      rank_clock: with which processes agree on a step to stop at.
    """

    def __init__(self, plan: LoopPlan, run_state: RunState, backend: Backend, rank_clock: RankClockSync) -> None:
        self._plan = plan
        self._state = run_state.training
        self._clock = run_state.clock
        self._schedule = run_state.schedule
        self._budget_s = run_state.stopping.budget_s
        self._input_queue = run_state.input_queue
        self._backend = backend
        self._rank_clock = rank_clock
        self._submission = plan.submission
        self._constants = constants = training_constants(plan.workload)
        self._params_types, self._loss_type = constants["current_params_types"], constants["loss_type"]

    def train_until_due(self, status: LoopStatus, stop: StopRequest, observer: Observer) -> None:
        clock, state, rank_clock = self._clock, self._state, self._rank_clock
        evaluates = not self._plan.skip_evals
        clock.start_steps()
        device_sync = DeviceSyncSchedule(state.global_step, clock.submission_time_s())
        while True:
            self._step(status)
            complete = self._plan.is_complete(state)
            if device_sync.is_due(state.global_step):
                clock.wait(state.device_trees)
                device_sync.taken(state.global_step, clock.submission_time_s(), self._seconds_to_event())
            elapsed_s = clock.submission_time_s()
            status.train_state[columns.SUBMISSION_TIME] = elapsed_s
            seconds_left = self._schedule.seconds_left(elapsed_s) if evaluates else math.inf
            observer.update(state.global_step, elapsed_s, seconds_left)
            agreed_s = rank_clock.time_s(state.global_step, elapsed_s, now=complete)
            if agreed_s is None:
                continue
            if (
                complete
                or (evaluates and self._schedule.is_due(agreed_s))
                or agreed_s >= self._budget_s
                or rank_clock.any_rank(stop.is_set())
            ):
                break
        clock.stop_steps(state.device_trees)

    def rest(self) -> None:
        pass  # what the submission has left running is seen by the pause monitor

    def prepare_for_eval(self, status: LoopStatus) -> None:
        prepare = self._submission.prepare_for_eval
        if prepare is None:
            return
        state = self._state
        last_step = max(state.global_step - 1, 0)
        common = hook_arguments(self._plan.workload, state, self._plan.hyperparameters)
        try:
            with self._clock.preparing_for_eval(lambda: state.device_trees):
                state.optimizer_state, state.params, state.model_state = prepare(
                    rng=self._plan.seeds.step(last_step).prepare_for_eval,
                    eval_results=status.eval_results,
                    **common,
                    **self._constants,
                )
        except UserError as error:
            reraise_from_submission(error)

    def _seconds_to_event(self) -> float:
        """Submission time that is left until the next evaluation or the end of the budget."""
        elapsed_s = self._clock.submission_time_s()
        left_s = self._budget_s - elapsed_s
        return left_s if self._plan.skip_evals else min(left_s, self._schedule.seconds_left(elapsed_s))

    def _step(self, status: LoopStatus) -> None:
        state, now = self._state, self._clock.now
        plan, submission = self._plan, self._submission
        keys = plan.seeds.step(state.global_step)
        self._backend.seed_global(plan.seeds.seed, state.global_step)
        workload, hyperparameters = plan.workload, plan.hyperparameters
        # Spelled out, not as `hook_arguments`: merging dictionaries twice in each step costs 0.6 microseconds.
        try:
            before = now()
            batch = submission.data_selection(
                workload=workload,
                input_queue=self._input_queue,
                optimizer_state=state.optimizer_state,
                current_param_container=state.params,
                model_state=state.model_state,
                hyperparameters=hyperparameters,
                global_step=state.global_step,
                rng=keys.data_selection,
            )
            self._clock.add_data_selection(now() - before)
            requested = {"train_state": MappingProxyType(status.train_state)} if submission.wants_train_state else {}
            state.optimizer_state, state.params, state.model_state = submission.update_params(
                workload=workload,
                current_param_container=state.params,
                current_params_types=self._params_types,
                model_state=state.model_state,
                hyperparameters=hyperparameters,
                batch=batch,
                loss_type=self._loss_type,
                optimizer_state=state.optimizer_state,
                eval_results=status.eval_results,
                global_step=state.global_step,
                rng=keys.update,
                **requested,
            )
        except spec.TrainingCompleteError:
            state.complete = True
        except UserError as error:
            reraise_from_submission(error)
        state.global_step += 1
        status.train_state["last_step_end_time"] = now()
