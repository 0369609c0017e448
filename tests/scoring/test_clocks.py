"""Boards in seconds, in reference steps and in steps: what moves with the machine and what does not."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scoring_boards import make_rules, make_tree

from algoperf.records.calibration import Calibration, Measurement, StepCost
from algoperf.records.outcome import Outcome
from algoperf.records.trial import Ledger, TrialRecord
from scoring.analysis import analyse
from scoring.board import make_board
from scoring.clocks import Clock, in_clock
from scoring.logs import LogsError
from scoring.outputs import leaderboard_markdown, results_json
from scoring.statistics.bootstrap import resample_studies
from scoring.times import Mode
from scoring.validity import rule_conflicts

WORKLOADS = {"a": "maximize", "b": "minimize"}
TIMES = np.array(
    [[[[8.0], [9.0], [10.0]], [[20.0], [21.0], [22.0]]], [[[12.0], [13.0], [14.0]], [[10.0], [11.0], [12.0]]]]
)
BUDGET_STEPS = 200
BLANK_LEDGER = dict.fromkeys(
    ("data_selection_s", "update_s", "prepare_for_eval_s", "evaluation_s", "checkpoint_s", "logging_s", "other_s"), 0.0
)


def rules_in_steps():
    rules = make_rules(WORKLOADS)
    workloads = {
        name: dataclasses.replace(rule, max_runtime_steps=BUDGET_STEPS) for name, rule in rules.workloads.items()
    }
    return dataclasses.replace(rules, workloads=workloads)


RULES = rules_in_steps()
SELF = RULES.tuning["self"]


def record(trial, step_s, spread=0.0, budget_steps=1.5 * BUDGET_STEPS, budget_step_s=None) -> TrialRecord:
    budget_step_s = budget_step_s or step_s
    cost = StepCost(step_s=step_s, spread=spread, blocks=5)
    calibration = Calibration(
        source="measured",
        budget_step_s=budget_step_s,
        budget_steps=budget_steps,
        measurements=(Measurement(at="start", cost=cost), Measurement(at="end", cost=cost)),
        step_s=step_s,
        spread=spread,
        submission_time_steps=1.0,
    )
    return TrialRecord(
        outcome=Outcome.REACHED,
        workload=trial.workload,
        framework="jax",
        definition_digest="2:0123456789abcdef",
        ruleset="self",
        budget_s=budget_steps * budget_step_s,
        seed=hash(trial.name) % 1000,
        global_step=1,
        preemption_count=0,
        submission_time_s=1.0,
        best_validation=None,
        ledger=Ledger(**BLANK_LEDGER),
        calibration=calibration,
    )


def calibrated(times_s, step_s=0.1, rules=RULES, **fields):
    """Logs of runs whose machine took `step_s`, a number or a function of the trial, for a reference step."""
    tree = make_tree(rules, times_s)
    for trial in tree.trials:
        cost = step_s(trial) if callable(step_s) else step_s
        companions = dataclasses.replace(trial.companions, record=record(trial, cost, **fields))
        trial.__dict__["companions"] = companions
    return tree


def scores(tree, clock):
    return make_board(*in_clock(tree, RULES, SELF, clock), SELF, Mode.RULES).scores


@given(st.lists(st.floats(0.2, 5.0), min_size=4, max_size=4))
def test_a_slower_machine_changes_no_score_in_reference_steps(slowdowns):
    """Each submission runs each workload on another machine; all its times and its steps' cost go with that."""
    machines = np.array(slowdowns).reshape(2, 2)
    workloads = RULES.scored_workloads

    def cost(trial):
        return 0.1 * machines[int(trial.submission[1]), workloads.index(trial.workload)]

    at_home = scores(calibrated(TIMES), Clock.REFERENCE)
    elsewhere = scores(calibrated(TIMES * machines[:, :, None, None], cost), Clock.REFERENCE)
    assert elsewhere == pytest.approx(at_home, rel=1e-9)


def test_in_seconds_it_does_and_each_run_has_its_own_budget():
    slow = np.array([4.0, 1.0])[:, None, None, None]
    tree = calibrated(20 * TIMES, 0.1)
    assert scores(tree, Clock.SECONDS) == pytest.approx([0, 0])  # over 30 s, the budget of 300 steps at 0.1 s
    own = calibrated(TIMES * slow, lambda trial: 0.4 if trial.submission == "s0" else 0.1)
    in_seconds, in_steps = scores(own, Clock.SECONDS), scores(own, Clock.REFERENCE)
    assert in_seconds[0] < in_steps[0]
    assert in_seconds[1] == 1.0


