"""Published boards as data: newcomers are placed on them without the logs of those who are there."""

import csv
import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest

from scoring.board import make_board
from scoring.logs import read_logs
from scoring.matrix import performance_ratios, qualified_times
from scoring.placement import place_submissions
from scoring.profiles import grid_score
from scoring.published import PublishedBoardError, board_names, boards_with_times, published_board
from scoring.published.__main__ import board_toml
from scoring.published.__main__ import main as published_main
from scoring.rules import load_rules
from scoring.score_submissions import main
from scoring.simulate import SimulatedSubmission, write_logs
from scoring.times import Mode

BOARD = published_board("algoperf-v0.5-self")
RULES = load_rules("v0.5")
SELF = RULES.tuning["self"]


def written(folder: Path, factor: float, name: str = "newcomer") -> Path:
    """Logs of a submission that takes `factor` times the fastest published times, where somebody has one."""
    fastest = BOARD.time_matrix(RULES.scored_workloads).min(axis=0)
    medians = {w: factor * t for w, t in zip(RULES.scored_workloads, fastest, strict=True) if math.isfinite(t)}
    write_logs(folder, [SimulatedSubmission(name=name, noise=0.0, median_s=medians)], RULES, SELF, evaluations=4000)
    return folder


def placed(logs: Path, mode: Mode = Mode.RULES):
    board = make_board(read_logs(logs, RULES.workloads), RULES, SELF, mode)
    return place_submissions(board, BOARD)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("newcomer"), 1.25)


@pytest.mark.parametrize("name", board_names())
def test_every_board_has_a_source_and_rules(name: str) -> None:
    board = published_board(name)
    assert board.source
    assert board.tuning in load_rules(board.rules).tuning
    assert set(board.scores_by_steps) <= set(board.scores)
    for times in board.times_s.values():
        assert set(times) <= set(load_rules(board.rules).scored_workloads)


@pytest.mark.parametrize("name", boards_with_times())
def test_published_scores_follow_from_the_published_times(name: str) -> None:
    board = published_board(name)
    rules = load_rules(board.rules)
    times = board.time_matrix(rules.scored_workloads)
    args = (rules.scored_workloads, rules.base_workloads, rules.held_out, rules.cutoff_factor)
    scores = grid_score(performance_ratios(qualified_times(times, *args)), rules.tau_max)
    assert np.round(scores, 4).tolist() == [board.scores[s] for s in board.submissions]


def test_the_data_are_what_the_published_logs_give(published_logs: Path) -> None:
    board = make_board(read_logs(published_logs, RULES.workloads), RULES, SELF, Mode.ALGOPERF)
    text = board_toml(board, title=BOARD.title, source=BOARD.source, hardware=BOARD.hardware)
    assert text == (Path(published_main.__code__.co_filename).parent / f"{BOARD.name}.toml").read_text()


def test_a_newcomer_is_scored_by_the_fixed_reference_and_among_all(logs: Path) -> None:
    placement = placed(logs)
    rows = {(row.submission, row.published): row for row in placement.rows}
    newcomer = rows["newcomer", False]
    solved = [ratio for ratio in newcomer.ratios if math.isfinite(ratio)]
    np.testing.assert_allclose(solved, 1.25, rtol=0.01)
    # nobody who is published solves ImageNet with the ResNet, and neither does the newcomer: seven of eight count
    assert len(solved) == 7
    assert newcomer.score == pytest.approx(7 / 8 * (4 - 1.25) / 3, abs=0.005)
    assert newcomer.joint_score == pytest.approx(newcomer.score)
    assert {row.submission: row.score for row in placement.rows if row.published} == BOARD.scores


def test_a_faster_newcomer_moves_the_joint_scores_and_not_the_published_ones(tmp_path: Path) -> None:
    placement = placed(written(tmp_path, 0.5))
    rows = {row.submission: row for row in placement.rows}
    assert rows["newcomer"].joint_rank == 1
    assert rows["newcomer"].score == pytest.approx(7 / 8)
    assert min(rows["newcomer"].ratios) == pytest.approx(0.5, rel=0.02)
    for name in ("schedule_free_adamw", "baseline"):
        assert rows[name].score == BOARD.scores[name]
        assert rows[name].joint_score < BOARD.scores[name] - 0.1


def test_whoever_equals_a_published_submission_gets_its_score(tmp_path: Path) -> None:
    twin = SimulatedSubmission(name="baseline", noise=0.0, median_s=BOARD.times_s["baseline"])
    write_logs(tmp_path, [twin], RULES, SELF, evaluations=4000)
    rows = {row.published: row for row in placed(tmp_path, Mode.ALGOPERF).rows if row.submission == "baseline"}
    assert rows[False].score == pytest.approx(BOARD.scores["baseline"], abs=0.01)
    assert rows[False].ratios == pytest.approx(rows[True].ratios, rel=0.05)


def test_the_command_places_writes_and_marks(logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    quick = ["--bootstrap_replicates=20", "--no-compute_performance_profiles", "--no-report"]
    folders = [f"--submission_directory={logs}", f"--output_dir={tmp_path}"]
    assert main([*folders, *quick, f"--against={BOARD.name}"]) == 0
    printed = capsys.readouterr().out
    assert f"on the published board {BOARD.name} (made on 8 x V100 16 GB; fixed reference" in printed
    with (tmp_path / "against.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["submission"] for row in rows if row["published"] == "False"] == ["newcomer"]
    assert len(rows) == len(BOARD.scores) + 1
    board = (tmp_path / "leaderboard.md").read_text()
    assert "## On the published board AlgoPerf v0.5, self-tuning (2024)" in board
    assert "schedule\\_free\\_adamw | published | 0.8542" in board
    against = json.loads((tmp_path / "results.json").read_text())["against"]
    assert against["reference"].startswith("fixed reference")
    assert against["board"]["source"] == BOARD.source
    assert len(against["profiles"]) == len(rows)
    assert (tmp_path / "against_profiles.csv").exists()


def test_a_board_without_times_is_listed_and_places_nobody(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folders = [f"--submission_directory={logs}", f"--output_dir={tmp_path}"]
    assert main([*folders, "--against=algoperf-v0.5-external"]) == 2
    message = capsys.readouterr().err
    assert "has scores and no times to target, so nobody can be placed on it" in message
    assert "algoperf-v0.5-self can be placed on" in message
    assert not list(tmp_path.iterdir())
    assert published_main(["algoperf-v1.0-self"]) == 0
    listed = capsys.readouterr().out
    assert "scores only: nobody can be placed on it" in listed
    assert "ademamix" in listed
    assert "0.485 by steps" in listed


def test_other_rules_are_no_match(logs: Path) -> None:
    board = make_board(read_logs(logs, RULES.workloads), RULES, RULES.tuning["external"], Mode.RULES)
    with pytest.raises(PublishedBoardError, match=r"made under rules v0\.5, self tuning"):
        place_submissions(board, BOARD)


def test_unknown_boards_and_impossible_numbers() -> None:
    with pytest.raises(PublishedBoardError, match="no published board 'nowhere'; there are algoperf-"):
        published_board("nowhere")
    with pytest.raises(PublishedBoardError, match="expected a score of x in"):
        dataclasses.replace(BOARD, scores={"x": 1.5})
    with pytest.raises(PublishedBoardError, match="x needs a score and positive times"):
        dataclasses.replace(BOARD, scores={"x": 0.5}, times_s={"x": {"wmt": -1.0}})
