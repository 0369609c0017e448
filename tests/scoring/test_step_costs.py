"""The projected board: steps to target times the cost of a step."""

import numpy as np
import pytest
from scoring_boards import make_rules, make_tree

from algoperf.records.step_costs import RelativeStepCost, StepCosts
from scoring.board import make_board
from scoring.clocks import Clock, in_clock
from scoring.logs import LogsError
from scoring.step_costs import ProjectedCosts
from scoring.times import Mode

WORKLOADS = {"a": "maximize", "b": "minimize"}
RULES = make_rules(WORKLOADS)
SELF = RULES.tuning["self"]
TIMES = np.array([[[[8.0]], [[20.0]]], [[[12.0]], [[10.0]]]])  # two submissions, two workloads, one study


def cost(ratio, width=1.0) -> RelativeStepCost:
    return RelativeStepCost(
        ratio=ratio, low=ratio / width, high=ratio * width, confidence=0.95, cycles=6, period=100, batch_size=8,
        reference_batch_size=8, step_s=ratio, reference_step_s=1.0,
    )  # fmt: skip


def saved(folder, name, costs, **changes):
    fields = {"framework": "jax", "submission_digest": name, "reference_digest": "r", "step_costs": costs} | changes
    StepCosts(**fields).save(folder / f"{name}.json")


def test_projected_times_are_steps_times_the_cost_of_a_step(tmp_path):
    saved(tmp_path, "s0", {"a": cost(2.0), "b": cost(3.0)})
    saved(tmp_path, "s1", {"a": cost(1.0), "b": cost(0.5)})
    costs = ProjectedCosts.load([tmp_path])
    tree = make_tree(RULES, TIMES)
    steps = make_board(*in_clock(tree, RULES, SELF, Clock.STEPS), SELF, Mode.RULES)
    projected = make_board(*in_clock(tree, RULES, SELF, None, costs), SELF, Mode.RULES)
    ratios = np.array([[2.0, 3.0], [1.0, 0.5]])[:, :, None, None]
    np.testing.assert_allclose(projected.times.trial_s, steps.times.trial_s * ratios)
    assert projected.title.endswith(", times in projected reference steps")


def test_a_cost_known_only_within_limits_is_the_spread_of_the_unit(tmp_path):
    saved(tmp_path, "s0", {"a": cost(2.0, width=1.5), "b": cost(1.0)})
    saved(tmp_path, "s1", {"a": cost(1.0), "b": cost(1.0)})
    tree, _ = in_clock(make_tree(RULES, TIMES), RULES, SELF, None, ProjectedCosts.load([tmp_path]))
    spreads = {(trial.submission, trial.workload): trial.time_spread for trial in tree.trials}
    assert spreads["s0", "a"] == pytest.approx(np.log(1.5) / 1.96, rel=1e-3) == cost(3.0, width=1.5).log_spread
    assert spreads["s1", "a"] == 0


def test_the_cost_of_the_full_size_workload_goes_before_that_of_its_mini():
    costs = ProjectedCosts(costs={"s": {"wmt": cost(1.5), "wmt_mini": cost(4.0), "ogbg_mini": cost(3.0)}})
    assert costs.of("s", "wmt_mini").ratio == 1.5
    assert costs.of("s", "ogbg_mini").ratio == 3.0
    with pytest.raises(LogsError, match="no cost of s on fastmri or fastmri_mini, but on ogbg_mini, wmt, wmt_mini"):
        costs.of("s", "fastmri_mini")
    with pytest.raises(LogsError, match="no cost of t on wmt or wmt_mini, but on nothing"):
        costs.of("t", "wmt_mini")


def test_costs_in_steps_of_different_references_are_not_mixed(tmp_path):
    saved(tmp_path, "s0", {"a": cost(2.0)})
    saved(tmp_path, "s1", {"a": cost(1.0)}, reference_digest="another")
    with pytest.raises(LogsError, match="2 different references"):
        ProjectedCosts.load([tmp_path])
    with pytest.raises(LogsError, match="got none in"):
        ProjectedCosts.load([tmp_path / "nowhere_as_a_folder", tmp_path / "empty"][:0])


def test_costs_and_clocks_that_do_not_belong_together_are_refused():
    tree, costs = make_tree(RULES, TIMES), ProjectedCosts(costs={})
    with pytest.raises(LogsError, match="--step_costs is for the projected clock, not for --clock=steps"):
        in_clock(tree, RULES, SELF, Clock.STEPS, costs)
    with pytest.raises(LogsError, match="--clock=projected needs --step_costs"):
        in_clock(tree, RULES, SELF, Clock.PROJECTED)
