"""The ladder of targets: rungs from kept runs, times to rungs, and laws of the ladder score."""

import dataclasses
import itertools
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algoperf.definition import Direction, MetricSpec
from algoperf.errors import UserError
from algoperf.target_setting.result import Evaluation, FinishedRun, Result
from algoperf.target_setting.rungs import check_ladders, ladders_toml, rungs_of
from scoring.analysis import analyse
from scoring.board import make_board
from scoring.ladder import Passage, passed_at, rung_shares, rung_tables, score_ladder
from scoring.logs import LogTree
from scoring.rules import Rules, RulesError, load_rules
from scoring.rules.freeze import frozen_toml
from scoring.score_submissions import main
from scoring.statistics.bootstrap import resample_rungs
from scoring.statistics.ranking import separate_rungs
from scoring.times import Mode
from tests.scoring.scoring_boards import make_rules, make_tree, make_trial

ROOT = Path(__file__).resolve().parents[2]
LOGS = ROOT / "docs/leaderboard/mini/logs"
BASES = {"a": "maximize", "b": "minimize"}
RUNGS = {"a": (0.5, 0.7), "b": (0.5, 0.3)}
UP, DOWN = (
    MetricSpec(name="accuracy", direction=Direction.MAXIMIZE),
    MetricSpec(name="wer", direction=Direction.MINIMIZE),
)


def with_rungs(rules: Rules, rungs: dict[str, tuple[float, ...]]) -> Rules:
    workloads = {name: dataclasses.replace(rule, rungs=rungs[name]) for name, rule in rules.workloads.items()}
    return dataclasses.replace(rules, workloads=workloads)


RULES = with_rungs(make_rules(BASES), RUNGS)


def trial_of(values: list[float], times_s: list[float]):
    trial = make_trial(RULES, "s0", "a", 0, 1, 1.0)
    return dataclasses.replace(trial, validation=np.array(values), time_s=np.array(times_s))


curves = st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12)
study_times = st.lists(st.sampled_from([3.0, 5.0, 8.0, 13.0, 40.0, np.inf]), min_size=18, max_size=18)


def tree_of(times_s: list[float]) -> LogTree:
    return make_tree(RULES, np.array(times_s).reshape(3, 2, 3, 1))


# Times to a rung.


def test_a_rung_is_passed_between_two_evaluations() -> None:
    assert passed_at(trial_of([0.1, 0.5, 0.9], [10.0, 20.0, 30.0]), UP, 0.7, 100.0, Passage()) == (
        pytest.approx(25.0),
        2,
    )
    assert passed_at(trial_of([0.9, 0.5, 0.1], [10.0, 20.0, 30.0]), DOWN, 0.4, 100.0, Passage()) == (
        pytest.approx(22.5),
        2,
    )


@pytest.mark.parametrize("before", [[], [np.nan]])
def test_without_a_value_before_the_evaluation_counts(before: list[float]) -> None:
    values = [*before, 0.9]
    time_s, at = passed_at(trial_of(values, [10.0, 20.0][: len(values)]), UP, 0.7, 100.0, Passage())
    assert (time_s, at) == (10.0 * len(values), len(before))


def test_the_evaluation_that_shows_it_lies_within_the_budget() -> None:
    assert passed_at(trial_of([0.1, 0.9], [10.0, 20.0]), UP, 0.2, 19.0, Passage()) == (np.inf, -1)


def test_a_lucky_evaluation_is_no_sustained_passage() -> None:
    trial = trial_of([0.1, 0.8, 0.2, 0.3, 0.75, 0.8, 0.9], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    assert passed_at(trial, UP, 0.7, 100.0, Passage())[1] == 1
    assert passed_at(trial, UP, 0.7, 100.0, Passage(needed=2, of=3))[1] == 4
    stopped = trial_of([0.1, 0.2, 0.9], [1.0, 2.0, 3.0])
    assert passed_at(stopped, UP, 0.7, 100.0, Passage(needed=2, of=3))[1] == 2, "what a run has no time for is not held"


@given(curves, st.floats(0.05, 0.95), st.floats(0.0, 0.05))
def test_a_harder_rung_is_never_passed_sooner(values: list[float], target: float, harder: float) -> None:
    trial = trial_of(values, [float(i + 1) for i in range(len(values))])
    for passage in (Passage(), Passage(needed=2, of=2)):
        easy, hard = (passed_at(trial, UP, t, 100.0, passage)[0] for t in (target, target + harder))
        assert easy <= hard + 1e-12


@given(curves, st.floats(0.05, 0.95))
def test_interpolation_stays_between_the_evaluations(values: list[float], target: float) -> None:
    trial = trial_of(values, [2.0 * (i + 1) for i in range(len(values))])
    time_s, at = passed_at(trial, UP, target, 100.0, Passage())
    if at >= 0:
        assert trial.time_s[at] - 2.0 <= time_s <= trial.time_s[at]


@pytest.mark.parametrize("text", ["3/2", "0/1", "two", "2", "1/"])
def test_impossible_passages_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="K/M"):
        Passage.parse(text)