def test_times_in_steps_are_the_logged_steps():
    board = make_board(*in_clock(calibrated(TIMES), RULES, SELF, Clock.STEPS), SELF, Mode.RULES)
    np.testing.assert_allclose(board.times.trial_s, 10 * TIMES)
    assert board.title.endswith(", times in steps")
    late = make_board(*in_clock(calibrated(4 * TIMES), RULES, SELF, Clock.STEPS), SELF, Mode.RULES)
    np.testing.assert_array_equal(np.isinf(late.times.trial_s), 4 * TIMES > 30)


def test_the_clock_is_reference_steps_where_all_runs_have_them_and_seconds_otherwise():
    tree = calibrated(TIMES)
    assert in_clock(tree, RULES, SELF)[1].clock == "reference"
    tree.trials[0].__dict__["companions"] = dataclasses.replace(tree.trials[0].companions, record=None)
    assert in_clock(tree, RULES, SELF)[1].clock == "seconds"
    with pytest.raises(LogsError, match="1 of 12 runs have recorded no reference step: s0/study_0/a_jax/trial_1"):
        in_clock(tree, RULES, SELF, Clock.REFERENCE)
    plain = make_rules(WORKLOADS)
    assert in_clock(tree, plain, SELF) == (tree, plain)
    with pytest.raises(LogsError, match="no budget in reference steps for a, b; score by another --clock"):
        in_clock(tree, plain, SELF, Clock.REFERENCE)


def test_the_spread_of_the_unit_widens_intervals_and_no_spread_changes_nothing():
    widths = []
    for spread in (0.0, 0.2):
        tree, rules = in_clock(calibrated(TIMES, spread=spread), RULES, SELF)
        rows = analyse(tree, rules, SELF, seed=0, replicates=300).leaderboard
        widths.append(np.array([row.score_high - row.score_low for row in rows]))
    assert (widths[1] > widths[0]).all()
    exact = make_board(*in_clock(calibrated(TIMES), RULES, SELF), SELF, Mode.RULES).times
    uncertain = dataclasses.replace(exact, study_spread=np.zeros(exact.study_s.shape))
    np.testing.assert_array_equal(
        resample_studies(exact, seed=1, replicates=50), resample_studies(uncertain, seed=1, replicates=50)
    )


def test_a_miss_stays_a_miss_whatever_the_spread():
    times = TIMES.copy()
    times[0, 0] = np.inf
    tree, rules = in_clock(calibrated(times, spread=0.3), RULES, SELF)
    draws = resample_studies(make_board(tree, rules, SELF, Mode.RULES).times, seed=0, replicates=50)
    assert np.isinf(draws[:, 0, 0]).all()
    assert np.isfinite(draws[:, 1]).all()


def test_budgets_are_compared_in_reference_steps():
    for budget_steps, expected in ((300.0, set()), (400.0, {("budget (reference steps)", 400.0, 300.0)})):
        tree, rules = in_clock(calibrated(TIMES, 0.7, budget_steps=budget_steps), RULES, SELF)
        conflicts = {(c.what, c.recorded, c.rules) for c in rule_conflicts(tree, rules, SELF)}
        assert conflicts == expected


def test_the_board_says_what_its_times_are_in():
    tree, rules = in_clock(calibrated(TIMES, spread=0.1), RULES, SELF)
    analysis = analyse(tree, rules, SELF, replicates=20)
    assert "in reference steps" in leaderboard_markdown(analysis)
    assert results_json(analysis)["rules"]["clock"] == "reference"
    json.dumps(results_json(analysis))
    in_seconds = analyse(*in_clock(tree, RULES, SELF, Clock.SECONDS), SELF, replicates=20)
    assert "reference steps" not in leaderboard_markdown(in_seconds)


def test_a_calibration_that_is_not_its_measurements_is_refused():
    trial = make_tree(RULES, TIMES).trials[0]
    good = record(trial, 0.5).calibration
    with pytest.raises(ValueError, match="step_s is a mean of the measured costs"):
        dataclasses.replace(good, step_s=50.0)
    assert Calibration.from_json(json.loads(json.dumps(dataclasses.asdict(good)))) == good
    assert Path(trial.path).name == "1"
