"""A comparison of real runs: a plain optimizer against another on mnist_mini."""

import dataclasses
import importlib
import shutil
from pathlib import Path

import pytest

import algoperf
from algoperf.comparison import session
from algoperf.comparison.betting import Verdict
from algoperf.comparison.entrants import Entrant, EntrantError, find_entrant
from algoperf.comparison.runs import RunFailedError, Runs
from algoperf.definition import JAX, PYTORCH
from algoperf.registry import REGISTRY
from algoperf.submissions.loading import SubmissionError

LOGS = Path(__file__).resolve().parents[2] / "docs/leaderboard/mini/logs"
OPTIMIZERS = """
import optax

def same(hyperparameters, workload):
    return optax.adam(0.005)

def again():
    return optax.adam(5e-3)

def broken():
    raise ValueError("no such rate")
"""


@pytest.fixture
def optimizers(tmp_path, monkeypatch):
    """A folder with a module of optimizers, where the command is called."""
    (tmp_path / "my_optimizers.py").write_text(OPTIMIZERS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_one_algorithm_in_both_roles_is_not_decided_by_one_pair(optimizers):
    lines: list[str] = []
    folder = optimizers / "results"
    names = ("my_optimizers:same", "my_optimizers:again")
    mine, against = [find_entrant(name, JAX.name, folder / "submissions") for name in names]
    runs = Runs(
        mine=mine,
        against=against,
        framework=JAX.name,
        folder=folder / "logs",
        data_dir=optimizers / "data",
        step_cost_s=0.0,
        step_cost_period=20,
        report=lines.append,
    )
    assert runs.finished_pair("mnist_mini", 0) is None
    times = iter([0.0, 0.0, 0.0])
    pairs, verdict, reason = session.collect(
        runs, [REGISTRY.get("mnist_mini")], 1000.0, lines.append, now=lambda: next(times, 10.0**6)
    )
    assert (verdict, reason) == (Verdict.UNDECIDED, "the time is up")
    [pair] = pairs
    assert pair.against.steps is not None
    assert pair.cost.cycles == 2
    assert runs.finished_pair("mnist_mini", 0) == pair
    assert session.write_score_report(runs, folder, ["mnist_mini"]) is None
    assert lines[-1] == "no report: the rule set mini has no mnist_mini"
    elsewhere = dataclasses.replace(runs, folder=optimizers / "elsewhere", baseline_logs=runs.folder)
    # only the step cost and the run of mine are made; the other's is taken as it is
    del lines[:]
    pair_there = elsewhere.run_pair("mnist_mini", 0)
    assert pair_there.against == pair.against
    assert [line.rpartition(" ")[2] for line in lines] == [
        against.label,
        str(runs.folder / against.folder_name),
        "runs",
    ]


def test_an_optimizer_that_fails_ends_the_comparison_with_its_message(optimizers):
    with pytest.raises(RunFailedError, match="mnist_mini, step cost failed: ValueError: no such rate"):
        algoperf.compare("my_optimizers:broken", workloads=["mnist_mini"], data_dir=optimizers / "data")


def test_the_report_scores_both_by_the_rules_of_the_minis(tmp_path):
    lines: list[str] = []
    entrants = [Entrant(label=name, path=LOGS / name, digest="0" * 16) for name in ("muon", "nadamw")]
    runs = Runs(
        mine=entrants[0],
        against=entrants[1],
        framework=PYTORCH.name,
        folder=tmp_path / "logs",
        data_dir=tmp_path,
        step_cost_s=0.0,
        step_cost_period=1,
        report=lines.append,
    )
    names = ["imagenet_vit_mini", "ogbg_mini"]
    for name, folder in (("muon", runs.mine_folder), ("nadamw", runs.against_folder)):
        for workload in names:
            trial = Path("study_0", f"{workload}_pytorch")
            shutil.copytree(LOGS / name / trial, runs.folder / folder / trial)
    report = session.write_score_report(runs, tmp_path, names)
    assert report is not None, lines
    assert runs.mine_folder in report.read_text()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("my_optimizers:missing", "has no missing"),
        ("no_such_module:make", "there is no module no_such_module"),
        ("./my_optimizers.py:same", "names no optimizer"),
    ],
)
def test_an_optimizer_that_is_not_there_is_one_line(optimizers, name, message):
    with pytest.raises(EntrantError, match=message):
        find_entrant(name, JAX.name, optimizers)


def test_algoperf_compare_is_the_function_and_checks_before_it_runs(tmp_path):
    importlib.import_module("algoperf.compare")  # the command has the function's name
    with pytest.raises(session.ComparisonError, match="hours must be above 0"):
        algoperf.compare("nadamw", hours=0)
    with pytest.raises(SubmissionError, match="missing"):
        algoperf.compare(str(tmp_path / "missing.py"), experiment_dir=tmp_path)
