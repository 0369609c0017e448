"""What a submission changes in the benchmark is named at the next pause; an honest run changes nothing."""

import gc
import signal
import sys
import time
from pathlib import Path

import pytest

import algoperf.harness.schedule as schedule_module
from algoperf.harness.clock import Clock, Item
from algoperf.harness.guards import Guard
from algoperf.harness.pauses import PauseMonitor
from algoperf.harness.pinned_code import PinnedCode
from algoperf.harness.schedule import EvaluationSchedule


@pytest.fixture
def clock() -> Clock:
    return Clock(fence=lambda *trees: None)


@pytest.fixture
def guard(clock: Clock) -> Guard:
    guard = Guard(PinnedCode(["algoperf"]), ["algoperf"])
    guard.watch(clock)
    return guard


def test_nothing_was_changed(guard: Guard, clock: Clock) -> None:
    guard.add(EvaluationSchedule(period_s=1.0))
    guard.pause_ends()
    clock.start_steps()
    clock.stop_steps()
    assert guard.pause_begins() == []


def test_a_function_of_the_benchmark_that_is_replaced_is_named(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule_module.EvaluationSchedule, "is_due", lambda self, time_s: False)
    [violation] = guard.pause_begins()
    assert violation == "C4: replaced: algoperf.harness.schedule.EvaluationSchedule.is_due"


def test_other_code_in_a_function_is_named(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Clock.submission_time_s, "__code__", (lambda self: 0.0).__code__)
    [violation] = guard.pause_begins()
    assert violation == "C4: replaced: algoperf.harness.clock.Clock.submission_time_s"


def test_functions_on_an_object_itself_are_named(guard: Guard, clock: Clock) -> None:
    clock.now = lambda: 0.0
    schedule = EvaluationSchedule(period_s=1.0)
    guard.add(schedule)
    schedule.is_due = lambda time_s: False
    assert guard.pause_begins() == ["C4: replaced: Clock.now, EvaluationSchedule.is_due"]


def test_time_that_is_taken_out_of_the_clock_is_named(guard: Guard, clock: Clock) -> None:
    guard.pause_ends()
    clock.start_steps()
    time.sleep(0.5)
    clock._mark += 0.5
    clock.stop_steps()
    [violation] = guard.pause_begins()
    assert violation.startswith("C4: 0.5 s passed between two pauses, and the clock charged 0.")


def test_time_after_the_training_is_nobodys(guard: Guard, clock: Clock) -> None:
    guard.pause_ends()
    guard.training_ends()
    time.sleep(0.4)
    assert guard.pause_begins() == []


def test_time_that_is_moved_to_an_item_that_is_not_charged_is_named(guard: Guard, clock: Clock) -> None:
    guard.pause_ends()
    clock.start_steps()
    time.sleep(0.5)
    clock.stop_steps()
    moved_s, clock._seconds[Item.UPDATE] = clock._seconds[Item.UPDATE], 0.0
    clock._seconds[Item.EVALUATION] += moved_s
    clock._charged_s = 0.0
    assert any(violation.startswith("C4: 0.5 s passed") for violation in guard.pause_begins())


def test_what_runs_by_itself_is_named(guard: Guard) -> None:
    def callback(phase: str, info: dict) -> None: ...

    before = sys.getprofile()
    gc.callbacks.append(callback)
    sys.setprofile(lambda *event: None)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1000)
    try:
        [violation] = guard.pause_begins()
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        sys.setprofile(before)
        gc.callbacks.remove(callback)
    assert violation.startswith("C5: left in the interpreter: gc callback ")
    assert "sys.setprofile" in violation
    assert "timer" in violation
    assert guard.pause_begins() == []


def test_a_pause_records_each_violation_once_and_a_resumed_run_keeps_it(guard: Guard, clock: Clock) -> None:
    clock.now = time.perf_counter
    monitor = PauseMonitor(guard=guard)
    for _ in range(2):
        with monitor.watching():
            pass
    assert list(monitor.summary.violations) == ["C4: replaced: Clock.now"]
    resumed = PauseMonitor()
    resumed.load_state_dict(monitor.state_dict())
    assert list(resumed.summary.errors) == ["C4: replaced: Clock.now"]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.jax
def test_a_run_records_a_violation_and_ends_at_it_where_asked(
    tmp_path: Path, strict: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from algoperf.registry import Registry
    from algoperf.runner import driver
    from algoperf.runner.run_config import RunConfig

    original = schedule_module.EvaluationSchedule.is_due
    monkeypatch.setattr(schedule_module.EvaluationSchedule, "is_due", original)  # is put back at the end
    honest = Path(__file__).resolve().parents[1] / "runner/submissions/jax_sgd.py"
    patch = "schedule.EvaluationSchedule.is_due = lambda self, time_s: self.last_s is None"
    text = honest.read_text().replace("    del model_state, rng\n", f"    {patch}\n")
    (tmp_path / "hostile.py").write_text(
        text.replace("import functools\n", "from algoperf.harness import schedule\nimport functools\n")
    )
    config = RunConfig.from_flags(
        {
            "workload": "toy_mini",
            "framework": "jax",
            "submission_path": str(tmp_path / "hostile.py"),
            "tuning_ruleset": "self",
            "experiment_dir": str(tmp_path / "experiments"),
            "data_dir": str(tmp_path / "data"),
            "max_global_steps": 5,
            "use_tensorboard": False,
            "save_checkpoints": False,
            "strict_guards": strict,
        }
    )
    registry = Registry(("algoperf.testing.toy_workload",))
    [result] = driver.run(config, registry=registry, report=lambda message: None)
    [violation] = result.record.pauses.violations
    assert violation == "C4: replaced: algoperf.harness.schedule.EvaluationSchedule.is_due"
    assert (result.outcome, result.record.global_step) == (("rule_violation", 1) if strict else ("completed", 5))
    assert (result.record.error == violation) is strict
