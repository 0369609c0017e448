"""A suite runs trial by trial, skips what is finished, resumes where it was stopped, and ends with a score."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from toy_runs import ROOT

pytestmark = pytest.mark.jax

RULES = """
schema_version = 1
name = "tiny"
description = "One development workload"
base_workloads = ["mnist_mini"]
[held_out]
[profile]
tau_max = 4.0
cutoff_factor = 4.0
[external]
studies = 1
[self]
studies = 2
"""

SUITE = """
import sys
sys.path.insert(0, {root!r})
sys.argv[0] = {runner!r}
from pathlib import Path
from algoperf.definition import Suite
from algoperf.reporting import report_to_stderr
from algoperf.runner.run_config import RunConfig
from algoperf.runner.suite import SuiteRun
from algoperf.runner.suite_plan import Outdated

suite = Suite(name="tiny", workloads=("mnist_mini",), studies={{"external": 1, "self": 2}}, rules={rules!r})
flags = dict(workload="tiny", framework="jax", experiment_dir="experiments", experiment_name="mine", data_dir="data",
             tuning_ruleset={ruleset!r}, rng_seed=3, num_tuning_trials=2, use_tensorboard=False,
             max_global_steps=150,
             submission_path={submission!r})
run = SuiteRun(suite, RunConfig.from_flags(flags), outdated={outdated!r} and Outdated({outdated!r}),
               report=report_to_stderr)
if {dry_run}:
    run.show_plan()
else:
    sys.exit(run.run())
"""


def start(tmp_path, *, ruleset="self", dry_run=False, submission=None, outdated=None):
    (tmp_path / "tiny.toml").write_text(RULES)
    script = tmp_path / "suite.py"
    script.write_text(
        SUITE.format(
            root=str(ROOT),
            runner=str(ROOT / "submission_runner.py"),
            rules=str(tmp_path / "tiny.toml"),
            ruleset=ruleset,
            dry_run=dry_run,
            outdated=outdated,
            submission=submission,
        )
    )
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def finish(process):
    output, _ = process.communicate(timeout=240)
    return process.returncode, output


def trials(tmp_path):
    return sorted((tmp_path / "experiments" / "mine").glob("study_*/mnist_mini_jax/trial_*/trial.json"))


def test_dry_run_prints_the_cells_and_starts_nothing(tmp_path):
    status, output = finish(start(tmp_path, ruleset="external", dry_run=True))
    assert status == 0
    assert "mnist_mini study_0 trial_1" in output
    assert "mnist_mini study_0 trial_2" in output
    assert "2 trials, 0 finished" in output
    assert not (tmp_path / "experiments").exists()


def test_stopped_in_the_middle_and_started_again(tmp_path):
    """Files of a person in the folders of the suite outlive it."""
    places = (
        "experiments/mine",
        "experiments/mine/study_0/mnist_mini_jax",
        "experiments/mine_scores",
        "data/mnist_mini",
    )
    precious = [tmp_path / place / "notes.txt" for place in places]
    for path in precious:
        path.parent.mkdir(parents=True)
        path.write_text("precious")
    process = start(tmp_path)
    deadline = time.monotonic() + 120
    while not trials(tmp_path) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    status, output = finish(process)
    assert status == 128 + signal.SIGTERM, output
    finished = trials(tmp_path)[0].stat().st_mtime_ns
    status, output = finish(start(tmp_path))
    assert status == 0, output
    assert re.search(r"finished before \((reached|completed)\)", output)
    assert trials(tmp_path)[0].stat().st_mtime_ns == finished
    outcomes = {json.loads(path.read_text())["outcome"] for path in trials(tmp_path)}
    assert len(trials(tmp_path)) == 2
    assert outcomes <= {"reached", "completed"}
    assert "times to target" in output
    scores = (tmp_path / "experiments" / "mine_scores" / "scores.csv").read_text()
    assert "mine" in scores
    assert [path.read_text() for path in precious] == ["precious"] * len(precious)


def test_a_trial_of_another_submission_is_moved_aside_and_run_again(tmp_path):
    status, output = finish(start(tmp_path))
    assert status == 0, output
    [first, second] = trials(tmp_path)
    record = json.loads(first.read_text())
    record["provenance"]["submission_digest"] = "of another version"
    first.write_text(json.dumps(record))
    kept = second.stat().st_mtime_ns
    status, output = finish(start(tmp_path, outdated="rerun"))
    assert status == 0, output
    assert "study_0 trial_1: outdated (another version of the submission), moved to" in output
    aside = Path(first).parent.with_name("trial_1.outdated_1") / "trial.json"
    assert json.loads(aside.read_text())["provenance"]["submission_digest"] == "of another version"
    again = json.loads(first.read_text())["provenance"]["submission_digest"]
    assert again == json.loads(second.read_text())["provenance"]["submission_digest"]
    assert second.stat().st_mtime_ns == kept


def test_the_failure_of_a_cell_does_not_stop_the_others(tmp_path):
    source = (ROOT / "reference_algorithms" / "nadamw" / "jax_submission.py").read_text()
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "self_tuning.json").write_text(
        (ROOT / "reference_algorithms" / "nadamw" / "self_tuning.json").read_text()
    )
    (folder / "submission.py").write_text(
        source
        + "\nimport os\nif 'study_0' in ' '.join(__import__('sys').argv):\n    raise RuntimeError('study 0 fails')\n"
    )
    status, output = finish(start(tmp_path, submission=str(folder / "submission.py")))
    assert status == 1
    assert "study 0 fails" in output
    assert "not finished: mnist_mini study_0 trial_1" in output
    outcomes = {path.parts[-4]: json.loads(path.read_text())["outcome"] for path in trials(tmp_path)}
    assert outcomes["study_0"] == "crashed"
    assert outcomes["study_1"] != "crashed"
