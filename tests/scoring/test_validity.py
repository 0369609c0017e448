"""Runs that were not made under the rules, or not alike, are never scored in silence."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scoring.log_issues import LogIssue, Severity
from scoring.logs import read_logs
from scoring.provenance import provenance_rows
from scoring.rules import load_rules
from scoring.score_submissions import main
from scoring.validity import rule_conflicts, validity_issues

KEPT_LOGS = Path(__file__).resolve().parents[2] / "docs/leaderboard/mini/logs"
RULES = load_rules("mini_qualification-2026-11")
SELF = RULES.tuning["self"]


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """The kept logs of two submissions on three minis."""
    for submission in ("adamw", "nadamw"):
        for study in range(3):
            for workload in RULES.scored_workloads:
                place = f"{submission}/study_{study}/{workload}_pytorch"
                shutil.copytree(KEPT_LOGS / place, tmp_path / "logs" / place)
    return tmp_path / "logs"


def issues(logs: Path) -> list[LogIssue]:
    tree = read_logs(logs, RULES.workloads)
    return validity_issues(tree, rule_conflicts(tree, RULES, SELF), provenance_rows(tree))


def change(logs: Path, pattern: str, file: str, edit: Callable[[dict[str, Any]], None]) -> None:
    [*folders] = logs.glob(f"{pattern}/trial_1")
    assert folders
    for folder in folders:
        values = json.loads((folder / file).read_text())
        edit(values)
        (folder / file).write_text(json.dumps(values))


def set_meta(logs: Path, pattern: str, **values: Any) -> None:
    named = {key.replace("__", "."): value for key, value in values.items()}
    change(logs, pattern, "meta_data_0.json", lambda meta: meta.update(named))


def set_record(logs: Path, pattern: str, **values: Any) -> None:
    change(logs, pattern, "trial.json", lambda record: record.update(values))


def score(logs: Path, *flags: str) -> int:
    quick = ["--bootstrap_replicates=20", "--no-compute_performance_profiles", "--no-report", f"--rules={RULES.name}"]
    return main([f"--submission_directory={logs}", f"--output_dir={logs.parent / 'results'}", *quick, *flags])


def test_kept_runs_are_as_the_rules_and_each_other(logs: Path) -> None:
    assert issues(logs) == []
    assert score(logs, "--strict") == 0
    assert "Nothing that the runs recorded differs" in (logs.parent / "results/leaderboard.md").read_text()


def test_another_budget_and_target_are_errors_wherever_one_looks(logs: Path, capsys: pytest.CaptureFixture) -> None:
    set_meta(logs, "*/study_*/wmt_mini_*", workload__max_allowed_runtime_sec=60, workload__validation_target_value=80.0)
    set_record(logs, "*/study_*/wmt_mini_*", budget_s=90.0)
    assert score(logs) == 0
    assert score(logs, "--strict") == 1
    printed = capsys.readouterr().err
    assert "error: adamw: wmt_mini: budget (s) 90 in 3 runs, expected 322.5 by the rules" in printed
    assert "error: nadamw: wmt_mini: validation target 80 in 3 runs, expected 85.92 by the rules" in printed
    results = logs.parent / "results"
    assert "validation target 80 in 3 runs, expected 85.92" in (results / "leaderboard.md").read_text()
    data = json.loads((results / "results.json").read_text())
    assert {(c["what"], c["recorded"], c["severity"]) for c in data["rule_conflicts"]} == {
        ("budget (s)", 90.0, "error"),
        ("validation target", 80.0, "error"),
    }


@pytest.mark.parametrize(
    ("recorded", "severity"),
    [
        ({"workload__max_allowed_runtime_sec": 60}, Severity.ERROR),
        ({"workload__validation_target_value": 80}, Severity.ERROR),
        ({"workload__target_metric_name": "accuracy"}, Severity.ERROR),
        ({"workload__eval_period_time_sec": 55}, Severity.WARNING),
        ({"workload__step_hint": 100}, Severity.WARNING),
        ({"workload__test_target_value": 10.0}, Severity.NOTE),
    ],
)
def test_what_runs_of_one_submission_recorded_against_the_rules(
    logs: Path, recorded: dict[str, Any], severity: Severity
) -> None:
    set_meta(logs, "adamw/study_*/wmt_mini_*", **recorded)
    [issue] = issues(logs)
    assert (issue.path, issue.severity) == ("adamw", severity)
    assert "in 3 runs, expected" in issue.message


def test_another_tuning_ruleset_is_an_error(logs: Path) -> None:
    set_record(logs, "adamw/study_1/*", ruleset="external")
    [issue] = issues(logs)
    assert issue.severity is Severity.ERROR
    assert "tuning ruleset external in 3 runs, expected self" in issue.message


def test_another_definition_is_an_error_against_the_rules_and_between_runs(logs: Path) -> None:
    set_record(logs, "adamw/study_*/wmt_mini_*", definition_digest="f" * 16)
    against_rules, between_runs = sorted(issues(logs))
    assert {against_rules.severity, between_runs.severity} == {Severity.ERROR}
    assert f"workload definition {'f' * 16} in 3 runs" in against_rules.message
    assert f"wmt_mini: {'f' * 16} (adamw)" in between_runs.message


def test_a_digest_of_a_scheme_that_the_rules_lack_is_a_note(logs: Path) -> None:
    set_record(logs, "*/study_*/wmt_mini_*", definition_digest="99:" + "f" * 16)
    assert {issue.severity for issue in issues(logs)} == {Severity.NOTE}


@pytest.mark.parametrize(
    ("recorded", "name"),
    [
        ({"cpu_model_name": "Another CPU"}, "CPU"),
        ({"gpu_model_name": "A GPU"}, None),  # the others recorded none: nothing is known to differ
        ({"gpu_count": 2}, "number of GPUs"),
        ({"package.torch": "1.0"}, "PyTorch"),
        ({"package.jax": "0.1"}, None),  # the runs are PyTorch's
    ],
)
def test_hardware_and_framework_versions_between_submissions(
    logs: Path, recorded: dict[str, Any], name: str | None
) -> None:
    set_meta(logs, "adamw/study_*/*", **recorded)
    found = issues(logs)
    assert [issue.severity for issue in found] == [Severity.WARNING] * (name is not None)
    if name is not None:
        assert f"differ in {name}: " in found[0].message
        assert "(adamw)" in found[0].message


def test_precision_between_submissions(logs: Path) -> None:
    def record(precision: str) -> Callable[[dict[str, Any]], None]:
        return lambda trial: trial["provenance"]["hardware"]["devices"].update(
            matmul_precision=precision, platform=platform
        )

    for platform in ("cuda", "cpu"):
        change(logs, "adamw/study_*/*", "trial.json", record("float32"))
        change(logs, "nadamw/study_*/*", "trial.json", record("tf32"))
        if platform == "cuda":
            of_the_rules, between = issues(logs)
            assert of_the_rules.path == "nadamw"
            assert between.severity is Severity.WARNING
            assert "precision of matrix products: float32 (adamw); tf32 (nadamw)" in between.message
        else:
            assert issues(logs) == []  # CPUs compute in float32 whatever an earlier version recorded of them


def test_precision_that_is_not_of_the_edition(logs: Path) -> None:
    def in_tf32(trial: dict[str, Any]) -> None:
        trial["provenance"]["hardware"]["devices"].update(matmul_precision="tf32", platform="cuda")

    change(logs, "*/study_*/*", "trial.json", in_tf32)
    for issue in issues(logs):
        assert issue.severity is Severity.WARNING
        assert "precision of matrix products tf32 in 9 runs, expected float32 by the rules" in issue.message
    assert len(issues(logs)) == 2


def test_runs_of_another_edition_than_the_rules(logs: Path) -> None:
    set_record(logs, "*/study_*/*", edition="v1.0")
    assert [(issue.path, issue.severity) for issue in issues(logs)] == [
        ("adamw", Severity.ERROR),
        ("nadamw", Severity.ERROR),
    ]
    assert "edition v1.0 in 9 runs, expected v0.6 by the rules" in issues(logs)[0].message
    assert score(logs, "--strict") == 1


@pytest.mark.parametrize("pattern", ["adamw/study_*/*", "*/study_2/*", "adamw/study_0/wmt_*"])
def test_two_editions_are_never_on_one_board(logs: Path, pattern: str, capsys: pytest.CaptureFixture) -> None:
    set_record(logs, pattern, edition="v1.0")
    for rules in (RULES.name, "mini_qualification-v1.0"):
        assert score(logs, f"--rules={rules}") == 2
        assert "error: expected runs of one edition of the rules, got v0.6 (" in capsys.readouterr().err


def test_the_rules_of_the_recorded_edition_are_chosen(logs: Path, capsys: pytest.CaptureFixture) -> None:
    flags = [f"--submission_directory={logs}", f"--output_dir={logs.parent / 'results'}", "--statistics=none"]
    for edition, name in (("v0.6", "mini_qualification"), ("v1.0", "mini_qualification-v1.0")):
        set_record(logs, "*/study_*/*", edition=edition)
        assert main(flags) == 0
        assert f"rule set {name}, the one" in capsys.readouterr().out


def test_the_same_mix_in_every_submission_is_a_note_each(logs: Path) -> None:
    set_meta(logs, "*/study_2/*", cpu_model_name="Another CPU")
    assert [(i.path, i.severity) for i in issues(logs)] == [("adamw", Severity.NOTE), ("nadamw", Severity.NOTE)]


def test_studies_with_one_seed_are_a_warning(logs: Path) -> None:
    for study in (0, 2):
        set_record(logs, f"adamw/study_{study}/wmt_mini_*", seed=7)
    [issue] = issues(logs)
    assert issue.severity is Severity.WARNING
    assert issue.message.startswith("study_0, study_2 ran with the same seed")


def test_nothing_is_made_up_for_logs_that_record_nothing(logs: Path) -> None:
    for file in [*logs.rglob("trial.json"), *logs.rglob("meta_data_0.json")]:
        file.unlink()
    assert issues(logs) == []
    assert score(logs, "--tuning_ruleset=self") == 0
    board = (logs.parent / "results/leaderboard.md").read_text()
    assert "18 of 18 runs recorded no budget" in board


def test_recorded_budgets_score_each_run_by_its_own(logs: Path, capsys: pytest.CaptureFixture) -> None:
    def times(*flags: str) -> dict[str, float]:
        assert score(logs, *flags) == 0
        data = json.loads((logs.parent / "results/results.json").read_text())
        return {r["submission"]: r["time_s"] for r in data["results"] if r["workload"] == "wmt_mini"}

    by_rules = times()
    set_record(logs, "adamw/study_*/wmt_mini_*", budget_s=10.0)
    assert times() == by_rules
    assert times("--budgets=recorded") == {"adamw": None, "nadamw": by_rules["nadamw"]}
    assert "budgets as the runs recorded them" in capsys.readouterr().out
    board = (logs.parent / "results/leaderboard.md").read_text()
    assert "scored by the budgets that they recorded" in board
    assert score(logs, "--budgets=recorded", "--strict") == 0  # another budget is what was asked for


def test_a_recorded_budget_can_be_longer_than_the_rules(logs: Path) -> None:
    tight = logs.parent / "tight.toml"
    text = "".join(
        f'[workloads.{w}]\nmetric = "{r.metric.name}"\ndirection = "{r.metric.direction}"\n'
        f"validation_target = {r.validation_target}\nmax_runtime_s = 1\nstep_hint = {r.step_hint}\n"
        for w, r in RULES.workloads.items()
        if w in RULES.scored_workloads
    )
    tight.write_text(f'schema_version = 1\nname = "tight"\nbase_workloads = {list(RULES.base_workloads)}\n{text}')
    solved = []
    for budgets in ("rules", "recorded"):
        assert score(logs, f"--rules={tight}", f"--budgets={budgets}") == 0
        data = json.loads((logs.parent / "results/results.json").read_text())
        solved.append(sum(row["workloads_solved"] for row in data["leaderboard"]))
    assert solved[0] == 0 < solved[1]
