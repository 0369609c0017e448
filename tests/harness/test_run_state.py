"""What a checkpoint holds besides the state on the devices, in this version and in the one before."""

import json
import random
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import EXTERNAL
from algoperf.harness.checkpoint import Checkpointer
from algoperf.harness.clock import Clock, ClockError, Item
from algoperf.harness.run_state import HostRandom, RunState, TrainingState
from algoperf.harness.schedule import EvaluationSchedule
from algoperf.harness.stopping import Stopping
from algoperf.records.recorder import NullRecorder
from algoperf.records.run_state import RunStateRecord, RunStateSchemaError
from algoperf.testing import FakeBackend, FakeClock, toy_registry

TIMES = st.floats(0, 1e9)
ROWS = st.lists(st.tuples(st.integers(0, 10**9), st.dictionaries(st.text(max_size=5), st.floats(), max_size=3)))


class Queue:
    def __init__(self, batches_taken=0):
        self.batches_taken = batches_taken

    def state_dict(self):
        return {"batches_taken": self.batches_taken}

    def load_state_dict(self, state):
        self.batches_taken = state["batches_taken"]


def fresh(**training):
    return RunState(
        seed=7,
        training=TrainingState(params=np.zeros(2), model_state=None, optimizer_state=None, **training),
        clock=Clock(fence=lambda *trees: None, now=FakeClock()),
        stopping=Stopping(definition=toy_registry().get("toy_mini"), ruleset=EXTERNAL),
        schedule=EvaluationSchedule(period_s=10.0),
        input_queue=Queue(),
        recorder=NullRecorder(),
    )


def version_1(run_state):
    """The file as releases before `schema_version` wrote it."""
    nested = run_state.record()
    return {
        **nested.training,
        "seed": nested.seed,
        "data_position": nested.input_queue["batches_taken"],
        "rows": nested.recorder["rows"],
        "preemption_count": nested.preemption_count,
        **nested.stopping,
        "last_evaluation_s": nested.schedule["last_s"],
        "ledger_s": nested.clock["ledger_s"],
        "host_random": dict(nested.host_random),
    }


@given(
    step=st.integers(0, 10**9),
    complete=st.booleans(),
    rows=ROWS,
    ledger=st.dictionaries(st.sampled_from([str(item) for item in Item]), TIMES),
    last_s=st.none() | TIMES,
    reached=st.tuples(st.booleans(), st.booleans()),
    nonfinite=st.integers(0, 5),
    batches=st.integers(0, 10**9),
    preemptions=st.integers(0, 99),
    form=st.sampled_from([lambda state: state.record().as_json(), version_1]),
)
def test_every_component_comes_back_from_the_file(
    step, complete, rows, ledger, last_s, reached, nonfinite, batches, preemptions, form
):
    saved = fresh(global_step=step, complete=complete, eval_results=rows)
    saved.clock.load_state_dict({"ledger_s": ledger})
    saved.schedule.last_s = last_s
    saved.stopping.validation_goal_reached, saved.stopping.test_goal_reached = reached
    saved.stopping.nonfinite_evaluations = nonfinite
    saved.input_queue.batches_taken = batches
    saved.preemption_count = preemptions
    text = json.dumps(form(saved))

    resumed = fresh()
    resumed.restore(RunStateRecord.from_json(json.loads(text), source="checkpoint_1"), saved.training.device_state())
    assert resumed.preemption_count == preemptions + 1
    assert resumed.seed == saved.seed
    expected, got = saved.record().as_json(), resumed.record().as_json()
    del expected["preemption_count"], got["preemption_count"]
    assert json.dumps(got) == json.dumps(expected)


def test_global_generators_continue_where_they_were():
    generators = HostRandom()
    saved = json.loads(json.dumps(generators.state_dict()))
    expected = random.random(), np.random.random(3).tolist()
    generators.load_state_dict(saved)
    assert (random.random(), np.random.random(3).tolist()) == expected


@pytest.mark.parametrize("form", [lambda state: state.record().as_json(), version_1])
def test_a_checkpoint_of_either_version_is_restored(tmp_path, form):
    backend = FakeBackend()
    checkpointer = Checkpointer(tmp_path, backend)
    saved = fresh(global_step=5)
    saved.training.params = np.arange(2.0)
    as_version = SimpleNamespace(as_json=lambda: form(saved))
    checkpointer.save(5, SimpleNamespace(record=lambda: as_version, training=saved.training))
    resumed = fresh()
    assert checkpointer.restore(resumed).checkpoint.step == 5
    assert resumed.training.global_step == 5
    np.testing.assert_array_equal(resumed.training.params, [0.0, 1.0])


def test_a_checkpoint_of_a_later_schema_is_refused_in_one_line(tmp_path):
    checkpointer = Checkpointer(tmp_path, FakeBackend())
    checkpointer.save(4, fresh(global_step=4))
    later = SimpleNamespace(as_json=lambda: {"schema_version": 5})
    checkpointer.save(5, SimpleNamespace(record=lambda: later, training=fresh().training))
    run_state = fresh()
    with pytest.raises(
        RunStateSchemaError, match="checkpoint_5 has the run state schema 5, expected at most 4; resume"
    ):
        checkpointer.restore(run_state)
    assert run_state.training.global_step == 0


@pytest.mark.parametrize("form", [lambda state: state.record().as_json(), version_1])
def test_missing_and_unknown_entries_are_named(form):
    content = form(fresh())
    for name in content.keys() - {"schema_version"}:
        with pytest.raises(ValueError, match=name):
            RunStateRecord.from_json({k: v for k, v in content.items() if k != name}, source="checkpoint_1")
    record = fresh().record().as_json()
    record["clock"]["offset_s"] = 1.0
    with pytest.raises(ValueError, match=r"state of clock: expected \['ledger_s'\], got \['ledger_s', 'offset_s'\]"):
        RunStateRecord.from_json(record, source="checkpoint_1")


def test_a_clock_is_not_restored_inside_a_segment():
    clock = Clock(fence=lambda *trees: None, now=FakeClock())
    clock.start_steps()
    with pytest.raises(ClockError, match="load_state_dict"):
        clock.load_state_dict({"ledger_s": {}})
