"""The timed loop: the order of its steps, what is charged, and how it ends."""

import dataclasses
import itertools
import math
import os
import signal
from types import SimpleNamespace

import pytest

from algoperf import spec
from algoperf.definition import EXTERNAL, SELF_TUNING, Budget, ReferenceBudget
from algoperf.harness.checkpoint import Checkpointer
from algoperf.harness.clock import Clock, Item
from algoperf.harness.loop import LoopPlan, LoopPorts, TrainingLoop
from algoperf.harness.run_state import RunState, TrainingState
from algoperf.harness.schedule import EvaluationSchedule
from algoperf.harness.seeds import Seeds
from algoperf.harness.stopping import Stopping
from algoperf.records.outcome import Outcome
from algoperf.registry import Registry
from algoperf.testing.fake_backend import FakeBackend
from algoperf.testing.fake_clock import FakeClock

TOY = Registry(("algoperf.testing.toy_workload",)).get("toy_mini")


class Rows:
    """A recorder in memory."""

    def __init__(self) -> None:
        self.evaluations: list[tuple[int, dict]] = []

    def append_evaluation(self, row, global_step):
        self.evaluations.append((global_step, dict(row)))

    def state_dict(self):
        return {"rows": {"eval_measurements.csv": len(self.evaluations)}}

    def load_state_dict(self, state):
        del self.evaluations[state["rows"]["eval_measurements.csv"] :]


class Queue:
    batches_taken = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.batches_taken += 1
        return {"inputs": self.batches_taken}

    def state_dict(self):
        return {"batches_taken": self.batches_taken}

    def load_state_dict(self, state):
        self.batches_taken = state["batches_taken"]


class Watcher:
    def __init__(self):
        self.seconds_to_next_evaluation = []

    def update(self, step, submission_time_s, seconds_to_next_evaluation):
        self.seconds_to_next_evaluation.append(seconds_to_next_evaluation)

    def evaluation(self, step, submission_time_s, metrics):
        pass


class Bench:
    """A loop on fake time; a step takes `step_s` seconds and queues `device_s` of device work."""

    def __init__(
        self, *, step_s=1.0, device_s=0.0, losses=None, ruleset=EXTERNAL, folder=None, limits=None, **changes
    ) -> None:
        self.time = FakeClock()
        self.backend = FakeBackend(sleep=self.time.advance)
        self.calls: list[str] = []
        self.received: dict = {}
        self.step_s, self.device_s = step_s, device_s
        self.losses = iter(losses) if losses is not None else None
        budget = Budget(max_runtime_s=100.0, eval_period_s=10.0, step_hint=100)
        self.definition = dataclasses.replace(TOY, budget=budget, **changes)
        self.rows, self.watcher = Rows(), Watcher()
        self.submission = SimpleNamespace(
            data_selection=self.data_selection,
            update_params=self.update_params,
            prepare_for_eval=None,
            wants_train_state=False,
        )
        self.clock = Clock(fence=self.backend.fence, now=self.time)
        self.workload = SimpleNamespace(
            model_params_types={"w": spec.ParameterType.WEIGHT}, loss_type=self.definition.loss_type
        )
        self.run_state = RunState(
            seed=3,
            training=TrainingState(params=0, model_state=None, optimizer_state=0),
            clock=self.clock,
            stopping=Stopping(definition=self.definition, ruleset=ruleset),
            schedule=EvaluationSchedule(period_s=10.0),
            input_queue=Queue(),
            recorder=self.rows,
        )
        self.state = self.run_state.training
        self.checkpointer = None if folder is None else Checkpointer(folder, self.backend)
        self.limits = limits or {}

    def run(self):
        plan = LoopPlan(
            workload=self.workload,
            submission=self.submission,
            hyperparameters=SimpleNamespace(learning_rate=0.1),
            seeds=Seeds(self.backend, 3),
            **self.limits,
        )
        ports = LoopPorts(
            backend=self.backend, evaluate=self.evaluate, observer=self.watcher, checkpointer=self.checkpointer
        )
        return TrainingLoop(plan, self.run_state, ports).run()

    def data_selection(self, **arguments):
        self.calls.append("data_selection")
        self.time.advance(0.25 * self.step_s)
        return next(arguments["input_queue"])

    def update_params(self, **arguments):
        self.calls.append("update_params")
        self.received = arguments
        self.time.advance(0.75 * self.step_s)
        self.backend.queue_work(self.device_s)
        return arguments["optimizer_state"], arguments["current_param_container"] + 1, arguments["model_state"]

    def prepare_for_eval(self, **arguments):
        self.calls.append("prepare_for_eval")
        self.prepared = arguments
        self.time.advance(2.0)
        self.backend.queue_work(self.device_s)
        return arguments["optimizer_state"], arguments["current_param_container"] + 1000, arguments["model_state"]

    def evaluate(self, params, model_state):
        self.calls.append("evaluate")
        self.time.advance(50.0)
        loss = next(self.losses, 1.0) if self.losses is not None else 1.0
        if isinstance(loss, Exception):
            raise loss
        return {f"{split}/loss": loss for split in ("train", "validation", "test")}


