"""The record of a trial: what one version writes, every later one reads, in the runner and in scoring alike."""

import json
import math
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.harness.clock import Item
from algoperf.records.calibration import Calibration, Measurement, StepCost
from algoperf.records.cost import Cost, PhaseCost
from algoperf.records.files import RecordError
from algoperf.records.layout import TRIAL_FILE, trial_path
from algoperf.records.outcome import Outcome
from algoperf.records.pauses import PauseSummary
from algoperf.records.trial import SCHEMA_VERSION, BestValidation, Ledger, TrialRecord
from algoperf.runner import study
from scoring.logs import LogStatus, read_logs
from scoring.outcomes import ending
from scoring.rules import load_rules

ROOT = Path(__file__).parents[2]
PAUSES = PauseSummary().with_pause(seconds=0.5).with_pause(seconds=2.0, threads=["worker"], cpu_s=0.25)
GOLDEN = Path(__file__).parent / "golden"
COST = StepCost(step_s=0.5, spread=0.125, blocks=5)
CALIBRATION = Calibration(
    source="measured",
    budget_step_s=0.5,
    budget_steps=240.0,
    measurements=(Measurement(at="start", cost=COST), Measurement(at="end", cost=COST)),
    step_s=0.5,
    spread=0.0625,
    submission_time_steps=25.0,
)
COST_OF_TRIAL = Cost(
    charged=PhaseCost(
        seconds=12.5,
        cpu_s=20.0,
        energy_j={"cpu": 500.0, "gpu": 2500.0},
        host_peak_bytes=2**30,
        samples=6,
        gpu_utilisation=0.75,
        gpu_clock_mhz=1500.0,
        cpu_clock_mhz=3000.0,
        throttled={"sw_power_cap": 0.5},
    ),
    uncharged=PhaseCost(seconds=6.0, cpu_s=3.0, energy_j={"cpu": 125.0, "gpu": 250.0}, host_peak_bytes=2**29),
    energy_boundary={"cpu": "RAPL zones package-0", "gpu": "NVML, boards of A GPU"},
    energy_to_target_j=None,
    device_peak_bytes=2**33,
    examples_per_s=153.5,
    overhead_cpu_s=0.0078125,
)
RECORD = TrialRecord(
    outcome=Outcome.OUT_OF_TIME,
    workload="mnist_mini",
    framework="jax",
    definition_digest="0123456789abcdef",
    submission="submissions/mine/submission.py",
    ruleset="external",
    budget_s=120.0,
    edition="v1.0",
    matmul_precision="tf32",
    algoperf_version="0.1.0",
    seed=7,
    batch_size=64,
    hyperparameters={"learning_rate": 0.1},
    global_step=30,
    preemption_count=1,
    submission_time_s=12.5,
    best_validation=BestValidation(value=0.75, global_step=30, submission_time_s=12.5),
    ledger=Ledger(
        data_selection_s=0.5,
        update_s=11.5,
        prepare_for_eval_s=0.5,
        evaluation_s=3.0,
        checkpoint_s=1.0,
        logging_s=0.25,
        other_s=2.25,
    ),
    pauses=PAUSES,
    calibration=CALIBRATION,
    cost=COST_OF_TRIAL,
    provenance={"seed": 7, "hardware": {"cpu_model": "A processor", "devices": {"platform": "cpu"}}},
)


def golden(version: int) -> Path:
    return GOLDEN / f"version_{version}" / trial_path(0, "mnist_mini", "jax", 1)


def test_the_present_version_is_written_as_the_golden_file_has_it(tmp_path):
    RECORD.write(tmp_path)
    assert (tmp_path / TRIAL_FILE).read_text() == (golden(SCHEMA_VERSION) / TRIAL_FILE).read_text()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION + 1))
def test_every_version_is_read_by_runner_and_scoring_alike(version):
    rules = load_rules("mini")
    [trial] = read_logs(GOLDEN / f"version_{version}", rules.workloads).trials
    result = study.finished_result(golden(version), is_shown=True)
    assert trial.status is LogStatus.READ
    assert trial.record is not None
    assert str(trial.record) == str(result.record)  # text, since NaN is not itself
    assert trial.record.ledger == RECORD.ledger
    assert trial.time_s.tolist() == [1.5, 6.5, 12.5]
    assert trial.step.tolist() == [1, 15, 30]


