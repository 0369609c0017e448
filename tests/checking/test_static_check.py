"""Sources that break a rule are named with file, line and rule; honest ones give no error."""

import json
from pathlib import Path

import pytest
from rule_fixtures import STATIC, submission

from algoperf.check import main
from algoperf.checking.findings import has_errors
from algoperf.checking.static import check_sources
from algoperf.rules import rule_book

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = sorted((ROOT / "reference_algorithms").glob("*/*_submission.py"))
TEMPLATES = sorted((ROOT / "submissions/template").glob("submission*.py"))
HONEST = sorted((Path(__file__).parent / "honest").glob("*.py"))


def findings_of(tmp_path: Path, text: str, check: str = "", **files: str) -> list:
    (tmp_path / "mine").mkdir(exist_ok=True)
    path = tmp_path / "mine" / "submission.py"
    path.write_text(text)
    for name, content in files.items():
        (path.parent / name.replace("__", ".")).write_text(content)
    return [finding for finding in check_sources(path) if finding.check.endswith(check)]


@pytest.mark.parametrize("check", sorted(set(STATIC) - {"requirements"}))
def test_each_check_catches_its_kind_and_leaves_what_is_close_to_it(check: str, tmp_path: Path) -> None:
    caught, passed = STATIC[check]
    [finding, *_] = findings_of(tmp_path, caught, f"static.{check}")
    assert finding.rule in {rule.id for rule in rule_book().of_check(f"static.{check}")}
    assert finding.file == "submission.py"
    assert finding.line > 0
    assert str(finding).count("\n") == 0
    assert findings_of(tmp_path, passed, f"static.{check}") == []


def test_requirements_are_compared_with_what_the_benchmark_runs_on(tmp_path: Path) -> None:
    caught, passed = STATIC["requirements"]
    [finding] = findings_of(tmp_path, submission(), requirements__txt=caught)
    assert (finding.file, finding.line, finding.rule) == ("requirements.txt", 1, "S5")
    assert findings_of(tmp_path, submission(), requirements__txt=passed) == []


@pytest.mark.parametrize("path", REFERENCES + TEMPLATES + HONEST, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_honest_submissions_have_no_errors(path: Path) -> None:
    assert not has_errors(check_sources(path)), [str(finding) for finding in check_sources(path)]


@pytest.mark.parametrize(
    ("code", "check"),
    [
        ("run = __import__('subprocess').run", "subprocesses"),
        ("import importlib\nrun = importlib.import_module('os').fork", "subprocesses"),
        ("fork = getattr(os, 'fork')", "subprocesses"),
        ("from os import fork as begin", "subprocesses"),
        ("import os as o\nbegin = o.fork", "subprocesses"),
        ("clock = sys.modules['algoperf.harness.clock']", "internals"),
        ("import algoperf\nclock = algoperf.harness.clock", "internals"),
        ("eval('1')", "interpreter"),
        ("setattr(np, 'mean', None)", "patching"),
        ("np.mean = None", "patching"),
        ("DATA = '/home/me/data/mnist/train.npy'", "data_access"),
        ("WEIGHTS = '" + "0" * 5000 + "'", "stored_arrays"),
    ],
)
def test_ways_around_a_name_are_seen(tmp_path: Path, code: str, check: str) -> None:
    assert findings_of(tmp_path, submission(top=code), f"static.{check}")


@pytest.mark.parametrize(
    "code",
    [
        "match workload.name:\n    case 'wmt':\n        global_step = 0",
        "rate = {'wmt': 1.0}[workload.name]",
        "rate = {'wmt': 1.0}.get(workload.definition.base)",
        "kind = str(workload)\nrate = 1.0 if 'Wmt' in kind else 0.1",
        "rate = 1.0 if getattr(workload, 'name') in ('wmt', 'ogbg') else 0.1",
    ],
)
def test_branches_on_the_workload_are_seen_in_every_form(tmp_path: Path, code: str) -> None:
    assert findings_of(tmp_path, submission(update=code), "static.workload_name")


def test_files_that_a_submission_imports_are_checked_too(tmp_path: Path) -> None:
    [finding] = findings_of(tmp_path, submission(top="import helper"), helper__py="import socket\n")
    assert (finding.file, finding.line, finding.rule) == ("helper.py", 1, "D5")


def test_weights_and_native_code_next_to_a_submission_are_seen(tmp_path: Path) -> None:
    findings = findings_of(tmp_path, submission(), weights__npz="0", fast__so="0")
    assert [(f.file, f.rule) for f in findings] == [("fast.so", "C5"), ("weights.npz", "T2")]


def test_the_command_prints_findings_and_exits_by_them(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "submission.py"
    path.write_text(submission(top="import socket", update="loss = [r for _, r in eval_results]"))
    assert main([str(path), "--static"]) == 1
    printed = capsys.readouterr().out
    assert "submission.py:14: D5 error: it uses socket; " in printed
    assert printed.endswith("1 error, 0 warnings\n")
    assert main([str(path), "--static", "--json"]) == 1
    [finding] = json.loads(capsys.readouterr().out)["result"]["findings"]
    assert (finding["rule"], finding["line"], finding["level"]) == ("D5", 14, "error")
    path.write_text(submission(top="import random\nx = random.SystemRandom()"))
    assert (main([str(path), "--static"]), main([str(path), "--static", "--strict"])) == (0, 1)
    assert main([str(tmp_path / "none.py"), "--static"]) == 2
    assert "not found" in capsys.readouterr().err


def test_a_file_that_is_no_python_is_a_finding(tmp_path: Path) -> None:
    [finding, *_] = findings_of(tmp_path, "def f(:\n")
    assert (finding.rule, finding.line) == ("S1", 1)
