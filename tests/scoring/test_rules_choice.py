"""Without --rules the scorer takes the one rule set that the logs fit, and says so."""

import shutil
from pathlib import Path

import pytest

from algoperf.registry import suites
from scoring import simulate
from scoring.rules import RulesError, load_rules
from scoring.rules.choice import fitting_rules, shipped_rules
from scoring.score_submissions import main


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    simulate.main([f"--output_dir={folder}", "--rules=mini_qualification", "--submissions=2"])
    return folder


def score(logs: Path, *flags: str) -> int:
    quick = ["--bootstrap_replicates=20", "--no-compute_performance_profiles", "--no-report"]
    return main([f"--submission_directory={logs}", f"--output_dir={logs.parent / 'results'}", *quick, *flags])


def test_the_set_that_fits_is_taken_and_named(logs: Path, capsys: pytest.CaptureFixture) -> None:
    assert score(logs) == 0
    printed = capsys.readouterr().out
    assert "rule set mini_qualification, the one whose workloads are those of the logs" in printed
    assert "rules mini_qualification" in printed


def test_logs_of_workloads_that_no_set_scores_do_not_matter(logs: Path) -> None:
    other = logs / "quick_look" / "mnist_mini_jax"
    shutil.copytree(next(logs.glob("*/study_0/wmt_mini_*")), other)
    assert score(logs) == 0


def test_an_incomplete_board_names_the_candidates(logs: Path, capsys: pytest.CaptureFixture) -> None:
    for folder in logs.glob("*/study_*/ogbg_mini_*"):
        shutil.rmtree(folder)
    assert score(logs) == 2
    message = capsys.readouterr().err
    assert "mini_qualification also needs ogbg_mini" in message
    assert "choose one with --rules" in message
    assert score(logs, "--rules=mini_qualification") == 0


@pytest.mark.parametrize("name", sorted(suites()))
def test_every_suite_gets_its_own_rules(name: str) -> None:
    suite = suites()[name]
    assert fitting_rules(suite.workloads, shipped_rules()).name == suite.rules


def test_held_out_workloads_tell_v05_from_v06() -> None:
    assert fitting_rules(load_rules("v0.5").scored_workloads, shipped_rules()).name == "v0.5"


def test_workloads_of_no_set_need_a_rule_file() -> None:
    with pytest.raises(RulesError, match=r"no shipped rule set scores what is logged \(my_task\)"):
        fitting_rules({"my_task"}, shipped_rules())


def test_several_fitting_sets_are_named() -> None:
    mini = load_rules("mini")
    with pytest.raises(RulesError, match="several rule sets fit the logs: mini, mini"):
        fitting_rules(mini.scored_workloads, {"mini": mini, "copy": mini})
