"""The timed training loop of one trial.

The order of the steps is the benchmark; do not change it:

1. the keys of step n come from (run seed, n);
2. charged: `data_selection`, then `update_params`;
3. unless an evaluation is due or training is complete, back to 1;
4. charged: fence the device, `prepare_for_eval`, fence; over the budget now means stop without evaluating;
5. paused: evaluate, record, checkpoint;
6. stop on targets reached, out of time, training complete, or failure.
"""

from algoperf.harness.clock import Item
from algoperf.harness.failure import LoopResult, RuleViolationError, result_of
from algoperf.harness.run_state import RunState
from algoperf.harness.schedule import RankClockSync
from algoperf.harness.signals import StopSignals
from algoperf.harness.trainer import (
    EvaluateFn,
    InProcessTrainer,
    LoopPlan,
    LoopPorts,
    LoopStatus,
    Observer,
    Trainer,
)
from algoperf.records import columns
from algoperf.records.outcome import Outcome

__all__ = ["EvaluateFn", "LoopPlan", "LoopPorts", "Observer", "TrainingLoop"]

_RANK_CLOCK_SLACK = 0.01  # ranks compare clocks about every hundredth of an evaluation period


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
        self._budget_s = stopping.budget_s
        self._saved_step = state.global_step if state.global_step else -1
        self._rank_clock = RankClockSync(
            world_size=backend.world_size,
            max_over_ranks=backend.max_over_ranks,
            slack_s=_RANK_CLOCK_SLACK * schedule.period_s,
        )
        self._rank_clock.restart(state.global_step, clock.submission_time_s())
        train_state = {
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
        self._status = LoopStatus(train_state=train_state, eval_results=state.copied_eval_results())
        self._trainer: Trainer = ports.trainer or InProcessTrainer(plan, run_state, backend, self._rank_clock)

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
                outcome = self._stopping.outcome(complete=self._plan.is_complete(self._state), out_of_time=out_of_time)
                while outcome is None:
                    self._trainer.train_until_due(self._status, stop, self._ports.observer)
                    outcome = self._pause_and_evaluate(stop)
                return LoopResult(outcome=outcome)
            except BaseException as error:  # a submission may call sys.exit
                result = result_of(error, self._backend, stop)
                if result is None:
                    raise
                self._clock.end_segment()
                return result

    def _pause_and_evaluate(self, stop: StopSignals) -> Outcome | None:
        state, clock = self._state, self._clock
        submission_time_s = clock.submission_time_s()
        stopped = self._rank_clock.any_rank(stop.is_set())
        evaluates = not self._plan.skip_evals
        due = evaluates and (self._plan.is_complete(self._state) or self._schedule.is_due(submission_time_s))
        if due and not stopped:
            self._trainer.prepare_for_eval(self._status)
            submission_time_s = clock.submission_time_s()
        out_of_time = submission_time_s >= self._budget_s
        self._status.train_state["is_time_remaining"] = not out_of_time
        self._status.train_state[columns.SUBMISSION_TIME] = submission_time_s
        self._trainer.rest()
        with self.run_state.pauses.watching():
            if due and not stopped and not out_of_time:
                self._evaluate_and_record(submission_time_s)
            outcome = self._stopping.outcome(complete=self._plan.is_complete(self._state), out_of_time=out_of_time)
            self._status.train_state["training_complete"] = outcome is not None
            if outcome is None and stopped:
                outcome = Outcome.INTERRUPTED
            if due or outcome is not None:
                self._save_checkpoint()
        violations = self.run_state.pauses.summary.errors
        if self._plan.strict_guards and violations:
            raise RuleViolationError(violations[0])
        self._rank_clock.restart(state.global_step, clock.submission_time_s())
        return outcome

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
            self._status.eval_results = state.copied_eval_results()
            self.run_state.recorder.append_evaluation(row, state.global_step)
            self._ports.observer.evaluation(state.global_step, submission_time_s, metrics)
        self._status.train_state |= {
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
