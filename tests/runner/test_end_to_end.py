"""Whole runs of the toy workload in both frameworks: outcomes, records, logs, resume."""

import io
import json
import math
import re
import sys

import numpy as np
import pytest
import toy_runs
from toy_runs import config, endless, rows, run, trial_dir

from algoperf.backends import base
from algoperf.records.outcome import Outcome
from algoperf.runner.weights import checkpoint_weights

FRAMEWORKS = [pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch)]
pytestmark = pytest.mark.parametrize("framework", FRAMEWORKS)


def test_a_run_reaches_its_target_and_leaves_a_complete_record(framework, tmp_path):
    [result], _ = run(config(tmp_path, framework))
    assert result.outcome is Outcome.REACHED
    folder = trial_dir(tmp_path, framework)
    record = json.loads((folder / "trial.json").read_text())
    assert record["outcome"] == "reached"
    assert record["definition_digest"] == toy_runs.REGISTRY.get("toy_mini").digest()
    assert record["best_validation"]["time_to_target_s"] <= record["submission_time_s"]
    assert json.loads((folder / "hparams.json").read_text()) == {"learning_rate": 0.02}
    assert re.fullmatch("[0-9a-f]{16}", record["provenance"]["data_digest"])
    assert (folder / "meta_data_0.json").is_file()
    assert (folder / "flags_0.json").is_file()
    evaluations = rows(folder / "eval_measurements.csv")
    assert list(evaluations[0]) == sorted(evaluations[0])
    assert evaluations[0]["global_step"] == "1"
    assert float(evaluations[-1]["validation/loss"]) < toy_runs.REGISTRY.get("toy_mini").validation_target
    assert {"train/loss", "test/loss", "validation/num_examples", "score", "total_duration"} <= set(evaluations[0])
    last = rows(folder / "measurements.csv")[-1]
    assert float(last["score"]) == pytest.approx(record["submission_time_s"])


def test_ledger_items_add_up_to_the_wall_time(framework, tmp_path):
    import time

    started = time.monotonic()
    [result], _ = run(config(tmp_path, framework, max_global_steps=200), endless())
    wall_s = time.monotonic() - started
    ledger = result.record.ledger.seconds()
    assert sum(ledger.values()) <= wall_s
    evaluation = rows(result.trial_dir / "eval_measurements.csv")[-1]
    assert float(evaluation["accumulated_submission_time"]) == pytest.approx(
        sum(ledger[f"{item}_s"] for item in ("data_selection", "update", "prepare_for_eval")), rel=0.01
    )
    assert float(evaluation["total_duration"]) <= sum(ledger.values())


def test_interrupted_and_resumed_equals_uninterrupted(framework, tmp_path):
    alone = tmp_path / "alone"
    run(config(alone, framework, max_global_steps=90), endless())
    parts = tmp_path / "parts"
    for steps in (25, 60, 90):
        (trial_dir(parts, framework) / "trial.json").unlink(missing_ok=True)
        [result], _ = run(config(parts, framework, max_global_steps=steps, resume_last_run=True), endless())
    assert result.record.preemption_count == 2
    backend = base.load(framework)
    expected = checkpoint_weights(trial_dir(alone, framework), backend, endless())
    got = checkpoint_weights(trial_dir(parts, framework), backend, endless())
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value)
    logged = [row["global_step"] for row in rows(trial_dir(parts, framework) / "measurements.csv") if row["loss"]]
    assert logged == [str(step) for step in range(0, 90, 10)]


def test_rows_after_the_checkpoint_are_set_aside_not_doubled(framework, tmp_path):
    run(config(tmp_path, framework, max_global_steps=30), endless())
    folder = trial_dir(tmp_path, framework)
    evaluations = folder / "eval_measurements.csv"
    evaluations.write_text(evaluations.read_text() + evaluations.read_text().splitlines()[-1] + "\n")
    (folder / "trial.json").unlink()
    run(config(tmp_path, framework, max_global_steps=40, resume_last_run=True), endless())
    assert [row["global_step"] for row in rows(evaluations)] == ["1", "30", "40"]
    assert [row["global_step"] for row in rows(folder / "eval_measurements.lost-1.csv")] == ["30"]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(framework, tmp_path):
    run(config(tmp_path, framework, max_global_steps=30), endless())
    folder = trial_dir(tmp_path, framework)
    newest = folder / "checkpoint_30" / "run.json"
    newest.write_text(newest.read_text()[:-20])
    (folder / "trial.json").unlink()
    [result], messages = run(config(tmp_path, framework, max_global_steps=40, resume_last_run=True), endless())
    assert any("checkpoint_30 is damaged" in message for message in messages)
    assert any("resumed at step 1 " in message for message in messages)
    assert result.record.global_step == 40


