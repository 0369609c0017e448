"""A suite in the job arrays of a real SLURM: runs that are killed, requeued and over their time all complete, once."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time

import pytest
import slurm_cluster
from slurm_cluster import ARRAY_LIMIT, SlurmCluster
from toy_runs import ROOT, rows

from algoperf.runner.executors.status import State, suite_status
from algoperf.runner.executors.suite_folder import ENDED, STARTED, StoredSuite

pytestmark = [
    pytest.mark.jax,
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_cluster.missing()), reason=slurm_cluster.missing() or "there"),
    pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs the extra cluster"),
]

STEPS = 60
KILLED, REQUEUED, OVER_TIME = "study_0", "study_1", "study_2"
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
studies = 6
"""
# A minute is the shortest time limit that there is; a job is told 30 s before.
RESOURCES = """
[default]
cores = 1
time_min = 1
[site]
warning_s = 30
"""
# The first time three of the runs are slow from step 20 on, and one of them is killed there.
FAULTS = f"""
import os, pathlib, signal, sys, time
STUDY = next((part for word in sys.argv for part in word.split("/") if part.startswith("study_")), "none")
STARTED = pathlib.Path(__file__).with_name(STUDY)
IS_FIRST = not STARTED.exists()
_update = update_params
def update_params(*, global_step, **named):
    if IS_FIRST and STUDY in {(KILLED, REQUEUED, OVER_TIME)} and global_step >= 20:
        STARTED.touch()
        time.sleep(1)
        if STUDY == {KILLED!r} and global_step == 22:
            os.kill(os.getpid(), signal.SIGKILL)
    return _update(global_step=global_step, **named)
"""
SUITE = """
import sys
from algoperf.definition import Suite
from algoperf.reporting import report_to_stderr
from algoperf.runner.executors.choice import choose_executor
from algoperf.runner.executors.resources import ResourceTable
from algoperf.runner.run_config import RunConfig
from algoperf.runner.suite import SuiteRun
from pathlib import Path

suite = Suite(name="tiny", workloads=("mnist_mini",), studies={"self": STUDIES}, rules=str(Path("tiny.toml").resolve()))
flags = dict(workload="tiny", framework=FRAMEWORK, experiment_dir="experiments", experiment_name="mine",
             data_dir="data", tuning_ruleset="self", rng_seed=3, use_tensorboard=False, max_global_steps=STEPS,
             calibration="off", submission_path="submission/submission.py")
run = SuiteRun(suite, RunConfig.from_flags(flags), executor=choose_executor(sys.argv[1]), executor_name=sys.argv[1],
               resources=ResourceTable.read(Path("resources.toml"), suite.workloads), report=report_to_stderr)
sys.exit(run.run())
"""


@pytest.fixture(scope="module")
def cluster():
    with SlurmCluster() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture
def folder(tmp_path):
    submission = tmp_path / "submission"
    submission.mkdir()
    reference = ROOT / "reference_algorithms" / "nadamw"
    (submission / "submission.py").write_text((reference / "jax_submission.py").read_text() + FAULTS)
    (submission / "self_tuning.json").write_text((reference / "self_tuning.json").read_text())
    (tmp_path / "tiny.toml").write_text(RULES)
    (tmp_path / "resources.toml").write_text(RESOURCES)
    write_suite(tmp_path)
    return tmp_path


def write_suite(folder, *, studies=6, framework="jax"):
    constants = f"STEPS, STUDIES, FRAMEWORK = {STEPS}, {studies}, {framework!r}"
    (folder / "suite.py").write_text(f"{constants}\n{SUITE}")


def allow_more_time(folder, more=""):
    (folder / "resources.toml").write_text(RESOURCES.replace("time_min = 1", f"time_min = 5\n{more}"))


