"""Reference steps: what they cost here, what becomes of budgets, and what the record of a trial says."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import REGISTRY, SUBMISSIONS, config, rows, run, trial_dir

from algoperf.definition import ReferenceBudget
from algoperf.edition import MatmulPrecision
from algoperf.errors import UserError
from algoperf.prepare import ensure_prepared
from algoperf.records.calibration import StepCost, combined
from algoperf.records.layout import EVALUATIONS
from algoperf.records.step_costs import RelativeStepCost, StepCosts
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY as ALL_WORKLOADS
from algoperf.runner import calibration, step_costs
from algoperf.runner.calibration import CalibrationError, Calibrator, ReferenceProcess
from algoperf.runner.reference_step import measure
from algoperf.runner.step_costs import StepCostsError, StepEnvironment
from algoperf.runner.trial_calibration import TrialCalibration
from algoperf.submissions.loading import load_submission

BUDGET = ReferenceBudget(
    max_runtime_s=60.0, eval_period_s=30.0, step_hint=100, max_runtime_steps=400, eval_period_steps=100, target_steps=50
)
IN_STEPS = REGISTRY.altered({"toy_mini": {"budget": BUDGET}})
TOY = IN_STEPS.get("toy_mini")
positive = st.floats(1e-4, 1e4)
costs = st.builds(StepCost, step_s=positive, spread=st.floats(0.0, 2.0), blocks=st.integers(1, 9))


class Meter:
    """Gives the costs of a list in turn; an exception is raised."""

    def __init__(self, *answers) -> None:
        self.answers = list(answers)

    def measure(self) -> StepCost:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return StepCost(step_s=answer, spread=0.0, blocks=5)

    def close(self) -> None:
        pass


def calibrator(*answers, environment=None, **changes):
    messages: list[str] = []
    fields = {"source": "measured", "meter": Meter(*answers), "environment": environment, "report": messages.append}
    return Calibrator(**{**fields, **changes}), messages


def environment(**changes) -> StepEnvironment:
    here = StepEnvironment.here(TOY, "jax", {"platform": "cpu"})
    return dataclasses.replace(here, **changes)


def costs_file(tmp_path, step_s, framework="pytorch", **changes):
    path = tmp_path / f"costs_{step_s}.json"
    there = environment(framework=framework, machine="another machine", **changes)
    step_costs.remember(path, there, StepCost(step_s=step_s, spread=0.1, blocks=5))
    return str(path)


def test_a_block_lasts_long_enough_and_one_slow_block_does_not_count():
    sizes, seconds = [], iter([1.0, 0.1, 0.4, 0.4, 8.0, 0.4, 0.4])

    def run_steps(steps):
        sizes.append(steps)
        return next(seconds)

    cost = measure(run_steps, blocks=5, block_s=0.4)
    assert sizes == [1, 1, 4, 4, 4, 4, 4]
    assert cost.step_s == pytest.approx(0.1)
    assert cost.spread > 1.0


@given(st.lists(costs, min_size=1, max_size=4), positive)
def test_the_cost_of_a_trial_scales_with_the_machine_and_its_spread_does_not(measured, factor):
    step_s, spread = combined(measured)
    slower = [dataclasses.replace(cost, step_s=factor * cost.step_s) for cost in measured]
    assert combined(slower) == (pytest.approx(factor * step_s), pytest.approx(spread))
    assert min(c.step_s for c in measured) <= step_s * (1 + 1e-9)
    assert step_s <= max(c.step_s for c in measured) * (1 + 1e-9)


@given(st.floats(1.01, 100.0))
def test_drift_between_start_and_end_widens_the_spread(drift):
    start = StepCost(step_s=1.0, spread=0.1, blocks=5)
    _, steady = combined([start, start])
    _, drifting = combined([start, dataclasses.replace(start, step_s=drift)])
    assert drifting == pytest.approx(math.hypot(steady, math.log(drift) / math.sqrt(12)))


@given(positive)
def test_a_budget_in_steps_is_proportional_to_their_cost_and_stays_the_same_task(step_s):
    budget = BUDGET.at_cost(step_s)
    assert budget.max_runtime_s == pytest.approx(400 * step_s)
    assert budget.eval_period_s == pytest.approx(100 * step_s)
    assert dataclasses.replace(TOY, budget=budget).digest() == TOY.digest()
    assert dataclasses.replace(TOY, budget=dataclasses.replace(BUDGET, max_runtime_steps=401)).digest() != TOY.digest()


def test_minis_of_the_suite_count_reference_steps_and_full_workloads_seconds():
    for definition in ALL_WORKLOADS.definitions():
        if definition.mini_name and definition.tier == "full":
            assert isinstance(ALL_WORKLOADS.get(definition.mini_name).budget, ReferenceBudget)
            assert not isinstance(definition.budget, ReferenceBudget)


def test_a_run_by_a_given_cost_has_its_seconds_and_records_steps(tmp_path):
    cost = {"calibration": costs_file(tmp_path, 0.5), "tuning_ruleset": "self", "max_global_steps": 300}
    [result], messages = run(config(tmp_path, "pytorch", **cost), IN_STEPS)
    record = TrialRecord.read(trial_dir(tmp_path, "pytorch"))
    assert record == result.record
    assert record.budget_s == 1.5 * 400 * 0.5
    meta = json.loads((trial_dir(tmp_path, "pytorch") / "meta_data_0.json").read_text())
    assert (meta["workload.max_allowed_runtime_sec"], meta["workload.eval_period_time_sec"]) == (200.0, 50.0)
    assert record.definition_digest == meta["definition_digest"] == TOY.digest()
    found = record.calibration
    assert (found.source, found.step_s, found.budget_steps) == ("file", 0.5, 600.0)
    assert [measurement.at for measurement in found.measurements] == ["start"]
    assert found.submission_time_steps == record.submission_time_s / 0.5
    assert found.time_to_target_steps == record.time_to_target_s / 0.5
    assert record.ledger.calibration_s > 0
    assert any("the reference reaches the target after about 25 s" in message for message in messages)


def stated_costs(path, **changes):
    digest = load_submission(str(SUBMISSIONS["pytorch"])).source_digest
    cost = RelativeStepCost(
        ratio=2.0,
        low=1.8,
        high=2.2,
        confidence=0.95,
        cycles=6,
        period=10,
        batch_size=8,
        reference_batch_size=8,
        step_s=1.0,
        reference_step_s=0.5,
        prepare_for_eval=0.5,
    )
    fields = {"framework": "pytorch", "submission_digest": digest, "reference_digest": "reference"}
    StepCosts(**{**fields, "step_costs": {"toy_mini": cost}, **changes}).save(path)
    return path


def test_stated_step_costs_are_charged_and_the_run_is_the_same_again(tmp_path):
    costs = stated_costs(tmp_path / "costs.json")
    endless = IN_STEPS.altered({"toy_mini": {"budget": BUDGET, "validation_target": -1.0}})
    evaluated = []
    for number in range(2):
        flags = {"step_costs": costs, "max_global_steps": 130, "experiment_name": f"run_{number}"}
        [result], _ = run(config(tmp_path, "pytorch", **flags), endless)
        record = result.record
        assert record.submission_time_s == record.ledger.update_s == 130 * 2.0 * 0.5
        assert record.calibration.source == "step_costs"
        assert record.calibration.submission_time_steps == 130 * 2.0
        assert record.calibration.spread == pytest.approx(math.log(2.2 / 1.8) / (2 * 1.96), rel=1e-3)
        assert not record.pauses.errors
        values = rows(result.trial_dir / EVALUATIONS)
        evaluated.append([(row["global_step"], row["score"], row["validation/loss"]) for row in values])
    assert evaluated[0] == evaluated[1]
    assert [int(float(step)) for step, _, _ in evaluated[0]] == [1, 51, 101, 130]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"submission_digest": "another"}, "expected the digest of the submission"),
        ({"framework": "jax"}, "expected the framework pytorch, got jax"),
        ({"step_costs": {}}, "and none of toy_mini"),
    ],
)
def test_costs_of_something_else_are_not_charged(tmp_path, changes, words):
    with pytest.raises(CalibrationError, match=words):
        run(config(tmp_path, "pytorch", step_costs=stated_costs(tmp_path / "costs.json", **changes)), IN_STEPS)


def test_workloads_in_seconds_take_no_stated_costs(tmp_path):
    with pytest.raises(CalibrationError, match="for minis, whose budgets count reference steps"):
        run(config(tmp_path, "pytorch", step_costs=stated_costs(tmp_path / "costs.json")))


def test_off_keeps_the_seconds_of_the_definition(tmp_path):
    [result], _ = run(config(tmp_path, "pytorch", calibration="off", max_global_steps=2), IN_STEPS)
    assert (result.record.budget_s, result.record.calibration) == (60.0, None)
    assert result.record.ledger.calibration_s < 0.1


def test_a_resumed_trial_keeps_its_budget_on_a_slower_machine(tmp_path):
    first, _ = calibrator(0.5, 0.6)
    trial = TrialCalibration.start(TOY, tmp_path, first, budget_factor=1.0)
    trial.end()
    later, _ = calibrator(2.0)
    resumed = TrialCalibration.start(TOY, tmp_path, later, budget_factor=1.0)
    assert resumed.budget == BUDGET.at_cost(0.5)
    record = resumed.record(submission_time_s=10.0, time_to_target_s=None)
    assert [measurement.cost.step_s for measurement in record.measurements] == [0.5, 0.6, 2.0]
    assert record.spread > math.log(4.0) / math.sqrt(12) * 0.99
    without = TrialCalibration.start(TOY, tmp_path, None, budget_factor=1.0)
    assert without.budget == BUDGET.at_cost(0.5)


def test_what_cannot_be_measured_is_reported_and_leaves_seconds(tmp_path):
    broken, messages = calibrator(CalibrationError("the reference step cannot be measured: no memory"))
    assert TrialCalibration.start(TOY, tmp_path, broken, budget_factor=1.0) is None
    assert messages == ["warning: the reference step cannot be measured: no memory"]
    [result], _ = run(config(tmp_path, "pytorch", calibration="off", max_global_steps=1), IN_STEPS)
    assert result.record.calibration is None


def test_a_busy_machine_is_called_busy_and_the_estimate_is_of_now(tmp_path):
    here = environment()
    file = tmp_path / "costs.json"
    step_costs.remember(file, here, StepCost(step_s=0.1, spread=0.0, blocks=5))
    busy, messages = calibrator(0.4, environment=here, costs_file=file)
    TrialCalibration.start(TOY, tmp_path, busy, budget_factor=1.5)
    assert messages == [
        "toy_mini: a reference step takes 0.4 s here, 4.0 times as much as this machine has shown: it is busy; the "
        "reference reaches the target after about 20 s of training, and a run takes at most 4.0 min, evaluations aside"
    ]


def test_the_least_cost_of_each_environment_is_kept(tmp_path):
    file = tmp_path / "cache" / "costs.json"
    one_core, two_cores = environment(cores=1), environment(cores=2)
    for where, step_s in ((one_core, 0.4), (two_cores, 0.2), (one_core, 0.3), (one_core, 0.5)):
        step_costs.remember(file, where, StepCost(step_s=step_s, spread=0.0, blocks=5))
    assert step_costs.least(file, one_core).step_s == 0.3
    assert step_costs.least(file, two_cores).step_s == 0.2
    assert step_costs.least(file, environment(cores=3)) is None
    file.write_text("{")
    assert step_costs.least(file, one_core) is None
    step_costs.remember(file, one_core, StepCost(step_s=0.9, spread=0.0, blocks=5))
    assert step_costs.given(file, one_core).step_s == 0.9


def test_the_estimate_of_a_suite_is_by_what_is_known_of_this_machine(tmp_path):
    file = tmp_path / "costs.json"
    assert step_costs.budget_here(TOY, "jax", file) == BUDGET
    for changes, step_s in (({}, 0.5), ({"variables": {"OMP_NUM_THREADS": "9"}}, 0.75), ({"machine": "another"}, 9.0)):
        step_costs.remember(file, environment(**changes), StepCost(step_s=step_s, spread=0.0, blocks=5))
    assert step_costs.budget_here(TOY, "jax", file) == BUDGET.at_cost(0.75)
    assert step_costs.budget_here(TOY, "pytorch", file) == BUDGET
    seconds = REGISTRY.get("toy_mini")
    assert step_costs.budget_here(seconds, "jax", file) == seconds.budget
    file.write_text('{"schema_version": 1, "entries": {"a": {"environment": 3}}}')
    assert step_costs.budget_here(TOY, "jax", file) == BUDGET


def test_a_file_without_the_cost_is_an_error_before_anything_runs(tmp_path):
    other = costs_file(tmp_path, 0.5, definition_digest="2:0123456789abcdef")
    with pytest.raises(StepCostsError, match="has 0 costs of a reference step of toy_mini in pytorch"):
        run(config(tmp_path, "pytorch", calibration=other), IN_STEPS)
    with pytest.raises(StepCostsError, match="expected a file of reference steps"):
        run(config(tmp_path, "pytorch", calibration=str(tmp_path / "absent.json")), IN_STEPS)
    assert issubclass(StepCostsError, UserError)


def test_several_processes_are_not_calibrated_by_one(tmp_path):
    messages = []
    nothing = calibration.calibrator_for(
        TOY,
        "jax",
        calibration="auto",
        data_dir=tmp_path,
        matmul_precision=MatmulPrecision.FLOAT32,
        device_report={},
        world_size=2,
        report=messages.append,
    )
    assert nothing is None
    assert "with 2 the budget stays in seconds" in messages[0]


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
def test_the_reference_process_measures_again_and_again_and_ends(framework, tmp_path):
    ensure_prepared(ALL_WORKLOADS.get("mnist_mini"), tmp_path, report=lambda message: None)
    process = ReferenceProcess("mnist_mini", framework, tmp_path)
    measured = [process.measure() for _ in range(2)]
    child = process._process
    process.close()
    assert child.returncode is not None
    assert all(0 < cost.step_s < 1 and cost.blocks == 5 for cost in measured)


def test_a_reference_process_that_fails_says_why(tmp_path):
    process = ReferenceProcess("mnist_mini", "jax", tmp_path / "no_data")
    with pytest.raises(CalibrationError, match=r"cannot be measured: .*no_data"):
        process.measure()
    process.close()
    stuck = ReferenceProcess("mnist_mini", "jax", tmp_path, timeout_s=0.01)
    with pytest.raises(CalibrationError, match="no answer within 0 s"):
        stuck.measure()
    stuck.close()


def test_evaluations_come_at_the_steps_that_the_period_says(tmp_path):
    """A cost far below what a step takes makes every step late: each is evaluated."""
    flags = {"calibration": costs_file(tmp_path, 1e-9), "max_global_steps": 4}
    [result], _ = run(config(tmp_path, "pytorch", **flags), IN_STEPS)
    assert result.record.outcome == "out_of_time"
    assert len(rows(trial_dir(tmp_path, "pytorch") / "eval_measurements.csv")) == 0