def test_the_first_step_and_then_every_period_is_evaluated():
    bench = Bench(limits={"max_global_steps": 25})
    result = bench.run()
    assert result.outcome is Outcome.COMPLETED
    assert [step for step, _ in bench.rows.evaluations] == [1, 11, 21, 25]
    assert bench.calls[:3] == ["data_selection", "update_params", "evaluate"]


def test_evaluation_is_not_charged_and_the_row_says_when_it_was():
    bench = Bench(limits={"max_global_steps": 11})
    bench.run()
    assert bench.clock.submission_time_s() == pytest.approx(11.0)
    assert bench.clock.seconds(Item.EVALUATION) == pytest.approx(100.0)
    assert bench.clock.seconds(Item.DATA_SELECTION) == pytest.approx(0.25 * 11)
    assert [row["score"] for _, row in bench.rows.evaluations] == pytest.approx([1.0, 11.0])
    assert bench.rows.evaluations[1][1]["accumulated_eval_time"] == pytest.approx(100.0)
    assert sum(bench.clock.ledger_s().values()) == pytest.approx(bench.time())


def test_queued_work_is_charged_before_the_evaluation_begins():
    bench = Bench(device_s=0.5, limits={"max_global_steps": 1})
    bench.run()
    assert bench.rows.evaluations[0][1]["score"] == pytest.approx(1.5)
    assert bench.clock.seconds(Item.EVALUATION) == pytest.approx(50.0)
    assert bench.backend.events.index("fence") == 0


def test_evaluations_come_when_due_however_far_dispatch_runs_ahead():
    bench = Bench(step_s=0.001, device_s=1.0, limits={"max_global_steps": 41})
    bench.run()
    times = [row["score"] for _, row in bench.rows.evaluations]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert len(gaps) >= 3
    assert all(10.0 <= gap <= 11.1 for gap in gaps[:-1]), gaps


def test_the_budget_ends_the_run_however_far_dispatch_runs_ahead():
    bench = Bench(step_s=0.001, device_s=1.0)
    result = bench.run()
    assert result.outcome is Outcome.OUT_OF_TIME
    assert 100.0 <= bench.clock.submission_time_s() <= 101.1


def test_prepare_for_eval_is_charged_and_its_result_is_trained_on():
    bench = Bench(device_s=0.5, limits={"max_global_steps": 2})
    bench.submission.prepare_for_eval = bench.prepare_for_eval
    bench.run()
    assert bench.calls == ["data_selection", "update_params", "prepare_for_eval", "evaluate"] * 1 + [
        "data_selection",
        "update_params",
        "prepare_for_eval",
        "evaluate",
    ]
    assert bench.clock.seconds(Item.PREPARE_FOR_EVAL) == pytest.approx(5.0)
    assert bench.received["current_param_container"] == 1001
    assert "batch" not in bench.prepared
    assert "train_state" not in bench.prepared


def test_no_evaluation_beyond_the_budget():
    bench = Bench(step_s=7.0)
    result = bench.run()
    assert result.outcome is Outcome.OUT_OF_TIME
    assert bench.clock.submission_time_s() == pytest.approx(105.0)
    assert bench.rows.evaluations[-1][1]["score"] < 100.0