def command(folder, *words):
    """Runs Python in the folder; what it prints goes to the transcript too."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert "Traceback" not in done.stdout, done.stdout
    with (folder / "transcript").open("a") as transcript:
        transcript.write(f"$ python {' '.join(words)}\n{done.stdout}\n")
    return done.returncode, done.stdout


def wait_until(condition, *, timeout_s=240):
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.3)


def status(folder):
    return command(folder, "-m", "algoperf.suite", "status", "experiments/mine")[1]


def test_killed_requeued_and_late_runs_complete_and_nothing_runs_twice(cluster, folder):
    began_s = time.monotonic()
    code, submitted = command(folder, "suite.py", "slurm")
    assert code == 0, submitted
    suite = StoredSuite.read(folder / "experiments" / "mine")
    assert len({job.partition("_")[0] for job in suite.jobs.values()}) == -(-6 // ARRAY_LIMIT)
    first = status(folder)
    assert "waiting" in first, first

    code, again = command(folder, "suite.py", "slurm")
    assert again.count("not submitted again") == 6 - sum(map(suite.is_finished, suite.trials)), again

    requeued = next(trial for trial in suite.trials if trial.key.startswith(REQUEUED))
    wait_until((folder / "submission" / REQUEUED).exists)
    cluster.ask("scontrol", "requeue", suite.jobs[requeued.key])

    cluster.stop_controller()
    lost = suite_status(suite)
    assert "does not answer" in lost.remark
    cluster.start_controller()
    wait_until((folder / "submission" / OVER_TIME).exists)
    second = status(folder)
    assert "running" in second, second

    wait_until(lambda: all(map(suite.is_finished, suite.trials)))
    wait_until(lambda: not cluster.ask("squeue", "--noheader"))  # jobs write their journals
    third = status(folder)
    assert "6 finished" in third, third
    assert_each_ran_once(suite)
    for study, reason in ((KILLED, "killed"), (REQUEUED, "stopped"), (OVER_TIME, "requeued")):
        first_end, *between, last_end = ends(suite, study)
        assert (first_end, last_end) == (reason, "finished")
        assert set(between) <= {"requeued"}  # slow here, and over its time too
    assert command(folder, "suite.py", "slurm")[1].count("finished before") == 6
    assert not cluster.ask("squeue", "--noheader", "--states=pending,running")

    code, results = command(folder, "-m", "algoperf.suite", "collect", "experiments/mine")
    assert code == 0, results
    assert (folder / "experiments" / "mine_scores" / "scores.csv").is_file()
    with (folder / "transcript").open("a") as transcript:
        transcript.write(f"{time.monotonic() - began_s:.0f} s\n")


def ends(suite, study):
    trial = next(trial for trial in suite.trials if trial.key.startswith(study))
    return [event.details["reason"] for event in suite.journal(trial) if event.event == ENDED]


def assert_each_ran_once(suite):
    """A start only after the end before it, one end that is final, and each evaluation of a step once."""
    for trial in suite.trials:
        journal = suite.journal(trial)
        assert [event.event for event in journal] == [STARTED, ENDED] * (len(journal) // 2), trial.key
        assert [e.details["reason"] for e in journal if e.event == ENDED].count("finished") == 1
        assert sorted(event.time_s for event in journal) == [event.time_s for event in journal]
        record = suite.record(trial)
        assert record.global_step == STEPS
        assert record.provenance["placement"]["executor"] == "slurm"
        assert record.provenance["placement"]["is_exclusive"] is True
        steps = [int(row["global_step"]) for row in rows(suite.root / trial.key / "eval_measurements.csv")]
        assert steps == sorted(set(steps))


def test_a_cancelled_suite_leaves_the_queue_and_its_runs_write_their_records(cluster, folder):
    allow_more_time(folder)
    assert command(folder, "suite.py", "slurm")[0] == 0
    suite = StoredSuite.read(folder / "experiments" / "mine")
    wait_until((folder / "submission" / REQUEUED).exists)
    code, told = command(folder, "-m", "algoperf.suite", "cancel", "experiments/mine")
    assert code == 0
    assert "jobs cancelled" in told
    wait_until(lambda: not cluster.ask("squeue", "--noheader"))
    stopped = [status for status in suite_status(suite).trials if status.state is State.INTERRUPTED]
    assert any(status.trial.key.startswith(REQUEUED) for status in stopped)
    record = json.loads((suite.root / REQUEUED / "mnist_mini_jax" / "trial_1" / "trial.json").read_text())
    assert record["outcome"] == "interrupted"


def test_the_printed_script_runs_the_same_array(cluster, folder):
    reference = (ROOT / "reference_algorithms" / "nadamw" / "jax_submission.py").read_text()
    (folder / "submission" / "submission.py").write_text(reference)
    allow_more_time(folder)
    code, printed = command(folder, "suite.py", "print")
    assert code == 0
    assert not cluster.ask("squeue", "--noheader")
    [script] = re.findall(r"^sbatch (\S+)", printed, re.MULTILINE)
    cluster.ask("sbatch", "--array=0-1", script)
    suite = StoredSuite.read(folder / "experiments" / "mine")
    wait_until(lambda: all(map(suite.is_finished, suite.trials[:2])))
    wait_until(lambda: not cluster.ask("squeue", "--noheader"))
    assert suite_status(suite).counts() == {**dict.fromkeys(map(str, State), 0), "finished": 2, "not started": 4}


@pytest.mark.parametrize("framework", ["jax", pytest.param("pytorch", marks=pytest.mark.torch)])
def test_a_run_over_two_nodes_joins_them(cluster, folder, framework):
    write_suite(folder, studies=1, framework=framework)
    allow_more_time(folder, "nodes = 2")
    source = ROOT / "reference_algorithms" / "nadamw" / f"{'jax' if framework == 'jax' else 'torch'}_submission.py"
    (folder / "submission" / "submission.py").write_text(source.read_text())
    assert command(folder, "suite.py", "slurm")[0] == 0
    suite = StoredSuite.read(folder / "experiments" / "mine")
    wait_until(lambda: not cluster.ask("squeue", "--noheader"))
    record = suite.record(suite.trials[0])
    assert record.outcome == "completed", record.error
    assert record.provenance["ranks"]["nodes"] == ["n1", "n2"]
    assert len(suite.journal(suite.trials[0])) == 2
