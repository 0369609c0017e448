"""Agreement of a board with a published one: laws of Kendall's tau, intervals, and the command."""

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scoring.agreement import board_agreement, compare_boards, main, matches_of, verdict
from scoring.logs import read_logs
from scoring.published import PublishedBoard, board_names, published_board
from scoring.rules import load_rules
from scoring.score_submissions import main as score
from scoring.score_tables import AgreementError, ScoreTable, published_tables, tables_of_logs
from scoring.statistics.rank_correlation import chance_of_as_high_a_tau, kendall_tau

BOARD = Path(__file__).resolve().parents[2] / "docs/leaderboard/mini"
scores = st.lists(st.sampled_from([0.0, 0.1, 0.25, 0.4, 0.6, 0.9]), min_size=4, max_size=7)


def table(values: list[float], **further) -> ScoreTable:
    names = tuple(f"s{i}" for i in range(len(values)))
    return ScoreTable(name="time", submissions=names, scores=np.array(values), **further)


def board_of(scores: dict[str, float]) -> PublishedBoard:
    return PublishedBoard(
        name="test",
        title="Test",
        source="none",
        rules="mini-2026-11",
        tuning="self",
        hardware="2 cores",
        complete=True,
        scores=scores,
    )


@given(scores, st.data())
def test_tau_is_that_of_scipy(first: list[float], data) -> None:
    second = data.draw(st.permutations(first))
    expected = stats.kendalltau(first, second).statistic
    found = kendall_tau(np.array(first), np.array(second))
    assert math.isclose(found, expected, abs_tol=1e-12) or (np.isnan(found) and np.isnan(expected))


@given(st.permutations([0.1, 0.2, 0.3, 0.5, 0.8]))
def test_a_board_agrees_with_itself_and_opposes_its_reverse(values: list[float]) -> None:
    same, reverse = (
        board_agreement(table(values), table(values)),
        board_agreement(table(values), table([-v for v in values])),
    )
    assert (same.tau, same.agreeing, same.pairs) == (1.0, 10, 10)
    assert (reverse.tau, reverse.agreeing) == (-1.0, 0)
    assert same.chance == reverse.chance_low == pytest.approx(1 / 120)
    assert same.shown
    assert reverse.contradicted


@given(scores, st.data())
def test_the_order_of_rows_does_not_matter(values: list[float], data) -> None:
    other = data.draw(st.permutations(values))
    order = data.draw(st.permutations(range(len(values))))
    draws = np.random.default_rng(0).normal(values, 0.1, (50, len(values)))
    ours, theirs = table(values, draws=draws), table(other)
    names = [ours.submissions[i] for i in order]
    left, right = (
        dataclasses.asdict(a)
        for a in (board_agreement(ours, theirs), board_agreement(ours.of(names), theirs.of(names)))
    )
    for key, value in left.items():
        assert right[key] == value or np.isclose(right[key], value, equal_nan=True), key


def test_noise_of_either_side_widens_the_interval() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.5]
    noise = np.random.default_rng(0).normal(values, 0.15, (500, 5))
    exact = board_agreement(table(values), table(values))
    one = board_agreement(table(values, draws=noise), table(values))
    both = board_agreement(table(values, draws=noise), table(values, draws=noise[::-1]))
    assert exact.low == 1.0 > one.low > both.low
    assert one.high == both.high == 1.0


def test_chance_over_random_orders_is_near_that_over_all_of_them() -> None:
    values = np.arange(8.0)
    swapped = values[[1, 0, 2, 3, 5, 4, 6, 7]]
    p_value = stats.kendalltau(values, swapped, alternative="greater", method="exact").pvalue
    assert chance_of_as_high_a_tau(values, swapped, seed=0) == pytest.approx(p_value, abs=3e-4)


def test_pairs_that_are_told_apart_are_counted() -> None:
    better = np.array([[False, True, True], [False, False, False], [False, False, False]])
    found = board_agreement(table([0.9, 0.5, 0.4], better=better), table([0.5, 0.6, 0.4]))
    assert (found.resolved, found.resolved_agreeing, found.agreeing) == (2, 1, 2)


