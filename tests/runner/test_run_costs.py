"""The cost of real runs: it agrees with the ledger, names each source of energy, and adds up over resumed processes."""

import pytest
import toy_runs

from algoperf.records.outcome import Outcome

FAILING = """
import os


def _fail_once(global_step):
    if global_step == 3 and not os.path.exists(os.environ["COST_TEST_MARK"]):
        open(os.environ["COST_TEST_MARK"], "w").close()
        raise RuntimeError("once")


_update_params = update_params


def update_params(**arguments):
    _fail_once(arguments["global_step"])
    return _update_params(**arguments)
"""


@pytest.mark.jax
def test_the_cost_of_a_trial_agrees_with_its_ledger_and_adds_up_over_its_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("COST_TEST_MARK", str(tmp_path / "failed"))
    submission = tmp_path / "submission.py"
    submission.write_text(toy_runs.SUBMISSIONS["jax"].read_text() + FAILING)
    settings = {"submission_path": str(submission), "max_global_steps": 6, "tuning_ruleset": "self"}
    [crashed], _ = toy_runs.run(toy_runs.config(tmp_path, "jax", **settings), toy_runs.endless())
    first = crashed.record.cost
    assert crashed.outcome is Outcome.CRASHED
    assert first.processes == 1
    ledger = crashed.record.ledger
    charged_s = ledger.data_selection_s + ledger.update_s + ledger.prepare_for_eval_s
    # The meter is told before a segment begins and after it has ended, so that it sees at least as much.
    assert charged_s - 0.001 <= first.charged.seconds < first.seconds
    assert {*first.energy_boundary, *first.energy_missing} == {"gpu", "cpu"}
    assert first.charged.host_peak_bytes > 10_000_000
    settings["resume_last_run"] = True
    [resumed], _ = toy_runs.run(toy_runs.config(tmp_path, "jax", **settings), toy_runs.endless())
    both = resumed.record.cost
    assert resumed.record.global_step == 6
    assert both.processes == 2
    assert both.seconds > first.seconds
    assert both.examples_per_s == pytest.approx(6 * resumed.record.batch_size / resumed.record.submission_time_s)
