"""Targets and budgets from the logs of runs, without training."""

import csv
import dataclasses
import json

import pytest

from algoperf.definition import Direction, MetricSpec
from algoperf.registry import REGISTRY
from algoperf.target_setting import Procedure, ReferenceMissedError, best_run, budget_of, table, targets_of


def procedure_in(tmp_path, direction=Direction.MAXIMIZE, seeds=5):
    definition = dataclasses.replace(REGISTRY.get("mnist_mini"), metric=MetricSpec(name="quality", direction=direction))
    (tmp_path / definition.name).mkdir()
    return Procedure(definition, framework="jax", trials=2, seeds=seeds, work_dir=tmp_path, data_dir=tmp_path)


def write(procedure, run, values, tests=None, seconds_per_row=10.0):
    folder = procedure.trial_dir(run)
    folder.mkdir(parents=True)
    (folder / "trial.json").write_text(json.dumps({"outcome": "completed"}))
    (folder / "hparams.json").write_text(json.dumps({"learning_rate": 0.1 + run.point}))
    with (folder / "eval_measurements.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["global_step", "score", "test/quality", "validation/quality"])
        for index, value in enumerate(values, start=1):
            rows.writerow([100 * index, seconds_per_row * index, (tests or values)[index - 1], value])


def test_the_best_run_by_direction_ignores_nan_and_empty_runs(tmp_path):
    procedure = procedure_in(tmp_path, Direction.MINIMIZE)
    runs = list(procedure.tuning_runs())
    assert [run.algorithm for run in runs] == ["adamw"] * 2 + ["nadamw"] * 2 + ["nesterov"] * 2 + ["momentum"] * 2
    write(procedure, runs[0], [0.9, 0.5])
    write(procedure, runs[3], [0.4, 0.3, float("nan")])
    write(procedure, runs[5], [float("nan")])
    assert best_run(procedure, runs) == runs[3]
    [first, *_] = procedure.seed_runs(runs[3])
    assert json.loads(first.space.read_text()) == [{"learning_rate": 1.1}]
    assert first.algorithm == "nadamw"


def test_validation_target_is_the_median_and_test_target_the_worst_of_the_runs_that_hit(tmp_path):
    procedure = procedure_in(tmp_path)
    write(procedure, next(iter(procedure.tuning_runs())), [0.5])
    runs = list(procedure.seed_runs(next(iter(procedure.tuning_runs()))))
    bests, tests = (0.90, 0.92, 0.94, 0.96, 0.98), (0.5, 0.6, 0.80, 0.70, 0.75)
    for run, best, test in zip(runs, bests, tests, strict=True):
        write(procedure, run, [0.1, best, 0.2], [0.0, test, 0.0])
    assert targets_of(procedure, runs) == {"validation_target": 0.94, "test_target": 0.70}


def test_with_an_even_number_the_target_is_one_that_half_of_the_runs_reached(tmp_path):
    procedure = procedure_in(tmp_path, Direction.MINIMIZE, seeds=4)
    write(procedure, next(iter(procedure.tuning_runs())), [0.5])
    runs = list(procedure.seed_runs(next(iter(procedure.tuning_runs()))))
    for run, best in zip(runs, (0.1, 0.2, 0.3, 0.4), strict=True):
        write(procedure, run, [1.0, best])
    targets = targets_of(procedure, runs)
    assert targets["validation_target"] in (0.2, 0.3)
    assert sum(procedure.best_value(run) <= targets["validation_target"] for run in runs) >= 2


def test_budget_is_three_times_the_median_time_of_the_reference(tmp_path):
    procedure = procedure_in(tmp_path, seeds=3)
    runs = list(procedure.reference_runs())
    for run, seconds in zip(runs, (10.0, 20.0, 40.0), strict=True):
        write(procedure, run, [0.1, 0.95], seconds_per_row=seconds)
    budget = budget_of(procedure, runs, {"validation_target": 0.9, "test_target": None})
    assert budget["median_time_to_target_s"] == 40.0
    assert budget["max_runtime_s"] == 120.0
    assert budget["step_hint"] == round(120.0 * 200 / 40.0)


def test_a_reference_that_misses_is_an_error_and_the_table_is_still_written(tmp_path):
    procedure = procedure_in(tmp_path, seeds=3)
    runs = list(procedure.reference_runs())
    for run in runs:
        write(procedure, run, [0.1, 0.5])
    with pytest.raises(ReferenceMissedError, match="missed the target"):
        budget_of(procedure, runs, {"validation_target": 0.9, "test_target": None})
    result = {"best_algorithm": "adamw", "best_hyperparameters": {}, "validation_target": 0.9, "test_target": None}
    assert "| 0.9 | none | none | none | none |" in table(procedure, result, [], [])