def test_a_nan_of_the_first_evaluation_in_an_old_record_does_not_hide_the_target():
    record = TrialRecord.read(golden(1))
    assert math.isnan(record.best_validation.value)
    assert record.time_to_target_s == 6.5
    rules = load_rules("mini")
    [trial] = read_logs(GOLDEN / "version_1", rules.workloads).trials
    assert ending(trial, rules.workloads["mnist_mini"], 120.0).outcome is Outcome.REACHED


def test_old_records_without_a_time_to_target_or_with_nothing_but_nan_are_read(tmp_path):
    values = json.loads((golden(1) / TRIAL_FILE).read_text())
    best = values["best_validation"]
    del best["time_to_target_s"]
    (tmp_path / TRIAL_FILE).write_text(json.dumps(values))
    assert TrialRecord.read(tmp_path).best_validation is None
    best["value"] = 0.5
    (tmp_path / TRIAL_FILE).write_text(json.dumps(values))
    assert TrialRecord.read(tmp_path).best_validation == BestValidation(
        value=0.5, global_step=1, submission_time_s=1.5, time_to_target_s=None
    )


def test_every_record_of_the_kept_board_is_read():
    kept = sorted((ROOT / "docs" / "leaderboard" / "mini" / "logs").rglob(TRIAL_FILE))
    assert len(kept) > 100
    for path in kept:
        record = TrialRecord.read(path.parent)
        assert record is not None, path
        assert (record.submission, record.error) == (None, None)


def test_what_is_no_record_is_none_and_a_later_version_is_refused(tmp_path):
    assert TrialRecord.read(tmp_path) is None
    values = json.loads((golden(SCHEMA_VERSION) / TRIAL_FILE).read_text())
    for damage in ("{broken", "[]", "{}", json.dumps({**values, "outcome": "unheard of"}), b"\xff".decode("latin-1")):
        (tmp_path / TRIAL_FILE).write_text(damage)
        assert TrialRecord.read(tmp_path) is None
    for name in ("ledger", "seed", "schema_version"):
        (tmp_path / TRIAL_FILE).write_text(json.dumps({key: entry for key, entry in values.items() if key != name}))
        assert TrialRecord.read(tmp_path) is None
    (tmp_path / TRIAL_FILE).write_text(json.dumps({**values, "schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(RecordError, match=r"schema version 7, expected at most 6; install a later version"):
        TrialRecord.read(tmp_path)


def test_impossible_records_are_refused():
    for changes in ({"budget_s": 0.0}, {"submission_time_s": math.nan}, {"global_step": -1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="got"):
            replace(RECORD, **changes)
    with pytest.raises(ValueError, match="update_s must be a time >= 0"):
        replace(RECORD.ledger, update_s=-1.0)


def test_the_ledger_has_an_entry_for_each_item_of_the_clock():
    assert [entry.name for entry in fields(Ledger)] == [f"{item}_s" for item in Item]
    assert Ledger.of({str(item): 1.0 for item in Item}).total_s == len(Item)


seconds = st.floats(0, 1e9)


@given(
    st.builds(
        replace,
        st.just(RECORD),
        outcome=st.sampled_from(Outcome),
        error=st.none() | st.text(st.characters(exclude_categories=["Cs"])),
        submission_time_s=seconds,
        best_validation=st.none()
        | st.builds(
            BestValidation,
            value=st.floats(allow_nan=False, allow_infinity=False),
            global_step=st.integers(0, 10**9),
            submission_time_s=seconds,
            time_to_target_s=st.none() | seconds,
        ),
        hyperparameters=st.dictionaries(st.sampled_from("abc"), st.integers() | st.booleans() | st.none()),
    )
)
def test_what_was_written_is_read_back(tmp_path_factory, record):
    folder = tmp_path_factory.mktemp("trial")
    record.write(folder)
    assert TrialRecord.read(folder) == record


def test_reading_records_loads_neither_psutil_nor_tensorboard():
    code = (
        "import sys; from algoperf.records import best, columns, json, layout, trial; "
        "print(sorted({'psutil', 'tensorboardX', 'jax', 'torch'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert answer.stdout.strip() == "[]"