def test_few_entrants_show_nothing_and_many_do() -> None:
    few, many = table([0.9, 0.5, 0.1]), table([0.9, 0.8, 0.6, 0.5, 0.1])
    sentence = verdict(few.submissions, [board_agreement(few, few)], board_of({}))
    assert sentence.startswith("3 entrants are too few")
    assert verdict(many.submissions, [board_agreement(many, many)], board_of({})).startswith(
        "This board predicts the order"
    )
    against = table([0.1, 0.5, 0.6, 0.8, 0.9])
    assert "contradicts" in verdict(many.submissions, [board_agreement(many, against)], board_of({}))
    unclear = table([0.9, 0.5, 0.8, 0.1, 0.6])
    assert "does not show" in verdict(many.submissions, [board_agreement(many, unclear)], board_of({}))


def test_entrants_are_matched_by_name() -> None:
    ours, theirs = table([0.9, 0.5, 0.1]), ScoreTable(name="time", submissions=("x", "y"), scores=np.array([0.1, 0.9]))
    common, (found,) = compare_boards([ours], [theirs], {"s0": "y", "s2": "x", "elsewhere": "z"})
    assert (common, found.tau) == (["s0", "s2"], 1.0)
    with pytest.raises(AgreementError, match="two entrants or more"):
        compare_boards([ours], [theirs], {"s0": "y"})


@pytest.mark.parametrize("name", board_names())
def test_the_shipped_table_names_submissions_of_each_board(name: str) -> None:
    assert len(matches_of(published_board(name))) >= 2


@pytest.mark.parametrize("text", ["", "[test]\nnadamw = 'nobody'\n", "not toml"])
def test_a_wrong_table_is_an_error(text: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(AgreementError, match=r"own\.toml"):
        matches_of(board_of({"a": 0.1}), path)


def test_logs_of_a_published_board_give_its_spread() -> None:
    board = board_of({"nadamw": 0.88, "muon": 0.85})
    with pytest.raises(AgreementError, match="none of nobody"):
        published_tables(board_of({"nobody": 0.5}), BOARD / "logs", seed=0, replicates=20)
    (known,) = published_tables(board, BOARD / "logs", seed=0, replicates=20)
    (exact,) = published_tables(board, None, seed=0, replicates=20)
    assert known.draws is not None
    assert known.draws.shape == (20, 2)
    assert known.draws.std() > 0
    assert exact.draws is None


def test_scores_by_steps_go_by_steps_alone() -> None:
    rules = load_rules("mini-2026-11")
    tree = read_logs(BOARD / "logs", rules.workloads)
    slower = [dataclasses.replace(t, time_s=t.time_s * (1 + 0.001 * t.study)) for t in tree.trials]
    changed = dataclasses.replace(tree, trials=tuple(slower))
    tables = [tables_of_logs(logs, rules, rules.tuning["self"], seed=0, replicates=20) for logs in (tree, changed)]
    assert [t.name for t in tables[0]] == ["time, target", "time, ladder", "steps, target", "steps, ladder"]
    for before, after in zip(*tables, strict=True):
        assert np.array_equal(before.scores, after.scores) == before.name.startswith("steps")


def test_logs_and_their_results_give_the_same_figures(tmp_path: Path, capsys) -> None:
    rules, against = "--rules=mini-2026-11", "--with=algoperf-v1.0-self"
    by_steps = ["--clock=steps", "--statistics=fast", f"--output_dir={tmp_path}"]
    assert score([f"--submission_directory={BOARD / 'logs'}", rules, *by_steps]) == 0
    capsys.readouterr()
    rows = []
    for source in (BOARD / "logs", BOARD / "report/results.json", tmp_path / "results.json"):
        assert main([str(source), rules, against]) == 0
        output = capsys.readouterr().out.splitlines()
        rows.append([line for line in output if line.startswith(("| time", "| steps"))])
        assert output[-1].startswith("3 entrants are too few")
    assert rows[0] == rows[1] + rows[2]
    assert [len(found) for found in rows] == [8, 4, 4]


def test_what_cannot_be_compared_is_one_line(tmp_path: Path, capsys) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"rules": {"name": "mini-2026-11"}}))
    assert main([str(path), "--with=algoperf-v1.0-self"]) == 2
    assert main([str(tmp_path / "none"), "--with=algoperf-v1.0-self"]) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "results.json: expected results.json of a board with statistics" in errors[0]
