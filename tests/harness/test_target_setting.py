"""Targets and budgets from finished runs, without training."""

import dataclasses
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.definition import Budget, Direction, MetricSpec, ReferenceBudget, Tier
from algoperf.errors import UserError
from algoperf.registry import REGISTRY, Registry
from algoperf.target_setting.__main__ import Procedure, search_space
from algoperf.target_setting.result import (
    Evaluation,
    FinishedRun,
    ReferenceMissedError,
    Result,
    best_run,
    budget_of,
    differences,
    references_of,
    shortfalls,
    targets_of,
)
from algoperf.target_setting.tables import check, table, write_tables

UP = MetricSpec(name="quality", direction=Direction.MAXIMIZE)
DOWN = MetricSpec(name="quality", direction=Direction.MINIMIZE)


def finished(values, tests=None, *, stage="seeds", algorithm="adamw", framework="jax", seconds_per_row=10.0, seed=0):
    rows = enumerate(zip(values, tests or values, strict=True), start=1)
    return FinishedRun(
        stage=stage,
        algorithm=algorithm,
        framework=framework,
        point=0,
        seed=seed,
        hyperparameters={"learning_rate": 0.1},
        outcome="completed",
        evaluation_share=0.1,
        peak_memory_gb=0.5,
        evaluations=tuple(
            Evaluation(step=100 * n, time_s=seconds_per_row * n, validation=value, test=test)
            for n, (value, test) in rows
        ),
    )


def result(reference_seconds=(10.0, 20.0, 40.0), workload="mnist_mini", poor_value=0.2):
    seeds = [finished([0.1, best], [0.0, test]) for best, test in ((0.90, 0.5), (0.92, 0.8), (0.94, 0.7))]
    reference = [
        finished([0.1, 0.95], stage="reference", algorithm="nadamw", framework=framework, seconds_per_row=factor * s)
        for framework, factor in (("jax", 1.0), ("pytorch", 0.5))
        for s in reference_seconds
    ]
    tuning = [finished([0.5], stage="tuning"), finished([0.6], stage="tuning", algorithm="momentum")]
    poor = [finished([poor_value], stage="negative_control", algorithm="momentum")]
    return Result(
        workload=workload,
        framework="jax",
        trials=1,
        seeds=3,
        steps=200,
        machine="2 cores",
        runs=(*tuning, *seeds, *poor, *reference),
    )


def test_the_best_run_by_direction_ignores_nan_and_empty_runs():
    runs = [finished([0.9, 0.5]), finished([0.4, 0.3, math.nan]), finished([math.nan]), finished([])]
    assert best_run(runs, DOWN) is runs[1]
    assert best_run(runs, UP) is runs[0]
    with pytest.raises(UserError, match="no tuning run left a finite validation value"):
        best_run(runs[2:], UP)


def test_validation_target_is_the_median_and_test_target_the_worst_of_the_runs_that_hit():
    bests, tests = (0.90, 0.92, 0.94, 0.96, 0.98), (0.5, 0.6, 0.80, 0.70, 0.75)
    runs = [finished([0.1, best, 0.2], [0.0, test, 0.0]) for best, test in zip(bests, tests, strict=True)]
    assert targets_of(runs, UP) == (0.94, 0.70)


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=6), st.sampled_from([UP, DOWN]))
def test_half_of_the_runs_reach_the_target_and_rounding_moves_it_by_less_than_a_thousandth(bests, metric):
    runs = [finished([best]) for best in bests]
    target, _ = targets_of(runs, metric)
    assert sum(metric.reached(best, target) for best in bests) >= len(bests) / 2
    assert any(target == pytest.approx(best, rel=1.001e-3) for best in bests)


def test_budget_is_three_times_the_median_time_of_the_reference_in_the_slower_framework():
    references = references_of(result().of("reference"), UP, 0.9)
    assert [reference.median_s for reference in references] == [40.0, 20.0]
    assert budget_of(references) == (120, round(120 * 200 / 40))