def test_several_trials_have_their_own_seeds_and_finished_ones_are_not_run_again(framework, tmp_path):
    space = toy_runs.space(tmp_path, {"learning_rate": {"min": 0.01, "max": 0.05, "scaling": "log"}})
    flags = {"tuning_search_space": space, "num_tuning_trials": 3, "max_global_steps": 5}
    run(config(tmp_path, framework, hparam_start_index=1, hparam_end_index=2, **flags), endless())
    assert not trial_dir(tmp_path, framework, 1).exists()
    second = (trial_dir(tmp_path, framework, 2) / "trial.json").stat().st_mtime_ns
    results, messages = run(config(tmp_path, framework, resume_last_run=True, **flags), endless())
    assert (trial_dir(tmp_path, framework, 2) / "trial.json").stat().st_mtime_ns == second
    assert any("trial_2 is finished" in message for message in messages)
    assert len({result.record.seed for result in results}) == 3
    assert len({result.record.hyperparameters["learning_rate"] for result in results}) == 3


def test_self_tuning_runs_have_no_hyperparameters_and_more_time(framework, tmp_path):
    [result], _ = run(config(tmp_path, framework, tuning_ruleset="self"))
    assert result.outcome is Outcome.REACHED
    assert result.record.hyperparameters == {}
    assert result.record.budget_s == 1.5 * toy_runs.REGISTRY.get("toy_mini").budget.max_runtime_s
    assert not (result.trial_dir / "hparams.json").exists()


def test_the_same_seed_gives_the_same_run(framework, tmp_path):
    losses = []
    for name in ("one", "two"):
        [result], _ = run(config(tmp_path / name, framework, max_global_steps=20, rng_seed=0), endless())
        losses.append([row["loss"] for row in rows(result.trial_dir / "measurements.csv")])
    assert losses[0] == losses[1]
    [other], _ = run(config(tmp_path / "other", framework, max_global_steps=20, rng_seed=5), endless())
    assert [row["loss"] for row in rows(other.trial_dir / "measurements.csv")] != losses[0]


def test_the_seed_does_not_move_the_points_of_the_search_space(framework, tmp_path):
    space = toy_runs.space(tmp_path, {"learning_rate": {"min": 0.01, "max": 0.05, "scaling": "linear"}})
    rates = []
    for name, flags in {
        "zero": {"rng_seed": 0},
        "other": {"rng_seed": 5},
        "study": {"rng_seed": 5, "study": 1},
    }.items():
        settings = config(tmp_path / name, framework, tuning_search_space=space, max_global_steps=1, **flags)
        [result], _ = run(settings, endless())
        rates.append(result.record.hyperparameters["learning_rate"])
    assert rates[0] == rates[1] != rates[2]


def test_a_terminal_shows_each_split_while_it_is_evaluated(framework, tmp_path, monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    run(config(tmp_path, framework, max_global_steps=5), endless())
    shown = [line for line in terminal.getvalue().split("\r\x1b[K") if line.startswith("evaluating")]
    starts = [line.split(" of ")[0] for line in shown if ": 0 of " in line]
    assert starts == ["evaluating train: 0", "evaluating validation: 0", "evaluating test: 0"] * 2


def test_a_submission_that_changed_is_noticed_when_its_trial_goes_on(framework, tmp_path):
    source = toy_runs.SUBMISSIONS[framework].read_text()
    submission = tmp_path / "mine" / "submission.py"
    submission.parent.mkdir()
    submission.write_text(f"import rate_helper\n{source}")
    (submission.parent / "rate_helper.py").write_text("")
    digests, warned = [], []
    for steps, helper in ((5, ""), (10, ""), (15, "RATE = 1")):
        (submission.parent / "rate_helper.py").write_text(helper)
        (trial_dir(tmp_path, framework) / "trial.json").unlink(missing_ok=True)
        settings = config(
            tmp_path, framework, submission_path=str(submission), max_global_steps=steps, resume_last_run=True
        )
        [result], messages = run(settings, endless())
        digests.append(result.record.provenance["submission_digests"])
        warned.append([message for message in messages if "rate_helper.py changed since" in message])
    assert [len(messages) for messages in warned] == [0, 0, 1]
    assert digests[0] == digests[1] == digests[2][:1]
    assert digests[2][1:] == [result.record.provenance["submission_digest"]]
    assert result.record.global_step == 15


def test_a_run_that_is_nan_is_diverged(framework, tmp_path):
    space = toy_runs.space(tmp_path, [{"learning_rate": 1e30}])
    registry = endless(budget=toy_runs.Budget(max_runtime_s=20.0, eval_period_s=0.01, step_hint=10))
    with np.errstate(all="ignore"):
        [result], _ = run(config(tmp_path, framework, tuning_search_space=space), registry)
    assert result.outcome is Outcome.DIVERGED
    assert math.isnan(float(rows(result.trial_dir / "eval_measurements.csv")[-1]["validation/loss"]))
