"""What two runs say of each other, and what the end of a comparison shows."""

import json
import math
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import algoperf
from algoperf.compare import comparison_as_json
from algoperf.comparison.betting import Verdict
from algoperf.comparison.pairs import MAX_RATIO, CrashedRunError, Pair, RunEnd, steps_that_decide
from algoperf.comparison.result import Comparison
from algoperf.comparison.session import collect
from algoperf.records.step_costs import RelativeStepCost
from algoperf.registry import REGISTRY

MISSED = RunEnd(steps=None, at_least=math.inf)


def cost(ratio=1.0, low=None, high=None) -> RelativeStepCost:
    return RelativeStepCost(
        ratio=ratio,
        low=low or ratio,
        high=high or ratio,
        confidence=0.97,
        cycles=6,
        period=100,
        batch_size=8,
        reference_batch_size=8,
        step_s=0.01 * ratio,
        reference_step_s=0.01,
    )


def reached(steps: int) -> RunEnd:
    return RunEnd(steps=steps, at_least=steps)


def pair(
    mine: RunEnd, against: RunEnd, step_cost: RelativeStepCost | None = None, workload="mnist_mini", study=0
) -> Pair:
    return Pair(workload=workload, study=study, mine=mine, against=against, cost=step_cost or cost())


def test_a_dearer_step_takes_back_what_fewer_steps_gain():
    assert pair(reached(100), reached(200), cost(2.0)).outcomes == pytest.approx((0, 0))
    assert pair(reached(100), reached(200), cost(2.0)).ratio == 1


def test_the_uncertainty_of_the_step_cost_widens_what_is_known():
    low, high = pair(reached(100), reached(110), cost(1.0, 0.95, 1.05)).outcomes
    assert low == pytest.approx(math.log(1.1 / 1.05) / math.log(MAX_RATIO))
    assert high == pytest.approx(math.log(1.1 / 0.95) / math.log(MAX_RATIO))


def test_a_missed_target_counts_for_what_the_run_lasted_at_least():
    out_of_time = RunEnd(steps=None, at_least=120)
    low, high = pair(reached(100), out_of_time).outcomes
    assert (low, high) == pytest.approx((math.log(1.2) / math.log(MAX_RATIO), 1))
    assert pair(reached(100), MISSED).outcomes == (1, 1)
    assert pair(MISSED, reached(100)).outcomes == (-1, -1)
    assert pair(MISSED, MISSED).outcomes == (0, 0)


def test_a_run_that_is_cut_counts_as_the_largest_factor_and_no_later_end_could_change_that():
    step_cost = cost(1.2, 1.1, 1.3)
    limit = steps_that_decide(reached(100), step_cost)
    assert pair(RunEnd(steps=None, at_least=limit), reached(100), step_cost).outcomes == (-1, -1)
    assert steps_that_decide(MISSED, step_cost) is None


class PlannedPairs:
    """Pairs whose ratio of steps is drawn; each takes the budget of its workload."""

    def __init__(self, log_ratio: float, scatter: float, finished: int = 0) -> None:
        self.generator = np.random.default_rng(3)
        self.log_ratio, self.scatter, self.finished = log_ratio, scatter, finished
        self.seen: list[tuple[str, int]] = []
        self.clock = 0.0

    def finished_pair(self, workload, study):
        return self.run_pair(workload, study) if len(self.seen) < self.finished else None

    def run_pair(self, workload, study):
        if len(self.seen) >= self.finished:
            self.clock += self.expected_s(REGISTRY.get(workload))
        self.seen.append((workload, study))
        ratio = math.exp(self.log_ratio + self.scatter * self.generator.standard_normal())
        return pair(reached(round(1000 * ratio)), reached(1000), None, workload, study)

    def expected_s(self, definition):
        return definition.budget.max_runtime_s

    def collect(self, names=("wmt_mini", "imagenet_vit_mini"), deadline=5400.0):
        definitions = [REGISTRY.get(name) for name in names]
        return collect(self, definitions, deadline, lambda line: None, now=lambda: self.clock)


