"""No file of one submission ends a board or moves the times of another."""

import dataclasses
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from algoperf.records.outcome import Outcome
from algoperf.records.trial import Ledger, TrialRecord
from scoring.board import Board, make_board
from scoring.completeness import log_issues_of
from scoring.logs import LogTree, read_logs
from scoring.outcomes import ending
from scoring.provenance import provenance_rows
from scoring.recorded_budgets import with_recorded_budgets
from scoring.rules import Rules
from scoring.simulate import SimulatedSubmission, write_logs
from scoring.times import Mode
from scoring.validity import rule_conflicts, validity_issues

MUTATIONS = 360
SECONDS_EACH = 5.0
HEADER = b"accumulated_submission_time,global_step,validation/wer\n"
CSV = "eval_measurements.csv"

# What somebody might hand in: file, how it is made, the code of the issue, and the time that then counts.
HOSTILE: dict[str, tuple[str, bytes | Callable[[Path], object], str | None, float]] = {
    "bare carriage returns": (CSV, HEADER.replace(b"\n", b"\r") + b"5,5,0.9\r7,7,0.1\r", "repaired_csv", 7.0),
    "a header of 100,000 bytes": (
        CSV,
        HEADER.rstrip() + b"," + b"x" * 100_000 + b"\n5,5,0.9,0\n7,7,0.1,0\n",
        None,
        7.0,
    ),
    "a cell of 2 MB": (CSV, HEADER + b"5,5,0.9\n7,7,0." + b"1" * 2**21 + b"\n8,8,0.1\n", "repaired_csv", 8.0),
    "a sparse file of 8 GB": (CSV, lambda path: _sparse(path, 8 * 2**30), "too_large", np.inf),
    "times that are all zero": (CSV, HEADER + b"0,1,0.9\n0,2,0.1\n", "no_time_passes", np.inf),
    "the target met at 0 s": (CSV, HEADER + b"0,1,0.1\n9,2,0.1\n", "no_time_to_target", np.inf),
    "a last row at 0.001 s": (CSV, HEADER + b"5,5,0.9\n9,9,0.9\n0.001,10,0.1\n", "time_goes_back", np.inf),
    "a number of 400 digits": (CSV, HEADER + b"5,5,0.9\n" + b"9" * 400 + b",7,0.1\n8,8,0.1\n", "bad_time", 8.0),
    "a pipe for the table": (CSV, os.mkfifo, "no_regular_file", np.inf),
    "a link to a device": (CSV, lambda path: path.symlink_to("/dev/zero"), "no_regular_file", np.inf),
    "a folder for the table": (CSV, os.mkdir, "no_regular_file", np.inf),
    "a link to itself": (CSV, lambda path: path.symlink_to(path), "unreadable_file", np.inf),
    "a pipe for the flags": ("flags_0.json", os.mkfifo, "unreadable_json", 0.0),
    "JSON nested 5,000 deep": ("meta_data_0.json", b"[" * 5000 + b"]" * 5000, "unreadable_json", 0.0),
    "objects nested 900 deep": ("trial.json", b'{"a":' * 900 + b"1" + b"}" * 900, "unreadable_json", 0.0),
    "a JSON number of 400 digits": (
        "meta_data_0.json",
        b'{"workload.max_allowed_runtime_sec": ' + b"9" * 400 + b"}",
        "unreadable_json",
        0.0,
    ),
    "hyperparameters that are no JSON": ("hparams.json", b"\xff\xfe{", "unreadable_json", 0.0),
}


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@pytest.fixture
def entries(tmp_path: Path, small_rules: Rules) -> Path:
    """The logs of `honest` and of `hostile`, one study each."""
    median_s = dict.fromkeys(small_rules.scored_workloads, 40.0)
    field = [SimulatedSubmission(name=name, median_s=median_s) for name in ("honest", "hostile")]
    rules = small_rules.with_counts(studies=1, trials=1)
    write_logs(tmp_path / "logs", field, rules, rules.tuning["external"], evaluations=8)
    return tmp_path / "logs"