@pytest.mark.parametrize(("times", "median"), [((10.0, 20.0), 15.0), ((10.0, math.inf), math.inf)])
def test_of_two_runs_of_the_reference_neither_is_preferred(times, median):
    runs = [
        finished([0.95 if math.isfinite(time) else 0.1], stage="reference", seconds_per_row=min(time, 99.0))
        for time in times
    ]
    [reference] = references_of(runs, UP, 0.9)
    assert reference.median_s == median


@pytest.mark.parametrize(
    ("times", "spread"),
    [((10.0, 12.0), 0.2), ((12.0, 10.0, 15.0), 0.25), ((10.0, 10.0, 10.0, 30.0), 1.0), ((10.0,), 0.0)],
)
def test_the_spread_is_what_a_pair_of_seeds_typically_differs_by(times, spread):
    runs = [finished([0.95], stage="reference", seconds_per_row=time) for time in times]
    [reference] = references_of(runs, UP, 0.9)
    assert reference.spread == pytest.approx(spread)


def test_a_pair_with_a_miss_differs_without_limit():
    runs = [finished([value], stage="reference", seconds_per_row=10.0) for value in (0.95, 0.1)]
    [reference] = references_of(runs, UP, 0.9)
    assert math.isinf(reference.spread)


def test_a_reference_that_misses_is_an_error_and_the_table_is_still_written():
    values = result()
    misses = [run if run.stage != "reference" else finished([0.1], stage="reference") for run in values.runs]
    values = dataclasses.replace(values, runs=tuple(misses))
    with pytest.raises(ReferenceMissedError, match="missed the target"):
        budget_of(references_of(values.of("reference"), UP, 0.9))
    assert "| jax | missed, missed" in table(values, UP)


def test_what_lies_outside_the_limits_of_the_tier_is_named():
    evaluations_too_few = "1 evaluations before the target"
    assert shortfalls(result((31.0, 32.0, 33.0)), UP) == [
        f"jax: {evaluations_too_few}",
        f"pytorch: {evaluations_too_few}",
    ]
    found = shortfalls(result((61.0, 61.0, 77.0), poor_value=0.93), UP)
    assert "a poor learning rate reaches the target" in found
    assert "jax: 122 s to the target" in found
    assert "jax: seeds differ by 26 %" in found
    assert "pytorch: 61 s to the target" not in found
    slow = result((31.0, 32.0, 33.0))
    runs = tuple(dataclasses.replace(run, evaluation_share=0.3, peak_memory_gb=3.5) for run in slow.runs)
    found = shortfalls(dataclasses.replace(slow, runs=runs), UP)
    assert {"jax: evaluations take 30 %", "pytorch: 3.5 GB"} <= set(found)
    assert all(line in table(slow, UP) for line in shortfalls(slow, UP))


def test_result_survives_its_file_and_a_broken_file_is_named(tmp_path):
    path = tmp_path / "mnist_mini.json"
    result().save(path)
    assert Result.load(path) == result()
    path.write_text(json.dumps({"runs": [{}]}))
    with pytest.raises(UserError, match=r"mnist_mini\.json: expected a result of target setting"):
        Result.load(path)


def agreeing_definition():
    return dataclasses.replace(
        REGISTRY.get("mnist_mini"),
        metric=UP,
        validation_target=0.92,
        test_target=0.7,
        budget=Budget(max_runtime_s=120, eval_period_s=1, step_hint=600),
        reference_hyperparameters={"learning_rate": 0.1},
    )


