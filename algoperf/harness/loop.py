"""The timed training loop of one trial.

The order of the steps is the benchmark; do not change it:

1. the keys of step n come from (run seed, n);
2. charged: `data_selection`, then `update_params`;
3. unless an evaluation is due or training is complete, back to 1;
4. charged: fence the device, `prepare_for_eval`, fence; over the budget now means stop without evaluating;
5. paused: evaluate, record, checkpoint;
6. stop on targets reached, out of time, training complete, or failure.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from algoperf import spec
from algoperf.backends.base import Backend
from algoperf.errors import UserError
from algoperf.harness.checkpoint import Checkpointer
from algoperf.harness.clock import Item
from algoperf.harness.failure import LoopResult, RuleViolationError, reraise_from_submission, result_of
from algoperf.harness.hooks import hook_arguments, training_arguments
from algoperf.harness.run_state import RunState
from algoperf.harness.schedule import DeviceSyncSchedule, RankClockSync
from algoperf.harness.seeds import Seeds
from algoperf.harness.signals import StopSignals
from algoperf.records import columns
from algoperf.records.outcome import Outcome
from algoperf.submissions.loading import Submission

_RANK_CLOCK_SLACK = 0.01  # ranks compare clocks about every hundredth of an evaluation period


class Observer(Protocol):
    """Is told what happens, to show it to a person."""

    def update(self, step: int, submission_time_s: float, seconds_to_next_evaluation: float) -> None: ...

    def evaluation(self, step: int, submission_time_s: float, metrics: Mapping[str, float]) -> None: ...


class EvaluateFn(Protocol):
    """Measures the present model on all splits."""

    def __call__(self, params: Any, model_state: Any) -> dict[str, float]: ...


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


@dataclass(frozen=True, kw_only=True)
class LoopPorts:
    """What the loop calls, besides the components of the run state. Without a checkpointer nothing is saved."""

    backend: Backend
    evaluate: EvaluateFn
    observer: Observer
    checkpointer: Checkpointer | None = None


class TrainingLoop:
    """Runs one trial to its typed end. Build it, then call `run` once."""

    def __init__(self, plan: LoopPlan, run_state: RunState, ports: LoopPorts) -> None:
        self.run_state = run_state
        self._plan = plan
        self._state = state = run_state.training
        self._clock = clock = run_state.clock
        self._schedule = schedule = run_state.schedule
        self._stopping = stopping = run_state.stopping
        self._backend = backend = ports.backend
        self._ports = ports
        self._input_queue = run_state.input_queue
        self._workload = plan.workload
        self._param_types = plan.workload.model_params_types
        self._submission = plan.submission
        self._hyperparameters = plan.hyperparameters
        self._seeds = plan.seeds
        self._budget_s = stopping.budget_s
        self._max_steps = plan.max_global_steps
        self._saved_step = state.global_step if state.global_step else -1
        self._eval_results = state.copied_eval_results()
        self._rank_clock = RankClockSync(
            world_size=backend.world_size,
            max_over_ranks=backend.max_over_ranks,
            slack_s=_RANK_CLOCK_SLACK * schedule.period_s,
        )
        self._rank_clock.restart(state.global_step, clock.submission_time_s())
        self._train_state = {
            "validation_goal_reached": stopping.validation_goal_reached,
            "test_goal_reached": stopping.test_goal_reached,
            "is_time_remaining": True,
            "last_eval_time": schedule.last_s or 0,
            "training_complete": False,
            columns.SUBMISSION_TIME: clock.submission_time_s(),
            columns.EVALUATION_TIME: clock.seconds(Item.EVALUATION),
            columns.LOGGING_TIME: clock.seconds(Item.LOGGING),
            "last_step_end_time": None,
        }

    @property
    def _is_complete(self) -> bool:
        """Whether the submission said so or the step limit is reached."""
        state, max_steps = self._state, self._max_steps
        return state.complete or (max_steps is not None and state.global_step >= max_steps)

    def run(self, stop: StopSignals | None = None) -> LoopResult:
        """Trains until a typed end. A failure of the submission, whatever it raises, is an outcome, not an exception.

        Args:
          stop: takes the signals that ask to stop; None takes them for the time of the call.

        Raises:
          UserError: a log or a checkpoint cannot be written; what was saved before is untouched.
        """
        if stop is None:
            with StopSignals() as stop:
                return self.run(stop)
        with stop.deferred():
            try:
                self.run_state.pauses.training_begins()
                out_of_time = self._clock.submission_time_s() >= self._budget_s
                outcome = self._stopping.outcome(complete=self._is_complete, out_of_time=out_of_time)
                while outcome is None:
                    self._train_until_due(stop)
                    outcome = self._pause_and_evaluate(stop)
                return LoopResult(outcome=outcome)
            except BaseException as error:  # a submission may call sys.exit
                result = result_of(error, self._backend, stop)
                if result is None:
                    raise
                return result

    def _train_until_due(self, stop: StopSignals) -> None:
        """Charged: steps until an evaluation is due, the budget is spent, training is complete or a signal came."""
        clock, state, rank_clock, observer = self._clock, self._state, self._rank_clock, self._ports.observer
        evaluates = not self._plan.skip_evals
        clock.start_steps()
        device_sync = DeviceSyncSchedule(state.global_step, clock.submission_time_s())
        while True:
            self._step()
            complete = self._is_complete
            if device_sync.is_due(state.global_step):
                clock.wait(state.device_trees)
                device_sync.taken(state.global_step, clock.submission_time_s(), self._seconds_to_event())
            elapsed_s = clock.submission_time_s()
            self._train_state[columns.SUBMISSION_TIME] = elapsed_s
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

    def _seconds_to_event(self) -> float:
        """Submission time that is left until the next evaluation or the end of the budget."""
        elapsed_s = self._clock.submission_time_s()
        left_s = self._budget_s - elapsed_s
        return left_s if self._plan.skip_evals else min(left_s, self._schedule.seconds_left(elapsed_s))

    def _step(self) -> None:
        state, now = self._state, self._clock.now
        submission = self._submission
        keys = self._seeds.step(state.global_step)
        self._backend.seed_global(self._seeds.seed, state.global_step)
        common = hook_arguments(self._workload, state, self._hyperparameters)
        try:
            before = now()
            batch = submission.data_selection(input_queue=self._input_queue, rng=keys.data_selection, **common)
            self._clock.add_data_selection(now() - before)
            requested: dict[str, Any] = {}
            if submission.wants_train_state:
                requested["train_state"] = MappingProxyType(self._train_state)
            state.optimizer_state, state.params, state.model_state = submission.update_params(
                batch=batch,
                rng=keys.update,
                **self._training_arguments(common),
                **requested,
            )
        except spec.TrainingCompleteError:
            state.complete = True
        except UserError as error:
            reraise_from_submission(error)
        state.global_step += 1
        self._train_state["last_step_end_time"] = now()

    def _training_arguments(self, common: Mapping[str, Any]) -> dict[str, Any]:
        return training_arguments(
            self._workload, common, params_types=self._param_types, eval_results=self._eval_results
        )

    def _pause_and_evaluate(self, stop: StopSignals) -> Outcome | None:
        state, clock = self._state, self._clock
        submission_time_s = clock.submission_time_s()
        stopped = self._rank_clock.any_rank(stop.is_set())
        evaluates = not self._plan.skip_evals
        due = evaluates and (self._is_complete or self._schedule.is_due(submission_time_s))
        if due and not stopped:
            self._prepare_for_eval()
            submission_time_s = clock.submission_time_s()
        out_of_time = submission_time_s >= self._budget_s
        self._train_state["is_time_remaining"] = not out_of_time
        self._train_state[columns.SUBMISSION_TIME] = submission_time_s
        with self.run_state.pauses.watching():
            if due and not stopped and not out_of_time:
                self._evaluate_and_record(submission_time_s)
            outcome = self._stopping.outcome(complete=self._is_complete, out_of_time=out_of_time)
            self._train_state["training_complete"] = outcome is not None
            if outcome is None and stopped:
                outcome = Outcome.INTERRUPTED
            if due or outcome is not None:
                self._save_checkpoint()
        violations = self.run_state.pauses.summary.errors
        if self._plan.strict_guards and violations:
            raise RuleViolationError(violations[0])
        self._rank_clock.restart(state.global_step, clock.submission_time_s())
        return outcome

    def _prepare_for_eval(self) -> None:
        prepare = self._submission.prepare_for_eval
        if prepare is None:
            return
        state = self._state
        last_step = max(state.global_step - 1, 0)
        try:
            with self._clock.preparing_for_eval(lambda: state.device_trees):
                state.optimizer_state, state.params, state.model_state = prepare(
                    rng=self._seeds.step(last_step).prepare_for_eval,
                    **self._training_arguments(hook_arguments(self._workload, state, self._hyperparameters)),
                )
        except UserError as error:
            reraise_from_submission(error)

    def _evaluate_and_record(self, submission_time_s: float) -> None:
        state, clock = self._state, self._clock
        with clock.paused_for(Item.EVALUATION):
            metrics = self._evaluate_with_one_retry()
        self._stopping.evaluated(metrics)
        self._schedule.evaluated(submission_time_s)
        row = {
            **metrics,
            columns.SCORE: submission_time_s,
            columns.TOTAL_DURATION: sum(clock.ledger_s().values()),
            columns.SUBMISSION_TIME: submission_time_s,
            columns.EVALUATION_TIME: clock.seconds(Item.EVALUATION),
            columns.LOGGING_TIME: clock.seconds(Item.LOGGING),
            columns.PREEMPTION_COUNT: self.run_state.preemption_count,
        }
        state.eval_results.append((state.global_step, dict(row)))
        with clock.paused_for(Item.LOGGING):
            self._eval_results = state.copied_eval_results()
            self.run_state.recorder.append_evaluation(row, state.global_step)
            self._ports.observer.evaluation(state.global_step, submission_time_s, metrics)
        self._train_state |= {
            "validation_goal_reached": self._stopping.validation_goal_reached,
            "test_goal_reached": self._stopping.test_goal_reached,
            "last_eval_time": clock.now(),
            columns.EVALUATION_TIME: clock.seconds(Item.EVALUATION),
            columns.LOGGING_TIME: clock.seconds(Item.LOGGING),
        }

    def _evaluate_with_one_retry(self) -> dict[str, float]:
        """Evaluates; out of device memory frees caches and tries once more."""
        state = self._state
        try:
            return self._ports.evaluate(state.params, state.model_state)
        except Exception as error:
            if not self._backend.is_out_of_memory(error):
                raise
        self._backend.reset_memory()
        return self._ports.evaluate(state.params, state.model_state)

    def _save_checkpoint(self) -> None:
        """Paused: writes everything that a resumed process needs, once for each step."""
        checkpointer, step = self._ports.checkpointer, self._state.global_step
        if checkpointer is None or self._saved_step == step:
            return
        with self._clock.paused_for(Item.CHECKPOINT):
            checkpointer.save(step, self.run_state)
        self._saved_step = step