def test_prepare_for_eval_that_uses_up_the_budget_gets_no_evaluation():
    bench = Bench(step_s=1.0, limits={"max_global_steps": 99})
    bench.submission.prepare_for_eval = bench.prepare_for_eval
    result = bench.run()
    assert result.outcome is Outcome.OUT_OF_TIME
    assert all(row["score"] < 100.0 for _, row in bench.rows.evaluations)
    assert bench.calls[-1] != "evaluate"


def test_the_self_tuning_budget_is_half_as_long_again():
    bench = Bench(step_s=7.0, ruleset=SELF_TUNING)
    assert bench.run().outcome is Outcome.OUT_OF_TIME
    assert 150.0 <= bench.clock.submission_time_s() <= 157.0


def test_reaching_both_targets_ends_the_run():
    bench = Bench(losses=[1.0, 0.5, 0.001])
    assert bench.run().outcome is Outcome.REACHED
    assert [step for step, _ in bench.rows.evaluations] == [1, 11, 21]


def test_the_submission_may_end_the_run_and_its_last_call_is_discarded():
    bench = Bench()

    def update(**arguments):
        if arguments["global_step"] == 4:
            raise spec.TrainingCompleteError
        return bench.update_params(**arguments)

    bench.submission.update_params = update
    assert bench.run().outcome is Outcome.COMPLETED
    assert bench.state.params == 4
    assert bench.state.global_step == 5
    assert [step for step, _ in bench.rows.evaluations] == [1, 5]


def test_a_crash_is_an_outcome_with_its_traceback():
    bench = Bench()

    def update(**arguments):
        raise ZeroDivisionError("learning rate")

    bench.submission.update_params = update
    result = bench.run()
    assert result.outcome is Outcome.CRASHED
    assert "ZeroDivisionError: learning rate" in result.error
    with bench.run_state.clock.paused_for(Item.CALIBRATION):  # a pause may follow at once
        pass


def test_out_of_memory_in_training_is_typed_and_frees_memory():
    bench = Bench()

    def update(**arguments):
        raise MemoryError

    bench.submission.update_params = update
    assert bench.run().outcome is Outcome.OUT_OF_MEMORY
    assert "reset_memory" in bench.backend.events


def test_out_of_memory_in_evaluation_is_retried_once():
    bench = Bench(losses=[MemoryError(), 0.5], limits={"max_global_steps": 1})
    assert bench.run().outcome is Outcome.COMPLETED
    assert [row["validation/loss"] for _, row in bench.rows.evaluations] == [0.5]
    again = Bench(losses=[MemoryError(), MemoryError()], limits={"max_global_steps": 1})
    assert again.run().outcome is Outcome.OUT_OF_MEMORY


def test_a_run_that_stays_not_finite_has_diverged():
    bench = Bench(losses=[1.0, math.nan, math.nan, 1.0])
    assert bench.run().outcome is Outcome.DIVERGED
    assert len(bench.rows.evaluations) == 3


def test_skipped_evaluations_still_keep_the_budget():
    bench = Bench(step_s=7.0, limits={"skip_evals": True})
    assert bench.run().outcome is Outcome.OUT_OF_TIME
    assert bench.rows.evaluations == []
    assert set(bench.watcher.seconds_to_next_evaluation) == {math.inf}


