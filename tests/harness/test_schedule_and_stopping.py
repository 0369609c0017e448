"""When evaluations are due, how ranks agree, and when a run is over."""

import bisect
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import EXTERNAL, SELF_TUNING, Direction, MetricSpec
from algoperf.harness.schedule import DeviceSyncSchedule, EvaluationSchedule, RankClockSync
from algoperf.harness.stopping import Stopping
from algoperf.records.outcome import Outcome
from algoperf.registry import REGISTRY


def test_the_first_step_is_always_evaluated():
    schedule = EvaluationSchedule(period_s=60.0)
    assert schedule.is_due(0.01)
    schedule.evaluated(0.01)
    assert not schedule.is_due(60.0)
    assert schedule.is_due(60.01)
    assert schedule.seconds_left(40.01) == pytest.approx(20.0)


@given(
    speeds=st.lists(st.floats(0.5, 2.0), min_size=2, max_size=4),
    step_s=st.floats(1e-4, 0.5),
    slack_s=st.floats(0.01, 2.0),
)
def test_ranks_decide_at_the_same_steps_whatever_their_speed(speeds, step_s, slack_s):
    """Each rank sees its own clock; the steps at which they compare must be equal on all."""
    compared_at = []
    num_steps = 200
    clocks = [[step * step_s * speed for step in range(num_steps + 1)] for speed in speeds]
    for rank, _ in enumerate(speeds):
        agreed_steps = []
        current = [0]

        def slowest(value, current=current):
            return max(clock[current[0]] for clock in clocks)

        rank_clock = RankClockSync(world_size=len(speeds), max_over_ranks=slowest, slack_s=slack_s)
        rank_clock.restart(0, 0.0)
        for step in range(1, num_steps + 1):
            current[0] = step
            if rank_clock.time_s(step, clocks[rank][step]) is not None:
                agreed_steps.append(step)
        compared_at.append(agreed_steps)
    assert all(steps == compared_at[0] for steps in compared_at)
    assert compared_at[0][0] == 1
    slowest_step_s = step_s * max(speeds)
    gaps = [b - a for a, b in zip(compared_at[0], compared_at[0][1:], strict=False)]
    assert all(gap == 1 or gap * slowest_step_s <= slack_s * (1 + 1e-6) for gap in gaps)


def next_due_step(device_sync: DeviceSyncSchedule, step: int, last_step: int) -> int:
    """The first step after `step` at which a wait is due; found by bisection, since millions may lie in between."""
    steps = range(step + 1, last_step + 1)
    position = bisect.bisect_left(steps, True, key=device_sync.is_due)
    assert position < len(steps), f"no wait for the device up to step {last_step}"
    return steps[position]


@given(st.floats(1e-4, 3.0), st.floats(0.5, 500.0))
def test_device_syncs_are_few_and_the_event_is_met_within_two_steps(step_s, event_s):
    device_sync, step, taken = DeviceSyncSchedule(0, 0.0), 0, 0
    last_step = math.ceil(event_s / step_s) + 2
    while True:
        step = next_due_step(device_sync, step, last_step)
        taken += 1
        if step * step_s >= event_s:
            break
        device_sync.taken(step, step * step_s, event_s - step * step_s)
    assert step * step_s <= event_s + 2 * step_s
    assert taken <= 4 + math.log2(1 + event_s / step_s)


def test_device_syncs_continue_where_no_time_passes():
    device_sync = DeviceSyncSchedule(0, 0.0)
    device_sync.taken(1, 0.0, 5.0)
    assert not device_sync.is_due(2)
    assert device_sync.is_due(3)


def test_one_process_compares_at_every_step():
    rank_clock = RankClockSync(world_size=1, max_over_ranks=float, slack_s=100.0)
    assert [rank_clock.time_s(step, 0.1 * step) for step in (1, 2, 3)] == pytest.approx([0.1, 0.2, 0.3])


def definition(direction=Direction.MAXIMIZE, test_target=0.8):
    base = REGISTRY.get("mnist_mini")
    return dataclasses.replace(
        base,
        metric=MetricSpec(name="quality", direction=direction),
        validation_target=0.9,
        test_target=test_target,
    )


def row(validation, test=0.0, loss=1.0):
    return {"validation/quality": validation, "test/quality": test, "train/quality": validation, "train/loss": loss}


def test_goals_are_strict_and_sticky():
    stopping = Stopping(definition=definition(), ruleset=EXTERNAL)
    stopping.evaluated(row(0.9, 0.9))
    assert not stopping.validation_goal_reached
    assert stopping.test_goal_reached
    stopping.evaluated(row(0.91, 0.1))
    assert stopping.outcome(complete=False, out_of_time=False) is Outcome.REACHED


def test_minimised_metrics_turn_the_comparison_round():
    stopping = Stopping(definition=definition(Direction.MINIMIZE), ruleset=EXTERNAL)
    stopping.evaluated(row(0.95, 0.95))
    assert stopping.outcome(complete=False, out_of_time=False) is None
    stopping.evaluated(row(0.85, 0.75))
    assert stopping.outcome(complete=False, out_of_time=False) is Outcome.REACHED


def test_without_a_test_target_validation_decides():
    stopping = Stopping(definition=definition(test_target=None), ruleset=EXTERNAL)
    stopping.evaluated({"validation/quality": 0.95, "train/loss": 0.1})
    assert stopping.outcome(complete=False, out_of_time=False) is Outcome.REACHED


def test_a_run_need_not_wait_for_the_test_target():
    stopping = Stopping(definition=definition(), ruleset=EXTERNAL, stop_at_validation_target=True)
    stopping.evaluated(row(0.85, 0.99))
    assert stopping.outcome(complete=False, out_of_time=False) is None
    stopping.evaluated(row(0.95, 0.1))
    assert stopping.outcome(complete=False, out_of_time=False) is Outcome.REACHED


def test_reaching_wins_over_running_out_of_time():
    stopping = Stopping(definition=definition(), ruleset=EXTERNAL)
    stopping.evaluated(row(0.95, 0.95))
    assert stopping.outcome(complete=True, out_of_time=True) is Outcome.REACHED


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_one_bad_evaluation_is_forgiven_two_are_divergence(bad):
    stopping = Stopping(definition=definition(), ruleset=EXTERNAL)
    stopping.evaluated(row(0.1, loss=bad))
    assert stopping.outcome(complete=False, out_of_time=False) is None
    stopping.evaluated(row(0.1))
    stopping.evaluated(row(0.1, loss=bad))
    assert stopping.outcome(complete=False, out_of_time=False) is None
    stopping.evaluated(row(bad))
    assert stopping.outcome(complete=False, out_of_time=False) is Outcome.DIVERGED


def test_a_self_tuning_run_may_recover_from_divergence():
    stopping = Stopping(definition=definition(), ruleset=SELF_TUNING)
    for _ in range(5):
        stopping.evaluated(row(0.1, loss=math.nan))
    assert stopping.outcome(complete=False, out_of_time=False) is None
    assert stopping.outcome(complete=False, out_of_time=True) is Outcome.DIVERGED
    assert stopping.budget_s == 1.5 * definition().budget.max_runtime_s


def test_plain_ends():
    stopping = Stopping(definition=definition(), ruleset=EXTERNAL)
    stopping.evaluated(row(0.5))
    assert stopping.outcome(complete=True, out_of_time=False) is Outcome.COMPLETED
    assert stopping.outcome(complete=False, out_of_time=True) is Outcome.OUT_OF_TIME