# Laws of the ladder score.


@settings(max_examples=15, deadline=None)
@given(study_times)
def test_a_ladder_of_the_official_target_alone_is_the_official_score(times_s: list[float]) -> None:
    """And so is one of three rungs that are all the official target."""
    tree = tree_of(times_s)
    plain = analyse(tree, make_rules(BASES), RULES.tuning["self"], replicates=50)
    board = plain.rules_board
    for rungs in ((board.times,), (board.times, board.times, board.times)):
        scores = rung_shares(np.stack([t.workload_s for t in rungs]), board).mean(axis=-1)
        np.testing.assert_allclose(scores, board.scores, atol=1e-12)
        drawn = rung_shares(resample_rungs(rungs, seed=0, replicates=50), board)
        separation = separate_rungs(rungs, drawn, board.rules, seed=0)
        np.testing.assert_allclose(separation.p_adjusted, plain.separation.p_adjusted, atol=1e-9)
        np.testing.assert_array_equal(separation.better, plain.separation.better)


@settings(max_examples=15, deadline=None)
@given(study_times, st.permutations(range(3)))
def test_the_order_of_submissions_does_not_matter(times_s: list[float], order: list[int]) -> None:
    tree = tree_of(times_s)
    renamed = LogTree(
        root=tree.root,
        submissions=tuple(tree.submissions[i] for i in order),
        trials=tuple(reversed(tree.trials)),
        findings=(),
    )
    rows = []
    for logs in (tree, renamed):
        board = make_board(logs, RULES, RULES.tuning["self"], Mode.RULES)
        ladder = score_ladder(logs, board, seed=0, replicates=50)
        assert ladder is not None
        rows.append({row.submission: dataclasses.astuple(row)[1:] for row in ladder.rows})
    for name in tree.submissions:
        np.testing.assert_allclose(np.hstack(rows[0][name]), np.hstack(rows[1][name]), atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(study_times)
def test_times_do_not_fall_from_rung_to_rung_and_end_at_the_official_ones(times_s: list[float]) -> None:
    tree = tree_of(times_s)
    board = make_board(tree, RULES, RULES.tuning["self"], Mode.RULES)
    tables = rung_tables(tree, board, Passage())
    assert all((easy.study_s <= hard.study_s).all() for easy, hard in itertools.pairwise(tables))
    np.testing.assert_array_equal(tables[-1].study_s, board.times.study_s)


def test_a_near_miss_counts_on_the_ladder_alone() -> None:
    times_s = np.full((2, 2, 3, 1), 10.0)
    times_s[1] = np.inf
    tree = make_tree(RULES, times_s)  # a miss is 0.1 short of the target: on the rung before it
    board = make_board(tree, RULES, RULES.tuning["self"], Mode.RULES)
    ladder = score_ladder(tree, board, seed=0, replicates=50)
    assert ladder is not None
    assert board.scores[1] == 0.0
    missed = next(row for row in ladder.rows if row.submission == "s1")
    assert missed.score > 0.2
    assert missed.scores_by_rung[-1] == 0.0
    assert ladder.targets == ((0.5, 0.7, 0.8), (0.5, 0.3, 0.2))


# Rule sets.


@pytest.mark.parametrize("rungs", [(0.7, 0.5), (0.5, 0.5), (0.8,), (0.9,)])
def test_rungs_go_from_easy_to_hard_and_end_before_the_target(rungs: tuple[float, ...]) -> None:
    with pytest.raises(RulesError, match="from easy to hard"):
        dataclasses.replace(RULES.workloads["a"], rungs=rungs)


def test_scored_workloads_have_equally_many_rungs() -> None:
    with pytest.raises(RulesError, match="equally many rungs"):
        with_rungs(make_rules(BASES), RUNGS | {"a": (0.5,)})


def test_rungs_of_an_unknown_workload_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(frozen_toml(load_rules("mini-2026-11")) + "no_such_task = [0.1]\n")
    with pytest.raises(RulesError, match="no_such_task"):
        load_rules(str(path))


@pytest.mark.parametrize("name", ["mini", "mini-v1.0", "mini-2026-11"])
def test_the_minis_have_a_ladder(name: str) -> None:
    assert load_rules(name).has_ladder
    assert not load_rules("v0.5").has_ladder


# Rungs from kept runs.


def result_of(curves: dict[str, list[float]], final: float) -> Result:
    def run(stage: str, algorithm: str, values: list[float]) -> FinishedRun:
        evaluations = tuple(Evaluation(step=i, time_s=1.0 * i, validation=v, test=v) for i, v in enumerate(values))
        return FinishedRun(
            stage=stage,
            algorithm=algorithm,
            framework="jax",
            point=0,
            seed=0,
            hyperparameters={},
            outcome="completed",
            evaluation_share=None,
            peak_memory_gb=None,
            evaluations=evaluations,
        )

    runs = [run("tuning", name, values) for name, values in curves.items()]
    seeds = [run("seeds", "adamw", [next(iter(curves.values()))[0], final])]
    return Result(workload="wmt_mini", framework="jax", trials=1, seeds=1, steps=10, machine="m", runs=(*runs, *seeds))


def test_what_is_left_of_the_way_halves_from_rung_to_rung() -> None:
    result = result_of({"adamw": [0.0, 0.3, 0.7], "nadamw": [0.0, 0.7, 0.8]}, 0.8)
    assert rungs_of(result, UP) == pytest.approx((0.64, 0.72, 0.76, 0.78))


def test_perplexity_halves_what_is_left_of_the_loss() -> None:
    loss = result_of({"adamw": [6.0, 3.0]}, 2.0)
    perplexity = result_of({"adamw": [math.exp(6.0), math.exp(3.0)]}, math.exp(2.0))
    metric = dataclasses.replace(UP, name="ppl", direction=Direction.MINIMIZE)
    rungs = rungs_of(perplexity, metric)
    assert [math.log(rung) for rung in rungs] == pytest.approx([2.8, 2.4, 2.2, 2.1], abs=1e-3)
    assert rungs_of(loss, dataclasses.replace(metric, name="loss")) == pytest.approx((2.8, 2.4, 2.2, 2.1))


def test_no_training_curve_moves_a_rung() -> None:
    slow, fast = ({"adamw": [0.0, v, 0.7], "nadamw": [0.0, v, 0.8]} for v in (0.1, 0.7))
    assert rungs_of(result_of(slow, 0.8), UP) == rungs_of(result_of(fast, 0.8), UP)


def test_a_workload_that_does_not_train_has_no_ladder() -> None:
    with pytest.raises(UserError, match="harder rungs"):
        rungs_of(result_of({"adamw": [0.8, 0.8]}, 0.8), UP)


def test_the_check_names_a_ladder_that_its_runs_do_not_give(tmp_path: Path) -> None:
    kept, rules = ROOT / "docs/target_setting", tmp_path / "rules.toml"
    rules.write_text(ladders_toml(kept))
    assert check_ladders(kept, rules) == []
    rules.write_text(ladders_toml(kept).replace("wmt_mini = [", "wmt_mini = [1.0, "))
    (problem,) = check_ladders(kept, rules)
    assert problem.startswith("wmt_mini: its ladder is [1.0, ")
    with pytest.raises(UserError, match="expected a rule set"):
        check_ladders(kept, tmp_path / "none.toml")


def test_the_ladder_of_the_minis_is_what_the_kept_runs_give() -> None:
    assert check_ladders(ROOT / "docs/target_setting", ROOT / "scoring/rules/mini.toml") == []
    rules = load_rules("mini")
    assert {name for name, rule in rules.workloads.items() if rule.rungs} == set(rules.scored_workloads)
    assert all((ROOT / f"docs/target_setting/{name}.json").is_file() for name in rules.scored_workloads)


# The command.


def test_the_board_shows_the_ladder_and_leaves_the_official_score_alone(tmp_path: Path, capsys) -> None:
    options = [f"--submission_directory={LOGS}", "--rules=mini-2026-11", "--statistics=fast"]
    assert main([*options, f"--output_dir={tmp_path / 'with'}", "--sustained=2/3"]) == 0
    assert "ladder of 5 targets" in capsys.readouterr().out
    assert main([*options, f"--output_dir={tmp_path / 'without'}", "--no-ladder"]) == 0
    assert "ladder" not in capsys.readouterr().out
    with_it, without = (json.loads((tmp_path / d / "results.json").read_text()) for d in ("with", "without"))
    assert without.pop("ladder") is None
    ladder = with_it.pop("ladder")
    assert with_it == without
    assert ladder["passage"] == "2 of 3 evaluations on it"
    assert np.shape(ladder["study_times_s"]) == (5, 5, 8, 3)
    assert len((tmp_path / "with/ladder.csv").read_text().splitlines()) == 1 + 8 * 5 * 5
    assert "## The ladder of targets" in (tmp_path / "with/leaderboard.md").read_text()


def test_a_wrong_passage_is_a_usage_error() -> None:
    command = [sys.executable, "-m", "scoring.score_submissions", f"--submission_directory={LOGS}", "--sustained=4/3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "expected K/M" in done.stderr
