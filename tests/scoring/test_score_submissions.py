"""The command, its tables, the report's safety, and the merging of result folders."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scoring import merge
from scoring.rules import RulesError, load_rules
from scoring.score_submissions import main

HOSTILE = (
    "<script>alert(1)",
    "..\\..\\etc",
    "a|b`c*d",
    "$x_{1}$ %s {0}",
    "line\nbreak\x1b[31m",
    "<img src=x onerror=alert(2)>",
    "@@DATA@@",
    "_",
    "\udcff not utf-8",
    "漢字 \u202e reversed",
)
RULES_FILE = """
schema_version = 1
name = "small"
description = "two tasks"
base_workloads = ["digits", "speech"]
[held_out]
digits_hard = "digits"
[self]
studies = 3
budget_factor = 1.5
[workloads.digits]
metric = "accuracy"
direction = "maximize"
validation_target = 0.8
max_runtime_s = 100
step_hint = 1000
[workloads.digits_hard]
metric = "accuracy"
direction = "maximize"
validation_target = 0.8
max_runtime_s = 100
step_hint = 1000
[workloads.speech]
metric = "wer"
direction = "minimize"
validation_target = 0.2
max_runtime_s = 100
step_hint = 1000
"""


@pytest.fixture
def rules_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(RULES_FILE)
    return path


@pytest.fixture
def score(written_board: Path, rules_file: Path, tmp_path: Path):
    """Runs the command on the written board with the small rules; returns its exit code."""

    def run(*flags: str, output: str = "out") -> int:
        common = [f"--submission_directory={written_board}", f"--output_dir={tmp_path / output}"]
        return main([*common, f"--rules={rules_file}", "--bootstrap_replicates=50", *flags])

    return run


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_command_writes_every_result(score, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert score() == 0
    out = tmp_path / "out"
    scores = rows_of(out / "scores.csv")
    assert list(scores[0])[:2] == ["submission", "score"]
    assert [row["submission"] for row in scores] == ["swift", "slow"]
    assert float(scores[0]["score_low"]) <= float(scores[0]["score"]) <= float(scores[0]["score_high"])
    times = rows_of(out / "time_to_targets.csv")
    assert list(times[0]) == ["submission", "digits", "digits_hard", "speech"]
    profile = rows_of(out / "performance_profile_score.csv")
    assert len(profile[0]) == 101
    summary = rows_of(out / "swift_summary.csv")
    assert len(summary) == 9
    assert {row["outcome"] for row in summary} == {"reached"}
    results = json.loads((out / "results.json").read_text())
    assert results["schema_version"] == 1
    assert results["leaderboard"][0]["submission"] == "swift"
    assert results["leaderboard"][0]["score"] == float(scores[0]["score"])
    assert "| 1 | 1 to " in (out / "leaderboard.md").read_text()
    for name in ("performance_profile_by_score.png", "performance_profile_by_score.pdf", "report.html", "notes.md"):
        assert (out / name).stat().st_size > 0
    assert "swift" in capsys.readouterr().out


def test_scoring_the_same_logs_again_writes_the_same_bytes(score, tmp_path: Path) -> None:
    assert score(output="first") == score(output="second") == 0
    first = {p.name: p.read_bytes() for p in (tmp_path / "first").iterdir()}
    second = {p.name: p.read_bytes() for p in (tmp_path / "second").iterdir()}
    assert len(first) == 11
    assert first == second


def test_strict_fails_when_a_trial_is_missing(score, written_board: Path) -> None:
    assert score("--strict") == 0
    (written_board / "swift/study_0/speech_jax/trial_1/eval_measurements.csv").unlink()
    assert score("--strict") == 1
    assert score() == 0


def test_output_that_cannot_be_written_has_an_exit_code_of_its_own(score, tmp_path: Path, capsys) -> None:
    (tmp_path / "taken").write_text("")
    assert score(output="taken") == 3
    assert score("--statistics=none", output="taken/below") == 3
    assert "error: cannot write" in capsys.readouterr().err


def test_scores_are_the_same_with_and_without_statistics(
    score, written_board: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (written_board / "slow/study_1/speech_jax/trial_1/eval_measurements.csv").unlink()
    assert [score(f"--statistics={level}", output=level) for level in ("none", "fast", "full")] == [0, 0, 0]
    assert "without statistics" in capsys.readouterr().out
    tables = [rows_of(tmp_path / level / "scores.csv") for level in ("none", "fast", "full")]
    for name in tables[0][0]:
        assert len({tuple(row[name] for row in table) for table in tables}) == 1, name
    assert not (tmp_path / "fast/report.html").exists()
    assert "there is no eval_measurements.csv" in (tmp_path / "none/notes.md").read_text()
    assert score("--statistics=none", "--strict", output="none") == 1


def test_submissions_are_chosen_by_name(
    score, written_board: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert score("--exclude_submissions=swift") == 0
    assert [row["submission"] for row in rows_of(tmp_path / "out/scores.csv")] == ["slow"]
    (written_board / "beside").mkdir()
    assert score("--include_submissions=swift") == 0
    assert "beside" not in (tmp_path / "out/notes.md").read_text()
    assert score() == 0
    assert "beside" in (tmp_path / "out/notes.md").read_text()
    assert score("--include_submissions=nobody") == 2
    assert "no logs of nobody; there are slow, swift" in capsys.readouterr().err


def test_wrong_rules_say_what_was_found(score, written_board: Path, tmp_path: Path, capsys) -> None:
    common = [f"--submission_directory={written_board}", f"--output_dir={tmp_path / 'x'}"]
    assert main([*common, "--rules=v9"]) == 2
    assert "expected one of v0.5, v0.6" in capsys.readouterr().err
    assert main([*common, "--rules=v0.5"]) == 2
    assert "Choose another with --rules" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_tuning_ruleset_must_be_known(score, written_board: Path, capsys: pytest.CaptureFixture) -> None:
    for flags in written_board.rglob("flags_0.json"):
        flags.unlink()
    assert score() == 2
    assert "say --tuning_ruleset=external or self" in capsys.readouterr().err
    assert score("--self_tuning_ruleset") == 0


def test_hostile_names_stay_text(written_board: Path, score, tmp_path: Path, capsys) -> None:
    for name in HOSTILE:
        _copy_tree(written_board / "slow", written_board / name)
    (written_board / "swift").rename(written_board / "=cmd()")
    assert score() == 0
    out = tmp_path / "out"
    report = (out / "report.html").read_text()
    assert "<script>alert(1)" not in report
    assert "<img src=x" not in report
    assert report.count("</script>") == 3  # the data, the plotting library, the report's own
    assert {row["submission"] for row in rows_of(out / "scores.csv")} >= {"<script>alert(1)", "'@@DATA@@", "'=cmd()"}
    assert "<script>" not in (out / "leaderboard.md").read_text()
    assert "\x1b" not in capsys.readouterr().out
    assert all(path.parent == out for path in out.rglob("*"))
    assert {p.name for p in tmp_path.iterdir()} == {"logs", "out", "small.toml"}


def _copy_tree(source: Path, target: Path) -> None:
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def test_rules_files_are_checked(rules_file: Path) -> None:
    rules = load_rules(str(rules_file))
    assert rules.tuning["self"].studies == 3
    assert rules.scored_workloads == ("digits", "digits_hard", "speech")
    for line, broken, message in (
        ("schema_version = 1", "schema_version = 9", "schema_version"),
        ('name = "small"', "", "'name' is missing"),
        ('direction = "minimize"', 'direction = "down"', "down"),
        ("step_hint = 1000\n[workloads.speech]", "[workloads.speech]", "step_hint"),
        ('digits_hard = "digits"', 'digits_hard = "speeech"', "no base workload"),
        ("studies = 3", "studies = 0", "positive"),
        ('base_workloads = ["digits", "speech"]', 'base_workloads = ["digits", "unheard_of"]', "unheard_of"),
        ("[held_out]", 'suite = "nothing"\n[held_out]', "no suite 'nothing'"),
        ("[held_out]", "[held_uot]", "held_uot"),
        ("[held_out]", "[held_out", "not valid TOML"),
    ):
        assert line in RULES_FILE
        rules_file.write_text(RULES_FILE.replace(line, broken))
        with pytest.raises(RulesError, match=message):
            load_rules(str(rules_file))


def test_every_suite_can_be_scored() -> None:
    from algoperf.registry import suites

    for suite in suites().values():
        rules = load_rules(suite.rules)
        assert rules.base_workloads == tuple(sorted(suite.workloads))
        assert {name: rule.studies for name, rule in rules.tuning.items()} == dict(suite.studies)
        assert all(rules.workloads[name].max_runtime_s > 0 for name in suite.workloads)


def test_closed_edition_agrees_with_the_definitions_where_they_are_the_same() -> None:
    """Validation targets did not change from v0.5 to v0.6; the closed edition keeps its own copy of them."""
    from algoperf.registry import REGISTRY

    closed = load_rules("v0.5", definitions=list)
    known = {d.name: d for d in REGISTRY.definitions()}
    compared = [name for name in closed.scored_workloads if name in known]
    assert compared
    for name in compared:
        assert closed.workloads[name].validation_target == pytest.approx(known[name].validation_target, rel=1e-9)
        assert closed.workloads[name].metric == known[name].metric


def test_scoring_loads_no_training_framework_and_starts_lean(written_board: Path, rules_file: Path) -> None:
    code = (
        "import sys; from scoring.score_submissions import main; "
        "heavy = ('scipy', 'matplotlib', 'plotly', 'pandas', 'jax', 'torch', 'tensorflow'); "
        "print([m for m in heavy if m in sys.modules]); "
        f"main(['--submission_directory={written_board}', '--rules={rules_file}', '--bootstrap_replicates=20', "
        f"'--output_dir={written_board.parent / 'lean'}']); "
        "print([m for m in ('jax', 'torch', 'tensorflow', 'flax', 'algoperf.harness') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment())
    lines = done.stdout.splitlines()
    assert lines[0] == "[]"
    assert lines[-1] == "[]"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_public_copies_score_the_same_and_name_no_folder(written_board: Path, tmp_path: Path) -> None:
    [trial, *_] = sorted(path.parent for path in written_board.rglob("eval_measurements.csv"))
    record = {
        "outcome": "reached",
        "submission": "/home/me/s.py",
        "provenance": {"command": ["x", "/home/me"], "seed": 3},
    }
    (trial / "trial.json").write_text(json.dumps(record))
    (trial / "checkpoints").mkdir()
    (trial / "checkpoints" / "state.npz").write_bytes(b"state")
    assert merge.main([str(written_board), f"--output_dir={tmp_path / 'public'}", "--public"]) == 0
    copied = tmp_path / "public" / trial.relative_to(written_board)
    assert (copied / "eval_measurements.csv").read_bytes() == (trial / "eval_measurements.csv").read_bytes()
    assert json.loads((copied / "trial.json").read_text()) == {"outcome": "reached", "provenance": {"seed": 3}}
    assert not list((tmp_path / "public").rglob("*.npz"))
    assert not any("/home/me" in path.read_text() for path in (tmp_path / "public").rglob("*.json"))


def test_merge_joins_folders_and_refuses_conflicts(written_board: Path, tmp_path: Path, capsys) -> None:
    parts = [tmp_path / "a", tmp_path / "b"]
    for study, part in ((0, parts[0]), (1, parts[1])):
        _copy_tree(written_board / f"swift/study_{study}", part / f"swift/study_{study}")
    _copy_tree(written_board / "slow", parts[1] / "slow")
    assert merge.main([*map(str, parts), f"--output_dir={tmp_path / 'joined'}"]) == 0
    joined = {p.relative_to(tmp_path / "joined") for p in (tmp_path / "joined").rglob("*.csv")}
    assert {p.parts[:2] for p in joined if p.parts[0] == "swift"} == {("swift", "study_0"), ("swift", "study_1")}

    _copy_tree(written_board / "swift/study_2", tmp_path / "c/swift/study_0")
    clash = [str(parts[0]), str(tmp_path / "c"), f"--output_dir={tmp_path / 'clash'}"]
    assert merge.main(clash) == 2
    assert "nothing written" in capsys.readouterr().err
    assert not (tmp_path / "clash").exists()
    assert merge.main([*clash, "--renumber_studies"]) == 0
    assert {p.name for p in (tmp_path / "clash/swift").iterdir()} == {"study_0", "study_1"}
    assert merge.main([str(parts[0]), f"--output_dir={parts[0] / 'inside'}"]) == 2
