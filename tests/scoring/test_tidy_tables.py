"""Tidy tables hold what the logs say, in every format alike."""

import dataclasses
import math
import sys
from pathlib import Path

import numpy as np
import pytest

from scoring.board import Board, make_board
from scoring.logs import LogTree, read_logs
from scoring.rules import Rules
from scoring.tables import KEYS, TablesError, board_latex, check_formats, study_rows, trial_rows, write_tidy_tables
from scoring.times import Mode

pandas = pytest.importorskip("pandas")
HEADER = "accumulated_submission_time,global_step,validation/wer,test/wer\n"
PLACE = "swift/study_0/speech_jax"


@pytest.fixture
def scored(written_board: Path, small_rules: Rules) -> tuple[LogTree, Board]:
    """Study 0 of `swift` on `speech` has a near miss and a hit after the budget in trial 1, a hit in trial 2."""
    (written_board / PLACE / "trial_2").mkdir()
    first = "10,100,0.9,0.9\n50,500,0.21,0.5\n170,1700,0.1,0.1\n"
    (written_board / PLACE / "trial_1/eval_measurements.csv").write_text(HEADER + first)
    second = "10,100,0.9,0.9\n60,600,0.2,0.5\n70,700,0.1,0.3\n"
    (written_board / PLACE / "trial_2/eval_measurements.csv").write_text(HEADER + second)
    speech = dataclasses.replace(small_rules.workloads["speech"], test_target=0.3)
    rules = dataclasses.replace(small_rules, workloads={**small_rules.workloads, "speech": speech})
    rules = rules.with_counts(studies=3, trials=2)
    tree = read_logs(written_board, rules.workloads)
    return tree, make_board(tree, rules, rules.tuning["self"], Mode.RULES)


def test_trials_tell_time_and_steps_to_both_targets_and_near_misses(scored: tuple[LogTree, Board]) -> None:
    rows = {row.trial: row for row in trial_rows(*scored) if (row.submission, row.workload, row.study) == _STUDY}
    near, hit = rows[1], rows[2]
    assert (near.time_to_target_s, near.best_validation) == (math.inf, 0.21)
    assert near.distance_to_target == pytest.approx(0.05)
    assert math.isnan(near.steps_to_target)
    assert (hit.time_to_target_s, hit.steps_to_target, hit.evaluations_to_target) == (60.0, 600.0, 2.0)
    assert hit.time_to_test_target_s == 70.0
    assert near.time_to_test_target_s == math.inf
    assert hit.distance_to_target <= 0


_STUDY = ("swift", "speech", 0)


def test_a_studys_row_is_its_fastest_trial_and_agrees_with_the_board(scored: tuple[LogTree, Board]) -> None:
    tree, board = scored
    rows = study_rows(trial_rows(tree, board))
    assert len(rows) == board.times.study_s.size
    for row in rows:
        i, j = board.times.index(row.submission, row.workload)
        assert row.time_to_target_s == board.times.study_s[i, j, row.study]
    [row] = [row for row in rows if (row.submission, row.workload, row.study) == _STUDY]
    assert (row.trial, row.trials_read, row.time_to_test_target_s) == (2, 2, 70.0)


def test_csv_and_parquet_hold_the_same(scored: tuple[LogTree, Board], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    tree, board = scored
    written = write_tidy_tables(tree, board, tmp_path, {"csv", "parquet"})
    assert len(written) == 6
    for name in ("trials", "studies", "evaluations"):
        table = pandas.read_csv(tmp_path / f"{name}.csv")
        assert list(table.columns[:5]) == list(KEYS)
        pandas.testing.assert_frame_equal(table, pandas.read_parquet(tmp_path / f"{name}.parquet"), check_dtype=False)
    evaluations = pandas.read_csv(tmp_path / "evaluations.csv")
    assert len(evaluations) == sum(len(trial.time_s) for trial in tree.trials)
    assert np.array_equal(evaluations["time_s"], np.concatenate([trial.time_s for trial in tree.trials]))


def test_a_format_without_its_library_or_unknown_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TablesError, match="a comma list of csv, parquet, latex, got excel"):
        check_formats({"excel"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    check_formats({"csv", "latex"})
    with pytest.raises(TablesError, match=r"pip install 'algoperf\[scoring-tables\]', or say --tables=csv"):
        check_formats({"parquet"})


def test_the_board_in_latex_escapes_names(scored: tuple[LogTree, Board]) -> None:
    _, board = scored
    times = dataclasses.replace(board.times, submissions=("50%_slow&", "swift\\x"))
    text = board_latex(dataclasses.replace(board, times=times), {"50%_slow&": (0.25, 0.5)})
    assert r"50\%\_slow\& & " in text
    assert r"swift\textbackslash{}x & " in text
    assert "0.250 to 0.500" in text
    assert text.count(r"\\") == 3
