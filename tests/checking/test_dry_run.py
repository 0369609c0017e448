"""A few guarded steps show what sources hide; honest submissions show nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from attack_cases import ATTACKS, HONEST, OPEN

from algoperf.checking import dry_run
from algoperf.checking.static import check_sources, framework_of
from algoperf.rules import rule_book

# Every check of the dry run.
DYNAMIC = sorted({check for rule in rule_book().rules for check in rule.stage_checks("dry_run")})
FRAMEWORKS = (pytest.param("jax", marks=pytest.mark.jax), pytest.param("pytorch", marks=pytest.mark.torch))
# What only running shows.
HIDDEN = {
    "weights of one's own at step 0",
    "a hook on a module changes outputs",
    "parameters of another shape",
    "compilation ahead of time in init_optimizer_state",
}
CHILD = """
import os, sys
from algoperf.checking import dry_run
from algoperf.registry import Registry
os._exit(dry_run.main(["", *sys.argv[1:]], Registry(("algoperf.testing.toy_workload",))))
"""


def dynamic_findings(submission: Path, framework: str, tmp_path: Path) -> list[dict]:
    request = {"submission": str(submission), "framework": framework, "workloads": ["toy_mini"], "steps": 3}
    answer = tmp_path / "answer.json"
    words = [json.dumps({**request, "data_dir": str(tmp_path / "data")}), str(answer)]
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, timeout=300)
    assert answer.is_file(), done.stderr
    return json.loads(answer.read_text())


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_honest_submission_shows_nothing(framework: str, tmp_path: Path) -> None:
    assert dynamic_findings(HONEST[framework], framework, tmp_path) == []


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_several_violations_are_seen_in_one_run(framework: str, tmp_path: Path) -> None:
    """Threads and processes, files and sockets, the clock, the weights: each by its name."""
    names = (
        "a thread works during evaluations",
        "a forked process under a computed name",
        "the clock in use is found by the garbage collector and set back",
        "weights of one's own at step 0",
        "training in init_optimizer_state",
        "a socket under a hidden import",
        "settings cached on disk by an earlier trial",
        "a method of the clock is replaced",
        "a hook on a module changes outputs",
    )
    path = _combined(names, tmp_path, framework)
    store = tmp_path / "data" / "toy_mini" / "inputs.bin"
    text = path.read_text() + f"\ntry:\n    open({str(store)!r})\nexcept OSError:\n    pass\n"
    path.write_text(text)
    findings = dynamic_findings(path, framework, tmp_path)
    not_shown = {"parameters", "steps"} | ({"module_hooks"} if framework == "jax" else set())
    assert {f["check"].partition(".")[2] for f in findings} == set(DYNAMIC) - not_shown
    [first, *_] = [f for f in findings if f["check"] == "dry_run.data_files"]
    assert first["file"] == "submission.py"
    assert text.splitlines()[first["line"] - 1].strip().startswith("open(")


@pytest.mark.torch
def test_parameters_of_another_model_are_named(tmp_path: Path) -> None:
    [attack] = [a for a in ATTACKS if a.name == "parameters of another shape"]
    findings = dynamic_findings(attack.write(tmp_path / "mine", "pytorch"), "pytorch", tmp_path)
    assert [f["rule"] for f in findings] == ["T1"]


def test_a_crash_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "submission.py"
    path.write_text(HONEST["pytorch"].read_text().replace("def update_params(", "def update_params(*, more, ", 1))
    [finding] = dynamic_findings(path, "pytorch", tmp_path)
    assert (finding["rule"], finding["check"]) == ("S2", "dry_run.steps")


def _combined(names: tuple[str, ...], tmp_path: Path, framework: str) -> Path:
    chosen = [attack for attack in ATTACKS if attack.name in names]
    assert len(chosen) == len(names)
    parts = {
        part: "\n".join(_code(getattr(attack, part), framework) for attack in chosen)
        for part in ("top", "init", "update", "selection")
    }
    return type(chosen[0])(name="all", rule="C1", before=OPEN, **parts).write(tmp_path / "mine", framework)


def _code(part: str | dict[str, str], framework: str) -> str:
    return part.get(framework, "") if isinstance(part, dict) else part


@pytest.mark.parametrize("framework", ["jax", "pytorch"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name.replace(" ", "_"))
def test_the_sources_of_every_attack_that_does_not_hide_are_enough(attack, framework: str, tmp_path: Path) -> None:
    assert attack.rule in {rule.id for rule in rule_book().rules}
    findings = check_sources(attack.write(tmp_path / "mine", framework))
    assert findings or attack.name in HIDDEN
    assert len(ATTACKS) >= 40


@pytest.mark.parametrize(("framework", "path"), HONEST.items())
def test_the_framework_is_the_one_that_the_sources_import(framework: str, path: Path) -> None:
    assert framework_of(path) == framework
    root = path.parents[3]
    package = "jax" if framework == "jax" else "torch"
    assert framework_of(root / f"reference_algorithms/muon/{package}_submission.py") == framework


def test_a_process_without_an_answer_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments, **keywords):
        raise dry_run.ChildError("Killed")

    monkeypatch.setattr(dry_run, "ask", fail)
    [finding] = dry_run.dry_run(HONEST["jax"], "jax", ("mnist_mini",), tmp_path)
    assert (finding.rule, finding.check) == ("S2", "dry_run.steps")
    assert "ended without an answer: Killed" in finding.message


def test_a_search_space_that_cannot_be_read_is_a_finding(tmp_path: Path) -> None:
    request = {"submission": str(HONEST["pytorch"]), "framework": "pytorch", "workloads": ["toy_mini"], "steps": 1}
    files = {"data_dir": str(tmp_path / "data"), "tuning_search_space": str(tmp_path / "none.json")}
    answer = tmp_path / "answer.json"
    words = [json.dumps({**request, **files}), str(answer)]
    subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True, timeout=300)
    [finding] = json.loads(answer.read_text())
    assert finding["rule"] == "S2"
    assert "none.json" in finding["message"]
