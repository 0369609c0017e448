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
    differences,
    references_of,
    runtime_of,
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
    tuning = [
        finished([0.5 + i / 10], stage="tuning", algorithm=a) for i, a in enumerate(("adamw", "nadamw", "momentum"))
    ]
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


def test_the_runs_are_three_quarters_of_the_step_hint_which_sets_the_budget_at_the_slower_rate():
    references = references_of(result().of("reference"), UP, 0.9)
    assert [reference.median_s for reference in references] == [40.0, 20.0]
    assert result().step_hint == round(200 / 0.75)
    assert runtime_of(result(), references) == round(267 * 40 / 200)


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
        runtime_of(values, references_of(values.of("reference"), UP, 0.9))
    assert "| jax | missed, missed" in table(values, UP)


def test_what_lies_outside_the_limits_of_the_tier_is_named():
    evaluations_too_few = "1 evaluations before the target"
    assert shortfalls(result((31.0, 32.0, 33.0)), UP) == [
        f"jax: {evaluations_too_few}",
        f"pytorch: {evaluations_too_few}",
    ]
    found = shortfalls(result((91.0, 91.0, 115.0), poor_value=0.93), UP)
    assert "a poor learning rate reaches the target" in found
    assert "jax: 182 s to the target" in found
    assert "jax: seeds differ by 26 %" in found
    assert "pytorch: 91 s to the target" not in found
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
        budget=Budget(max_runtime_s=53, eval_period_s=1, step_hint=267),
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
        max_runtime_s=53,
        eval_period_s=1.0,
        step_hint=267,
        max_runtime_steps=267,
        eval_period_steps=5,
        target_steps=200,
    )
    definition = dataclasses.replace(agreeing_definition(), budget=budget)
    assert differences(result(), definition) == []
    other = dataclasses.replace(budget, max_runtime_steps=268, eval_period_s=6, target_steps=199)
    assert [line.split(": ")[1] for line in differences(result(), dataclasses.replace(definition, budget=other))] == [
        "max_runtime_steps is 268 in the definition, 267 by its runs",
        "eval_period_s is 6 in the definition, 1.0 by its runs",
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
    tuned = [
        finished([0.1], algorithm="nadamw"),
        finished([0.9], algorithm="adamw"),
        finished([0.2], algorithm="nadamw"),
    ]
    tuned[2].hyperparameters["learning_rate"] = 0.3
    references = list(procedure.reference_runs(tuned))
    assert [run.framework for run in references] == ["jax", "jax", "pytorch", "pytorch"]
    assert {run.space.name for run in references} == {"reference.json"}
    assert json.loads(references[0].space.read_text()) == [{"learning_rate": 0.3}]
    assert len({run.name for run in (*runs, first, second, poor, *references)}) == 16


def test_a_longer_horizon_has_runs_and_names_of_its_own(tmp_path):
    definition = REGISTRY.get("wmt_mini")
    procedure = Procedure(
        definition, framework="pytorch", trials=1, seeds=1, horizon=3, work_dir=tmp_path, data_dir=tmp_path
    )
    run = next(procedure.tuning_runs())
    assert run.steps == round(0.75 * 3 * definition.budget.step_hint)
    assert tmp_path / "wmt_mini_horizon3" in procedure.trial_dir(run).parents


def test_targets_of_a_longer_horizon_are_compared_with_the_definition_at_that_horizon(tmp_path):
    runs = tuple(run for run in result().runs if run.stage != "reference")
    longer = dataclasses.replace(result(), runs=runs, horizon=2)
    definition = dataclasses.replace(
        agreeing_definition(),
        budget=Budget(max_runtime_s=1, eval_period_s=1, step_hint=133),
        horizons={2: (0.92, 0.8)},
    )
    assert differences(longer, definition.at_horizon(2)) == [
        "mnist_mini_horizon2: test_target is 0.8 in the definition, 0.7 by its runs",
        "mnist_mini_horizon2: step_hint is 266 in the definition, 267 by its runs",
    ]
    assert "### mnist_mini at 2 times the horizon" in table(longer, UP)


def test_minis_are_tuned_over_a_space_of_their_own():
    assert search_space("adamw", "jax", Tier.MINI).name == "mini.json"
    assert search_space("nadamw", "jax", Tier.FULL).name == "broad.json"
