"""Bad input gets a clear message, and the rest is still scored."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

from algoperf.records.outcome import Outcome
from algoperf.records.trial import Ledger, TrialRecord
from scoring.analysis import Analysis, analyse
from scoring.board import Board, make_board
from scoring.log_issues import Severity
from scoring.logs import LogsError, LogStatus, LogTree, read_logs
from scoring.outcomes import InferredOutcome, ending
from scoring.rules import Rules
from scoring.times import Mode

CSV = "eval_measurements.csv"


def board_of(folder: Path, rules: Rules, mode: Mode = Mode.RULES) -> tuple[LogTree, Board]:
    tree = read_logs(folder, rules.workloads)
    return tree, make_board(tree, rules, rules.tuning["self"], mode)


def score_of(folder: Path, rules: Rules, name: str = "swift") -> float:
    _, board = board_of(folder, rules)
    return float(board.scores[board.submissions.index(name)])


def codes(tree: LogTree) -> set[str]:
    return {finding.code for finding in tree.findings}


def trial(folder: Path, study: int = 0, workload: str = "speech_jax", submission: str = "swift") -> Path:
    return folder / submission / f"study_{study}" / workload / "trial_1"


def test_sound_logs_give_no_finding(written_board: Path, small_rules: Rules) -> None:
    tree, board = board_of(written_board, small_rules)
    assert tree.findings == ()
    assert dict(zip(board.submissions, board.scores > 0.5, strict=True)) == {"slow": True, "swift": True}
    assert board.submissions[board.ranking()[0]] == "swift"


def test_a_missing_folder_and_an_empty_one_say_what_is_expected(tmp_path: Path, small_rules: Rules) -> None:
    for folder in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(LogsError, match=r"expected <submission>/study_<s>/<workload>_<framework>/trial_<k>/"):
            read_logs(folder, small_rules.workloads)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "no_eval_csv"),
        (b"", "empty_eval_csv"),
        (b"  \n\n", "empty_eval_csv"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "lfs_pointer"),
        (b"\x00\x01\x02\xff" * 100, "binary_eval_csv"),
        (b"a,b,c\n1,2,3\n", "no_known_column"),
        (b"validation/wer,global_step\n0.1,5\n", "no_time_column"),
        (b"accumulated_submission_time,global_step\n1,5\n", "no_metric_column"),
        (b"accumulated_submission_time,validation/wer\n", "no_rows"),
    ],
)
def test_an_unusable_table_is_a_listed_miss(
    written_board: Path, small_rules: Rules, content: bytes | None, code: str
) -> None:
    path = trial(written_board) / CSV
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    tree, board = board_of(written_board, small_rules)
    (finding,) = tree.findings
    assert finding.code == code
    assert finding.path == "swift/study_0/speech_jax/trial_1"
    assert "counts as a miss" in finding.message
    i, j = board.times.index("swift", "speech")
    assert np.isinf(board.times.study_s[i, j]).tolist() == [True, False, False]
    assert np.isfinite(board.times.workload_s[i, j])  # two good studies of three decide the median


def test_a_truncated_table_keeps_its_whole_rows(written_board: Path, small_rules: Rules) -> None:
    path = trial(written_board, submission="slow") / CSV
    text = path.read_text()
    path.write_text(text[: int(len(text) * 0.6)].rstrip("0123456789.\r\n")[:-3])
    tree, _ = board_of(written_board, small_rules)
    (cut,) = [t for t in tree.trials if t.path == path.parent]
    assert codes(tree) == {"repaired_csv"}
    assert 0 < len(cut.time_s) < len(text.splitlines()) - 1


def test_text_in_a_cell_and_empty_cells_are_nan(written_board: Path, small_rules: Rules) -> None:
    path = trial(written_board) / CSV
    path.write_text("accumulated_submission_time,global_step,validation/wer\n1,1,oops\n2,,0.5\n3,30,\n4,40,0.1\n")
    tree, board = board_of(written_board, small_rules)
    assert board.times.study_s[*board.times.index("swift", "speech"), 0] == 4.0
    assert any("1 cell(s) that are no numbers" in f.message for f in tree.findings)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "NaN"])
def test_a_metric_that_is_not_finite_never_meets_the_target(
    written_board: Path, small_rules: Rules, value: str
) -> None:
    path = trial(written_board) / CSV
    path.write_text(f"accumulated_submission_time,validation/wer\n1,0.9\n2,{value}\n")
    for mode in Mode:
        _, board = board_of(written_board, small_rules, mode)
        assert np.isinf(board.times.study_s[*board.times.index("swift", "speech"), 0])


def test_rows_without_a_finite_time_are_left_out(written_board: Path, small_rules: Rules) -> None:
    path = trial(written_board) / CSV
    path.write_text("accumulated_submission_time,validation/wer\nnan,0.1\ninf,0.1\n-5,0.1\n7,0.1\n")
    tree, board = board_of(written_board, small_rules)
    assert codes(tree) == {"bad_time"}
    assert board.times.study_s[*board.times.index("swift", "speech"), 0] == 7.0


def test_rows_that_a_restart_superseded_are_left_out(written_board: Path, small_rules: Rules) -> None:
    path = trial(written_board) / CSV
    path.write_text(
        "accumulated_submission_time,global_step,validation/wer\n10,10,0.9\n20,20,0.1\n15,15,0.9\n30,30,0.1\n"
    )
    tree, board = board_of(written_board, small_rules)
    assert codes(tree) == {"restarted"}
    assert board.times.study_s[*board.times.index("swift", "speech"), 0] == 30.0


@pytest.mark.parametrize(
    ("rows", "code", "time_s"),
    [
        ("0,0,0.1\n10,10,0.1\n", "no_time_to_target", np.inf),
        ("0.001,1,0.1\n10,10,0.1\n", "no_time_to_target", np.inf),
        ("0,0,0.9\n0,1,0.9\n0,2,0.1\n", "no_time_passes", np.inf),
        ("10,10,0.9\n20,20,0.9\n0.001,30,0.1\n", "time_goes_back", np.inf),
        ("10,10,0.9\n20,20,0.9\n0.001,30,0.9\n0.002,40,0.1\n50,50,0.1\n", "time_goes_back", 50.0),
        ("10,10,0.9\n20,20,0.9\n0.001,5,0.1\n", "restarted", 20.0),
        ("10,10,0.9\n20,20,0.9\n15,15,0.1\n", "restarted", 20.0),
    ],
)
def test_a_time_that_cannot_be_never_makes_a_better_score(
    written_board: Path, small_rules: Rules, rows: str, code: str, time_s: float
) -> None:
    path = trial(written_board) / CSV
    path.write_text(f"accumulated_submission_time,global_step,validation/wer\n{rows}")
    tree, board = board_of(written_board, small_rules)
    [issue] = tree.findings
    assert (issue.code, issue.severity is Severity.ERROR) == (code, code != "restarted")
    assert board.times.study_s[*board.times.index("swift", "speech"), 0] == time_s


def test_crossings_after_the_budget_do_not_count(written_board: Path, small_rules: Rules) -> None:
    path = trial(written_board) / CSV
    path.write_text("accumulated_submission_time,score,validation/wer\n10,10,0.9\n150.1,150.1,0.1\n")
    _, rules_board = board_of(written_board, small_rules)
    _, algoperf_board = board_of(written_board, small_rules, Mode.ALGOPERF)
    at = (*rules_board.times.index("swift", "speech"), 0)
    assert np.isinf(rules_board.times.study_s[at])
    assert algoperf_board.times.study_s[at] == 150.1


def test_strangers_are_ignored_and_listed(written_board: Path, small_rules: Rules) -> None:
    expected = score_of(written_board, small_rules)
    shutil.copytree(written_board / "swift/study_0/speech_jax", written_board / "swift/study_0/speeeech_jax")
    (written_board / "swift/study_0/trial_7").mkdir()
    (written_board / "swift/study_0/run.log").write_text("log")
    (written_board / "swift/notes.txt").write_text("x")
    (written_board / "swift/study_x").mkdir()
    (written_board / "swift/study_0/speech_jax/trial_1b").mkdir()
    (written_board / "README.md").write_text("x")
    (written_board / "empty").mkdir()
    tree, board = board_of(written_board, small_rules)
    assert codes(tree) == {"unknown_workload", "stray_entry", "stray_file", "no_study"}
    assert board.scores[board.submissions.index("swift")] == expected
    assert board.submissions == ("slow", "swift")


def test_a_workload_in_both_frameworks_is_an_error_and_the_main_one_counts(
    written_board: Path, small_rules: Rules
) -> None:
    expected = score_of(written_board, small_rules)
    for study in range(3):
        source = trial(written_board, study)
        target = trial(written_board, study, "speech_pytorch")
        shutil.copytree(source, target)
        (target / CSV).write_text("accumulated_submission_time,validation/wer\n0.001,0.0\n")
    tree, board = board_of(written_board, small_rules)
    assert "two_frameworks" in codes(tree)
    assert board.scores[board.submissions.index("swift")] == expected


def test_trials_beyond_the_rules_do_not_count_and_are_listed(written_board: Path, small_rules: Rules) -> None:
    expected = score_of(written_board, small_rules)
    cheat = "accumulated_submission_time,validation/wer\n0.001,0.0\n"
    for place in ("study_0/speech_jax/trial_2", "study_3/speech_jax/trial_1"):
        (written_board / "swift" / place).mkdir(parents=True)
        (written_board / "swift" / place / CSV).write_text(cheat)
    tree, board = board_of(written_board, small_rules)
    assert board.scores[board.submissions.index("swift")] == expected
    analysis = analyse(tree, small_rules, small_rules.tuning["self"], replicates=20)
    assert sum(f.code == "extra_trial" for f in analysis.findings) == 2


def test_missing_studies_are_misses_and_listed(written_board: Path, small_rules: Rules) -> None:
    for study in (1, 2):
        shutil.rmtree(written_board / "swift" / f"study_{study}" / "speech_jax")
    analysis = analysed(written_board, small_rules)
    board = analysis.board
    assert np.isinf(board.times.workload_s[board.times.index("swift", "speech")])
    assert any("study_1 of speech" in f.message for f in analysis.findings)
    reasons = {(d.kind, d.workload) for d in analysis.differences}
    assert ("missing_study", "speech") in reasons
    assert ("workload_time", "speech") in reasons


def analysed(folder: Path, rules: Rules) -> Analysis:
    return analyse(read_logs(folder, rules.workloads), rules, rules.tuning["self"], replicates=20)


def test_dated_folders_join_their_submission_and_team_folders_are_entered(
    written_board: Path, small_rules: Rules
) -> None:
    expected = score_of(written_board, small_rules)
    dated = written_board / "swift-2024-05-06-07-08-09"
    dated.mkdir()
    shutil.move(written_board / "swift/study_2", dated / "study_2")
    team = written_board.parent / "teams"
    shutil.copytree(written_board, team / "team")
    assert score_of(written_board, small_rules) == expected
    assert score_of(team, small_rules) == expected


def test_studies_may_be_counted_from_one_and_trials_need_no_study_folder(
    written_board: Path, small_rules: Rules
) -> None:
    expected = score_of(written_board, small_rules)
    for name in ("swift", "slow"):
        for study in (2, 1, 0):
            (written_board / name / f"study_{study}").rename(written_board / name / f"study_{study + 1}")
    assert score_of(written_board, small_rules) == expected
    single = small_rules.with_counts(studies=1, trials=None)
    tree = read_logs(written_board / "swift/study_1", small_rules.workloads)
    assert codes(tree) == {"no_study_level"}
    assert make_board(tree, single, single.tuning["self"], Mode.RULES).scores.tolist() == [1.0]


def test_a_million_rows_are_read(written_board: Path, small_rules: Rules) -> None:
    rows = "".join(f"{i / 20000!r},0.9\n" for i in range(1, 1_000_000))
    (trial(written_board) / CSV).write_text(f"accumulated_submission_time,validation/wer\n{rows}50,0.1\n")
    _, board = board_of(written_board, small_rules)
    assert board.times.study_s[*board.times.index("swift", "speech"), 0] == 50.0


def test_typed_outcomes_are_read_and_otherwise_inferred(written_board: Path, small_rules: Rules) -> None:
    rule = small_rules.workloads["speech"]
    place = trial(written_board)
    for outcome in (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY, Outcome.INTERRUPTED):
        _record(outcome).write(place)
        (place / CSV).write_text("accumulated_submission_time,validation/wer\n1,0.9\n")
        assert _ending(written_board, small_rules).outcome == outcome
    (place / "trial.json").write_text("{broken")
    assert _ending(written_board, small_rules).outcome is InferredOutcome.ENDED_EARLY
    (place / CSV).write_text("accumulated_submission_time,validation/wer\n1,0.9\n149,0.9\n")
    assert _ending(written_board, small_rules).outcome is Outcome.OUT_OF_TIME
    (place / CSV).write_text("accumulated_submission_time,validation/wer\n1,0.9\n3,nan\n")
    assert _ending(written_board, small_rules).outcome is Outcome.DIVERGED
    (place / CSV).write_text(f"accumulated_submission_time,validation/wer\n1,{rule.validation_target}\n")
    assert _ending(written_board, small_rules).outcome is Outcome.REACHED  # inclusive
    (place / CSV).unlink()
    assert _ending(written_board, small_rules).outcome is InferredOutcome.NO_LOG


def _record(outcome: Outcome) -> TrialRecord:
    return TrialRecord(
        outcome=outcome,
        workload="speech",
        framework="jax",
        definition_digest="0" * 16,
        ruleset="self",
        budget_s=150.0,
        seed=0,
        batch_size=1,
        global_step=1,
        preemption_count=0,
        submission_time_s=1.0,
        best_validation=None,
        ledger=Ledger(
            data_selection_s=0.0,
            update_s=1.0,
            prepare_for_eval_s=0.0,
            evaluation_s=0.0,
            checkpoint_s=0.0,
            logging_s=0.0,
            other_s=0.0,
        ),
    )


def _ending(folder: Path, rules: Rules):
    (found,) = [t for t in read_logs(folder, rules.workloads).trials if t.path == trial(folder)]
    assert (found.status is LogStatus.READ) == bool(len(found.time_s))
    return ending(found, rules.workloads["speech"], 150.0)


def test_extra_variants_bind_everybody_in_compat_mode_only(written_board: Path, small_rules: Rules) -> None:
    """AlgoPerf's scorer, given no held-out list, demands every logged variant; the written rules do not know it."""
    rules = dataclasses.replace(small_rules, held_out={})
    shutil.rmtree(written_board / "slow/study_0/digits_hard_jax")
    for study in range(1, 3):
        shutil.rmtree(written_board / f"slow/study_{study}/digits_hard_jax")
    analysis = analysed(written_board, rules)
    slow = analysis.board.submissions.index("slow")
    digits = rules.base_workloads.index("digits")
    assert np.isfinite(analysis.rules_board.ratios[slow, digits])
    assert np.isinf(analysis.algoperf_board.ratios[slow, digits])
    assert {d.submission for d in analysis.differences if d.kind == "extra_workload"} == {"slow", "swift"}
