"""Records that do not fit each other, and runs that verification contradicts, are on the board."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from algoperf.records.verification import Answer, Verification, VerificationCheck, files_digest
from scoring.log_issues import Severity
from scoring.logs import read_logs
from scoring.record_findings import record_findings
from scoring.rules import load_rules
from scoring.score_submissions import main

KEPT_LOGS = Path(__file__).resolve().parents[2] / "docs/leaderboard/mini/logs"
RULES = load_rules("mini_qualification-2026-11")
WORKLOAD = RULES.scored_workloads[0]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The kept logs of three submissions on one mini."""
    for submission in ("adamw", "nadamw", "muon"):
        for study in range(3):
            folder = f"{submission}/study_{study}/{WORKLOAD}_pytorch"
            shutil.copytree(KEPT_LOGS / folder, tmp_path / "logs" / folder)
    return tmp_path / "logs"


def findings(logs: Path) -> list[tuple[str, Severity]]:
    return [(issue.code, issue.severity) for issue in record_findings(read_logs(logs, RULES.workloads), RULES)]


def trial(logs: Path, study: int = 0) -> Path:
    return logs / f"adamw/study_{study}/{WORKLOAD}_pytorch/trial_1"


def edit_record(folder: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    record = json.loads((folder / "trial.json").read_text())
    edit(record)
    (folder / "trial.json").write_text(json.dumps(record))


def edit_row(folder: Path, index: int, **values: float) -> None:
    path = folder / "eval_measurements.csv"
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[index].update({name.replace("__", "/"): str(value) for name, value in values.items()})
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def add_pauses(**values: Any) -> Callable[[dict[str, Any]], None]:
    pauses = {"num_pauses": 3, "total_s": 10.0, "longest_s": 4.0, **values}
    return lambda record: record.update(pauses=pauses)


def test_honest_runs_have_no_finding(logs: Path) -> None:
    assert findings(logs) == []


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (lambda record: record["ledger"].update(update_s=1.0), ("ledger", Severity.ERROR)),
        (lambda record: record.update(global_step=1), ("ledger", Severity.ERROR)),
        (
            add_pauses(foreign_threads=["worker"], max_foreign_threads=1, foreign_cpu_s=5.0),
            ("rule_violation", Severity.ERROR),
        ),
        (add_pauses(violations=["C4: Clock.now was replaced (step 3)"]), ("rule_violation", Severity.ERROR)),
        (
            lambda record: record["ledger"].update(init_optimizer_state_s=500.0),
            ("uncharged_time", Severity.WARNING),
        ),
        (
            lambda record: record["provenance"].update(submission_digests=["a" * 16, "b" * 16]),
            ("sources_changed", Severity.ERROR),
        ),
    ],
)
def test_what_a_record_says_against_its_time(
    logs: Path, edit: Callable[[dict[str, Any]], None], expected: tuple[str, Severity]
) -> None:
    edit_record(trial(logs), edit)
    assert findings(logs) == [expected]


@pytest.mark.parametrize(
    "edit",
    [
        add_pauses(foreign_threads=["compiler"], max_foreign_threads=1, foreign_cpu_s=0.2),
        lambda record: record["ledger"].update(init_optimizer_state_s=5.0),
    ],
)
def test_what_honest_runs_may_record(logs: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    edit_record(trial(logs), edit)
    assert findings(logs) == []


def test_a_run_that_is_on_target_after_one_step_is_an_error(logs: Path) -> None:
    rule = RULES.workloads[WORKLOAD]
    edit_row(trial(logs), 0, **{rule.validation_column.replace("/", "__"): rule.validation_target})
    assert ("first_evaluation", Severity.ERROR) in findings(logs)


def test_a_run_that_begins_far_above_chance_is_a_warning(logs: Path) -> None:
    rule = RULES.workloads[WORKLOAD]
    [first, *_] = read_logs(logs, RULES.workloads).trials
    value = 0.8 * rule.validation_target + 0.2 * float(first.validation[0])
    edit_row(trial(logs), 0, **{rule.validation_column.replace("/", "__"): value})
    assert findings(logs) == [("first_evaluation", Severity.WARNING)]


def test_slow_evaluations_are_a_warning(logs: Path) -> None:
    path = trial(logs) / "eval_measurements.csv"
    with path.open(newline="") as stream:
        count = len(list(csv.DictReader(stream)))
    for index in range(count):
        edit_row(trial(logs), index, accumulated_eval_time=300.0 * (index + 1), total_duration=1e6 + index)
    edit_record(trial(logs), lambda record: record["ledger"].update(evaluation_s=300.0 * count + 1))
    assert findings(logs) == [("evaluation_time", Severity.WARNING)]


def verified(folder: Path, answer: Answer) -> None:
    check = VerificationCheck(name="last evaluation", answer=answer, reason="a reason")
    Verification(checks=[check], files_digest=files_digest(folder), version="0").write(folder)


def test_verdicts_of_verification_are_on_the_board(logs: Path, tmp_path: Path) -> None:
    for study, answer in enumerate(Answer):
        verified(trial(logs, study), answer)
    quick = ["--bootstrap_replicates=20", "--no-compute_performance_profiles", "--no-report", f"--rules={RULES.name}"]
    main([f"--submission_directory={logs}", f"--output_dir={tmp_path / 'results'}", *quick])
    board = (tmp_path / "results/leaderboard.md").read_text()
    assert "adamw: 1 contradicted, 1 plausible, 1 verified" in board
    assert "verification contradicts it: last evaluation: a reason" in board
    counts = json.loads((tmp_path / "results/results.json").read_text())["verification"]
    assert counts["nadamw"] == {"not verified": 3}


def test_a_verdict_about_other_files_does_not_count(logs: Path) -> None:
    verified(trial(logs), Answer.CONFIRMED)
    edit_row(trial(logs), 0, accumulated_logging_time=0.5)
    assert findings(logs) == [("verification", Severity.WARNING)]