def test_check_accepts_what_the_runs_say_and_names_every_other_number(tmp_path):
    folder = tmp_path / "kept"
    folder.mkdir()
    result().save(folder / "mnist_mini.json")
    folder.with_suffix(".md").write_text(f"# Targets\n\n{table(result(), UP)}")
    definition = agreeing_definition()
    assert check(folder, registry_of(definition)) == []
    changed = dataclasses.replace(
        definition, validation_target=0.93, test_target=None, reference_hyperparameters={"learning_rate": 0.2}
    )
    assert [line.split(" in the")[0] for line in differences(result(), changed)] == [
        "mnist_mini: validation_target is 0.93",
        "mnist_mini: test_target is None",
        "mnist_mini: reference_hyperparameters is {'learning_rate': 0.2}",
    ]
    folder.with_suffix(".md").write_text("# Targets")
    [line] = check(folder, registry_of(definition))
    assert "its table in" in line
    page = write_tables(folder, registry_of(definition))
    assert page.read_text().startswith("# Targets\n\n## Tables\n")
    assert check(folder, registry_of(definition)) == []
    written = page.read_bytes()
    assert write_tables(folder, registry_of(definition)).read_bytes() == written
    with pytest.raises(UserError, match="got none"):
        check(tmp_path / "elsewhere")


def test_what_a_budget_declares_in_reference_steps_is_compared_too():
    budget = ReferenceBudget(
        max_runtime_s=120,
        eval_period_s=1,
        step_hint=600,
        max_runtime_steps=600,
        eval_period_steps=5,
        target_steps=200,
    )
    definition = dataclasses.replace(agreeing_definition(), budget=budget)
    assert differences(result(), definition) == []
    other = dataclasses.replace(budget, max_runtime_steps=601, eval_period_steps=6, target_steps=199)
    assert [line.split(": ")[1] for line in differences(result(), dataclasses.replace(definition, budget=other))] == [
        "max_runtime_steps is 601 in the definition, 600 by its runs",
        "eval_period_steps is 6 in the definition, 5 by its runs",
        "target_steps is 199 in the definition, 200 by its runs",
    ]


def registry_of(definition) -> Registry:
    names = ("metric", "validation_target", "test_target", "budget", "reference_hyperparameters")
    changes = {name: getattr(definition, name) for name in names}
    return REGISTRY.altered({definition.name: changes})


def test_runs_of_the_procedure(tmp_path):
    procedure = Procedure(
        REGISTRY.get("wmt_mini"), framework="pytorch", trials=2, seeds=2, steps=7, work_dir=tmp_path, data_dir=tmp_path
    )
    runs = list(procedure.tuning_runs())
    expected = ["adamw"] * 2 + ["nadamw"] * 2 + ["nesterov"] * 2 + ["momentum"] * 2 + ["nadamw"]
    assert [run.algorithm for run in runs] == expected
    assert [run.space.name for run in runs] == ["mini.json"] * 8 + ["own.json"]
    assert {run.steps for run in runs} == {7}
    [first, second] = procedure.seed_runs(finished([0.1]))
    assert json.loads(first.space.read_text()) == [{"learning_rate": 0.1}]
    assert first.seed != second.seed
    poor = procedure.poor_run([finished([0.1]), finished([0.1], algorithm="momentum")])
    assert (poor.algorithm, json.loads(poor.space.read_text())) == ("momentum", [{"learning_rate": 0.001}])
    references = list(procedure.reference_runs())
    assert [run.framework for run in references] == ["jax", "jax", "pytorch", "pytorch"]
    assert {run.space.name for run in references} == {"reference.json"}
    assert json.loads(references[0].space.read_text()) == [procedure.definition.reference_hyperparameters]
    assert len({run.name for run in (*runs, first, second, poor, *references)}) == 16


def test_the_reference_is_tuned_with_a_schedule_as_long_as_the_run_and_timed_with_its_own(tmp_path):
    procedure = Procedure(
        REGISTRY.get("criteo1tb_mini"), framework="pytorch", trials=1, seeds=1, work_dir=tmp_path, data_dir=tmp_path
    )
    *_, tuned = procedure.tuning_runs()
    timed = next(procedure.reference_runs())
    [in_tuning], [own] = (json.loads(run.space.read_text()) for run in (tuned, timed))
    assert in_tuning == {name: value for name, value in own.items() if name != "schedule_steps"}
    assert own["schedule_steps"] > 0


def test_minis_are_tuned_over_a_space_of_their_own():
    assert search_space("adamw", "jax", Tier.MINI).name == "mini.json"
    assert search_space("nadamw", "jax", Tier.FULL).name == "broad.json"