def test_a_round_has_every_workload_once_the_shortest_first():
    pairs = PlannedPairs(0.0, 0.2)
    pairs.collect()
    assert pairs.seen[:4] == [(name, seed) for seed in (0, 1) for name in ("imagenet_vit_mini", "wmt_mini")]


def test_it_ends_as_soon_as_it_is_decided():
    pairs, verdict, _ = PlannedPairs(math.log(3), 0.0).collect()
    assert (len(pairs), verdict) == (7, Verdict.SLOWER)


def test_it_starts_nothing_that_cannot_be_decided_in_time():
    source = PlannedPairs(math.log(3), 0.0)
    pairs, verdict, reason = source.collect(deadline=600.0)
    assert (pairs, verdict) == ([], Verdict.UNDECIDED)
    assert "would not decide" in reason


def test_it_ends_early_where_the_pairs_so_far_promise_no_verdict():
    source = PlannedPairs(0.0, 0.05)
    pairs, verdict, reason = source.collect(deadline=3600.0)
    assert verdict is Verdict.UNDECIDED
    assert len(pairs) == 8
    assert "with a chance of" in reason


def test_finished_pairs_cost_no_time():
    source = PlannedPairs(math.log(0.5), 0.0, finished=6)
    pairs, verdict, _ = source.collect(deadline=400.0)
    assert (len(pairs), verdict, source.clock) == (7, Verdict.FASTER, 100.0)


def comparison(pairs, verdict, reason="decided") -> Comparison:
    return Comparison(
        mine="mine",
        against="nadamw",
        framework="jax",
        verdict=verdict,
        reason=reason,
        pairs=pairs,
        workloads=("mnist_mini", "wmt_mini"),
        folder=Path("logs"),
    )


def test_the_sentence_names_who_is_faster_and_by_how_much():
    result = comparison([pair(reached(800), reached(1000), study=seed) for seed in range(20)], Verdict.FASTER)
    assert result.sentence.startswith("mine is faster than nadamw: its time to target is 0.80 times the other's")
    assert result.interval.low < 0.8 < result.interval.high < 1
    [row] = result.rows
    assert (row.pairs, row.steps, row.steps_against, row.ratio) == (20, 800, 1000, 0.8)


def test_a_workload_that_one_of_the_two_misses_is_shown_as_missed():
    text = comparison([pair(MISSED, reached(1000))], Verdict.UNDECIDED, "the time is up").text()
    assert "Undecided between mine and nadamw after 1 pair of runs on 1 of 2 workloads (the time is up)" in text
    assert "missed" in text
    assert "its time to target is at least 1.50 times the other's" in text
    assert "nan" not in text + comparison([], Verdict.UNDECIDED, "the time is up").text()


@pytest.mark.parametrize("pairs", [[], [pair(MISSED, reached(1000))], [pair(reached(800), reached(1000))]])
def test_as_json_it_is_what_the_schema_describes(pairs):
    schema = json.loads((Path(algoperf.__file__).parent / "cli/schema.json").read_text())
    answer = comparison_as_json(comparison(pairs, Verdict.UNDECIDED))
    jsonschema.validate(answer, {"$ref": "#/$defs/compare", "$defs": schema["$defs"]})
    json.dumps(answer, allow_nan=False)


def test_a_crash_is_an_error_and_no_defeat(tmp_path):
    from algoperf.records.outcome import Outcome
    from algoperf.records.trial import Ledger, TrialRecord

    zero = dict.fromkeys(
        ("data_selection_s", "update_s", "prepare_for_eval_s", "evaluation_s", "checkpoint_s", "logging_s", "other_s"),
        0,
    )
    TrialRecord(
        outcome=Outcome.CRASHED,
        error="Traceback\nValueError: no self_tuning_file",
        workload="mnist_mini",
        framework="jax",
        definition_digest="2:0",
        ruleset="self",
        budget_s=90.0,
        seed=0,
        global_step=3,
        preemption_count=0,
        submission_time_s=1.0,
        best_validation=None,
        ledger=Ledger(**zero),
    ).write(tmp_path)
    with pytest.raises(CrashedRunError, match=r"after 3 steps.*no self_tuning_file"):
        RunEnd.read(tmp_path, REGISTRY.get("mnist_mini"))