def test_a_signal_ends_the_run_between_steps():
    bench = Bench()

    def update(**arguments):
        if arguments["global_step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return bench.update_params(**arguments)

    bench.submission.update_params = update
    result = bench.run()
    assert result.outcome is Outcome.INTERRUPTED
    assert bench.state.global_step in (4, 5)


def test_train_state_is_given_on_request_and_read_only():
    bench = Bench(limits={"max_global_steps": 11})
    bench.submission.wants_train_state = True
    bench.run()
    state = bench.received["train_state"]
    assert set(state) == {
        "validation_goal_reached",
        "test_goal_reached",
        "is_time_remaining",
        "last_eval_time",
        "training_complete",
        "accumulated_submission_time",
        "accumulated_eval_time",
        "accumulated_logging_time",
        "last_step_end_time",
    }
    assert state["accumulated_eval_time"] == pytest.approx(100.0)
    with pytest.raises(TypeError):
        state["is_time_remaining"] = False


def test_submissions_get_the_results_of_all_evaluations():
    bench = Bench(losses=[0.9, 0.8, 0.7], limits={"max_global_steps": 25})
    bench.run()
    seen = bench.received["eval_results"]
    assert [(step, metrics["validation/loss"]) for step, metrics in seen][:3] == [(1, 0.9), (11, 0.8), (21, 0.7)]


def test_results_that_a_submission_changes_are_changed_for_nobody_else():
    bench = Bench(losses=[0.9, 0.8, 0.7, 0.6], limits={"max_global_steps": 25})
    update = bench.submission.update_params

    def meddle(**arguments):
        results = arguments["eval_results"]
        for _, row in results:
            row["validation/loss"] = 0.0
        results.append((0, {}))
        return update(**arguments)

    bench.submission.update_params = meddle
    bench.run()
    recorded = [(step, row["validation/loss"]) for step, row in bench.state.eval_results]
    assert [loss for _, loss in recorded] == [0.9, 0.8, 0.7, 0.6]
    assert [row["validation/loss"] for _, row in bench.rows.evaluations] == [0.9, 0.8, 0.7, 0.6]
    assert bench.run_state.record().training["eval_results"] == bench.state.eval_results


def test_step_keys_depend_on_seed_and_step_only():
    backend = FakeBackend()
    one, other = Seeds(backend, 7), Seeds(backend, 7)
    assert (one.step(700).update == other.step(700).update).all()
    assert not (one.step(700).update == one.step(701).update).all()
    assert not (one.step(700).update == Seeds(backend, 8).step(700).update).all()
    assert not (one.step(0).update == one.step(0).data_selection).all()
    assert Seeds(backend, -1).data != Seeds(backend, 1).data


def test_a_run_that_is_restored_ends_as_one_that_was_left_alone(tmp_path):
    losses = [0.9, 0.8, 0.7, 0.6, 0.5]
    alone = Bench(losses=losses, limits={"max_global_steps": 35})
    alone.run()
    first = Bench(losses=losses, folder=tmp_path, limits={"max_global_steps": 21})
    first.run()
    second = Bench(losses=losses[3:], folder=tmp_path, limits={"max_global_steps": 35})
    second.rows.evaluations = [*first.rows.evaluations, (22, {"loss": 0.0})]
    found = second.checkpointer.restore(second.run_state)
    assert found.checkpoint.step == second.state.global_step == 21
    assert second.run_state.preemption_count == 1
    second.run()
    assert second.state.params == alone.state.params == 35
    assert second.received["batch"] == alone.received["batch"]
    assert [step for step, _ in second.rows.evaluations] == [step for step, _ in alone.rows.evaluations]
    assert [row["score"] for _, row in second.rows.evaluations] == pytest.approx([1.0, 11.0, 21.0, 31.0, 35.0])
    assert [step for step, _ in second.state.eval_results] == [step for step, _ in alone.state.eval_results]
    assert second.clock.submission_time_s() == pytest.approx(35.0)


@pytest.mark.parametrize("slowdown", [0.5, 4.0])
def test_a_budget_of_reference_steps_gives_the_same_run_on_a_slower_machine(slowdown):
    declared = ReferenceBudget(
        max_runtime_s=100.0,
        eval_period_s=10.0,
        step_hint=100,
        max_runtime_steps=50,
        eval_period_steps=8,
        target_steps=40,
    )

    def evaluated_steps(step_s):
        bench = Bench(step_s=step_s)
        budget = declared.at_cost(step_s)
        bench.run_state.stopping.definition = dataclasses.replace(TOY, budget=budget)
        bench.run_state.schedule.period_s = budget.eval_period_s
        return bench.run().outcome, [step for step, _ in bench.rows.evaluations]

    assert evaluated_steps(slowdown) == evaluated_steps(1.0) == (Outcome.OUT_OF_TIME, [1, 9, 17, 25, 33, 41, 49])