def read_everything(folder: Path, rules: Rules) -> tuple[LogTree, Board]:
    """All that scoring takes from files, in both modes."""
    tree = read_logs(folder, rules.workloads)
    tuning = rules.with_counts(studies=1, trials=1).tuning["external"]
    board = make_board(tree, rules, tuning, Mode.RULES)
    make_board(tree, rules, tuning, Mode.ALGOPERF)
    log_issues_of(tree, board)
    validity_issues(tree, rule_conflicts(tree, rules, tuning), provenance_rows(tree))
    with_recorded_budgets(tree, rules, tuning)
    for trial in tree.trials:
        ending(trial, rules.workloads[trial.workload], 100.0)
    return tree, board


def times_of(board: Board, submission: str) -> np.ndarray:
    return board.times.study_s[board.submissions.index(submission)]


@pytest.mark.parametrize("name", HOSTILE)
def test_named_hostile_inputs(name: str, entries: Path, small_rules: Rules) -> None:
    file, content, code, time_s = HOSTILE[name]
    tree, board = read_everything(entries, small_rules)
    honest, before = times_of(board, "honest"), times_of(board, "hostile")
    trial = entries / "hostile/study_0/speech_jax/trial_1"
    (trial / file).unlink(missing_ok=True)
    if callable(content):
        content(trial / file)
    else:
        (trial / file).write_bytes(content)
    start = time.monotonic()
    tree, board = read_everything(entries, small_rules)
    assert time.monotonic() - start < SECONDS_EACH
    np.testing.assert_array_equal(times_of(board, "honest"), honest)
    column = board.times.workloads.index("speech")
    assert times_of(board, "hostile")[column, 0] == (time_s or before[column, 0])
    assert [issue.code for issue in log_issues_of(tree, board)] == ([code] if code else [])


def test_an_unreadable_submission_and_a_hidden_one_are_named_once(
    entries: Path, small_rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(entries / "hostile", entries / ".hidden")
    scandir = os.scandir

    def refusing(folder):
        if Path(folder).name == "hostile":
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    tree, board = read_everything(entries, small_rules)
    assert board.submissions == ("honest",)
    assert [(i.path, i.code) for i in log_issues_of(tree, board)] == [
        (".hidden", "hidden_submission"),
        ("hostile", "unreadable_folder"),
    ]


def test_mutated_files_never_move_the_times_of_another_submission(entries: Path, small_rules: Rules) -> None:
    _, board = read_everything(entries, small_rules)
    honest = times_of(board, "honest")
    chance = random.Random(0)
    trial = entries / "hostile/study_0/speech_jax/trial_1"
    _record(small_rules).write(trial)
    assert TrialRecord.read(trial)
    originals = {path.name: path.read_bytes() for path in trial.iterdir()}
    slowest = 0.0
    for i in range(MUTATIONS):
        name = chance.choice(sorted(originals))
        (trial / name).write_bytes(_mutated(originals[name], chance))
        start = time.monotonic()
        _, board = read_everything(entries, small_rules)
        slowest = max(slowest, time.monotonic() - start)
        np.testing.assert_array_equal(times_of(board, "honest"), honest, err_msg=f"mutation {i} of {name}")
        (trial / name).write_bytes(originals[name])
    assert slowest < SECONDS_EACH


def _record(rules: Rules) -> TrialRecord:
    spent_s = dict.fromkeys([field.name for field in dataclasses.fields(Ledger)], 1.0)
    return TrialRecord(
        outcome=Outcome.DIVERGED,
        workload="speech",
        framework="jax",
        definition_digest="0" * 16,
        ruleset="external",
        budget_s=rules.workloads["speech"].max_runtime_s,
        seed=0,
        batch_size=1,
        global_step=1,
        preemption_count=0,
        submission_time_s=1.0,
        best_validation=None,
        ledger=Ledger(**spent_s),
    )


PIECES = (
    *(b"\x00", b"\r", b"\n", b"\r\n", b'"', b",", b"-", b"=", b"nan", b"inf", b"1e999", b"-1", b"0", b"null", b"[]"),
    *(b"{", b"}", b"[", b"true", b"\xff\xfe", b"\xef\xbb\xbf", b"9" * 400, b"1_0", b"[" * 2000, b"{" * 200, b"#", b""),
)


def _mutated(data: bytes, chance: random.Random) -> bytes:
    """`data` with a few pieces cut, copied, or replaced."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 1, 4, 30)))
        middle = chance.choice((chance.choice(PIECES), chance.randbytes(3), data[start:end] * 3, data[end : end + 40]))
        data = data[:start] + middle + data[end:]
        if chance.random() < 0.1:
            data = data[: chance.randrange(len(data) + 1)]
    return data
