"""The submission clock: what is charged, what is not, and that it adds up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.harness.clock import CHARGED, Clock, ClockError, Item, StepCostClock
from algoperf.testing import FakeClock


def make_clock(time: FakeClock, **kwargs) -> Clock:
    return Clock(fence=kwargs.pop("fence", lambda *trees: None), now=time, **kwargs)


def test_data_selection_is_split_off_the_update():
    time = FakeClock(start_s=100.0)
    clock = make_clock(time)
    clock.start_steps()
    time.advance(3.0)
    clock.add_data_selection(3.0)
    time.advance(5.0)
    clock.stop_steps()
    assert clock.seconds(Item.DATA_SELECTION) == 3.0
    assert clock.seconds(Item.UPDATE) == 5.0
    assert clock.submission_time_s() == 8.0


def test_queued_device_work_is_charged_to_the_submission():
    time = FakeClock(start_s=100.0)
    clock = make_clock(time, fence=lambda *trees: time.advance(4.0))
    clock.start_steps()
    time.advance(1.0)
    clock.stop_steps()
    with clock.paused_for(Item.EVALUATION):
        time.advance(10.0)
    assert clock.seconds(Item.UPDATE) == 5.0
    assert clock.seconds(Item.EVALUATION) == 10.0
    assert clock.submission_time_s() == 5.0


def test_work_queued_by_prepare_for_eval_is_charged():
    time = FakeClock(start_s=100.0)
    clock = make_clock(time, fence=lambda *trees: time.advance(2.0))
    with clock.preparing_for_eval():
        time.advance(1.0)
    assert clock.seconds(Item.PREPARE_FOR_EVAL) == 3.0


def test_fence_waits_for_what_prepare_for_eval_returned():
    waited = []
    clock = make_clock(FakeClock(start_s=100.0), fence=lambda *trees: waited.extend(trees))
    result = {}
    with clock.preparing_for_eval(lambda: (result,)):
        result["params"] = 1
    assert waited == [{"params": 1}]


def test_a_segment_lasts_as_long_as_on_the_slowest_rank():
    time = FakeClock(start_s=100.0)
    clock = make_clock(time, max_over_ranks=lambda seconds: max(seconds, 7.0))
    clock.start_steps()
    time.advance(2.0)
    clock.stop_steps()
    assert clock.submission_time_s() == 7.0


@pytest.mark.parametrize("item", CHARGED)
def test_charged_items_are_no_pauses(item):
    with pytest.raises(ClockError, match="charged"), make_clock(FakeClock(start_s=100.0)).paused_for(item):
        pass


def test_segments_do_not_nest():
    clock = make_clock(FakeClock(start_s=100.0))
    with clock.paused_for(Item.EVALUATION):
        with pytest.raises(ClockError, match="do not nest"):
            clock.start_steps()
        with pytest.raises(ClockError, match="do not nest"), clock.paused_for(Item.LOGGING):
            pass
    clock.start_steps()
    with pytest.raises(ClockError, match="do not nest"), clock.paused_for(Item.CHECKPOINT):
        pass
    clock.stop_steps()
    with pytest.raises(ClockError, match="start_steps first"):
        clock.stop_steps()


def test_an_exception_inside_a_pause_is_booked_and_ends_the_pause():
    time = FakeClock(start_s=100.0)
    clock = make_clock(time)

    def fail() -> None:
        with clock.paused_for(Item.EVALUATION):
            time.advance(2.0)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert clock.seconds(Item.EVALUATION) == 2.0
    clock.start_steps()


SEGMENTS = st.lists(
    st.tuples(
        st.sampled_from(["steps", "prepare", Item.EVALUATION, Item.CHECKPOINT, Item.LOGGING]),
        st.floats(0, 1000),
        st.floats(0, 1),
        st.floats(0, 10),
    )
)


@given(segments=SEGMENTS)
def test_items_add_up_to_wall_time(segments):
    time = FakeClock(start_s=100.0)
    clock = make_clock(time)
    charged = 0.0
    for kind, seconds, selection_share, gap in segments:
        time.advance(gap)
        if kind == "steps":
            clock.start_steps()
            clock.add_data_selection(selection_share * seconds)
            time.advance(seconds)
            clock.stop_steps()
            charged += seconds
        elif kind == "prepare":
            with clock.preparing_for_eval():
                time.advance(seconds)
            charged += seconds
        else:
            with clock.paused_for(kind):
                time.advance(seconds)
    ledger = clock.ledger_s()
    assert sum(ledger.values()) == pytest.approx(time.now_s - 100.0, abs=1e-6)
    assert clock.submission_time_s() == pytest.approx(charged, abs=1e-6)
    assert min(ledger.values()) >= 0


def test_seconds_before_the_clock_was_made_are_in_the_ledger():
    clock = make_clock(FakeClock(start_s=100.0), earlier_s={Item.IMPORT_SUBMISSION: 3.0})
    assert clock.ledger_s()["import_submission"] == sum(clock.ledger_s().values()) == 3.0
    assert clock.submission_time_s() == 0.0


@given(
    segments=SEGMENTS, cuts=st.sets(st.integers(0, 20), max_size=3), set_ups_s=st.lists(st.floats(0, 100), min_size=3)
)
def test_items_add_up_to_the_wall_time_of_all_processes(segments, cuts, set_ups_s):
    """Each process sets up before it takes over what the one before it saved last."""
    time = FakeClock(start_s=100.0)
    clock = make_clock(time)
    set_ups = iter(set_ups_s)
    charged = set_up_s = 0.0
    for index, (_, seconds, _, _) in enumerate(segments):
        if index in cuts:
            saved = clock.state_dict()
            clock = make_clock(time)
            set_up_s += (now_s := next(set_ups))
            with clock.paused_for(Item.INIT_OPTIMIZER_STATE):
                time.advance(now_s)
            clock.load_state_dict(saved)
        clock.start_steps()
        time.advance(seconds)
        clock.stop_steps()
        charged += seconds
    assert clock.submission_time_s() == pytest.approx(charged, abs=1e-6)
    assert clock.seconds(Item.INIT_OPTIMIZER_STATE) == pytest.approx(set_up_s, abs=1e-6)
    assert sum(clock.ledger_s().values()) == pytest.approx(time.now_s - 100.0, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 20), st.floats(0.0, 50.0), st.booleans()), max_size=8))
def test_stated_costs_are_charged_whatever_time_passes(segments):
    time = FakeClock(start_s=100.0)
    clock = StepCostClock(
        step_s=0.5, prepare_for_eval_s=0.25, fence=lambda *trees: time.advance(1.0), now=time, earlier_s={}
    )
    steps = preparations = 0
    for count, pause_s, prepares in segments:
        clock.start_steps()
        for _ in range(count):
            time.advance(3.0)
            clock.add_data_selection(1.0)
            steps += 1
            assert clock.submission_time_s() == 0.5 * steps + 0.25 * preparations
        clock.stop_steps()
        if prepares:
            with clock.preparing_for_eval():
                time.advance(7.0)
            preparations += 1
        with clock.paused_for(Item.EVALUATION):
            time.advance(pause_s)
    assert clock.seconds(Item.UPDATE) == 0.5 * steps
    assert clock.seconds(Item.PREPARE_FOR_EVAL) == 0.25 * preparations
    assert clock.seconds(Item.DATA_SELECTION) == 0.0
    assert clock.seconds(Item.EVALUATION) == pytest.approx(sum(pause_s for _, pause_s, _ in segments))
