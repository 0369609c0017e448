"""Where the trials of a suite run: pinned on this machine, in arrays of jobs; and how far they are."""

import dataclasses
import json
import os
import re
import socket
import subprocess
import sys
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from toy_runs import ROOT, config

from algoperf import suite as suite_command
from algoperf.cores import usable_cores
from algoperf.definition import Suite
from algoperf.runner.executors import job, local
from algoperf.runner.executors.choice import choose_executor
from algoperf.runner.executors.resources import Resources, ResourcesError, ResourceTable
from algoperf.runner.executors.slurm import JobArray, job_arrays, script
from algoperf.runner.executors.status import State, suite_status
from algoperf.runner.executors.suite_folder import ENDED, STARTED, StoredSuite, StoredTrial, SuiteFolderError
from algoperf.runner.executors.trial_process import MAX_KILLS
from algoperf.runner.run_config import ConfigError
from algoperf.runner.suite import SuiteRun

WORKLOADS = ("wmt", "ogbg")
RESOURCES = """
[default]
partition = "gpu"
gpus = 1
cores = 8
memory = "64G"
set_up_min = 10
[workloads.wmt]
gpus = 8
nodes = 2
exclusive = false
options = {qos = "long"}
[site]
array_limit = 4
parallel = 2
setup = ["module load cuda"]
"""


def stored_trial(study=0, workload="wmt", trial=1, budget_s=3600.0):
    key = f"study_{study}/{workload}_jax/trial_{trial}"
    return StoredTrial(key=key, workload=workload, budget_s=budget_s, longest_s=4530.0, arguments=("--study=0",))


def stored_suite(tmp_path, trials=None, table=None, **changes):
    table = table or ResourceTable()
    suite = StoredSuite(
        root=tmp_path / "mine",
        suite="tiny",
        rules="none",
        framework="jax",
        tuning_ruleset="self",
        executor="local",
        num_studies=1,
        num_trials=1,
        workloads=WORKLOADS,
        resources={name: table.of(name) for name in WORKLOADS},
        site=table.site,
        trials=tuple(trials if trials is not None else [stored_trial()]),
    )
    return dataclasses.replace(suite, **changes)


def resource_table(tmp_path, text=RESOURCES):
    path = tmp_path / "resources.toml"
    path.write_text(text)
    return ResourceTable.read(path, WORKLOADS)


# -- resources


def test_a_workload_has_its_own_resources_and_time_from_its_budget(tmp_path):
    table = resource_table(tmp_path)
    assert table.of("ogbg") == Resources(partition="gpu", gpus=1, cores=8, memory="64G", set_up_min=10)
    assert (table.of("wmt").gpus, table.of("wmt").nodes, table.of("wmt").cores) == (8, 2, 8)
    assert table.of("ogbg").minutes(3600.0) == 60 * 1.25 + 10
    assert Resources(time_min=7).minutes(3600.0) == 7
    assert Resources().exclusive


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default]\ngpu = 1", "[default] has gpu; expected some of partition, nodes, gpus"),
        ("[workloads.wmr]\ngpus = 1", "[workloads] has wmr; expected some of wmt, ogbg"),
        ("[default]\nnodes = 0", "nodes must be a whole number of at least 1, got 0"),
        ("[default]\nevaluation_share = -1", "evaluation_share must be a number of at least 0, got -1"),
        ("[default]\nexclusive = 1", "exclusive must be true or false"),
        ("[site]\nparallel = 1.5", "[site] parallel must be a whole number of at least 1, got 1.5"),
        ("[site", "expected a TOML file"),
        ("default = 3", "[default] must be a table, got 3"),
    ],
)
def test_a_mistake_in_the_resources_is_named(tmp_path, text, said):
    with pytest.raises(ResourcesError, match=re.escape(said)):
        resource_table(tmp_path, text)


# -- job arrays and scripts


@given(
    kinds=st.lists(st.sampled_from(WORKLOADS), max_size=30),
    limit=st.integers(1, 10),
)
def test_each_trial_is_in_one_array_of_its_resources_within_the_limit(tmp_path_factory, kinds, limit):
    table = ResourceTable(workloads={"wmt": {"gpus": 8}})
    trials = [stored_trial(workload=kind, trial=number) for number, kind in enumerate(kinds, start=1)]
    arrays = list(job_arrays(stored_suite(tmp_path_factory.getbasetemp(), trials, table), trials, limit))
    assert sorted(trial.key for array in arrays for trial in array.trials) == sorted(trial.key for trial in trials)
    for array in arrays:
        assert 0 < len(array.trials) <= limit
        assert {trial.workload for trial in array.trials} <= {
            name for name in WORKLOADS if table.of(name) == array.resources
        }


def test_the_script_asks_for_the_resources_and_is_valid(tmp_path):
    table = resource_table(tmp_path)
    trials = [stored_trial(study=study) for study in range(3)]
    suite = stored_suite(tmp_path, trials, table)
    text = script(suite, JobArray(trials=trials, resources=table.of("wmt"), minutes=85))
    options = set(re.findall(r"^#SBATCH (\S+)", text, re.MULTILINE))
    assert options >= {
        "--array=0-2%2",
        "--time=85",
        "--nodes=2",
        "--gpus-per-node=8",
        "--cpus-per-task=8",
        "--mem=64G",
        "--partition=gpu",
        "--qos=long",
        "--requeue",
        "--signal=USR2@180",
    }
    assert "--exclusive" not in options
    assert "--exclusive" in script(suite, JobArray(trials=trials, resources=table.of("ogbg"), minutes=85))
    assert "module load cuda" in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


def test_slurm_that_is_not_there_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PATH", str(tmp_path))
    suite = stored_suite(tmp_path, executor="slurm")
    suite.write()
    suite.add_jobs({suite.trials[0].key: "7_0"})
    assert suite_command.main(["status", str(suite.root)]) == 0
    assert (
        "SLURM does not answer, this is by the journals alone: squeue is not on this machine" in capsys.readouterr().out
    )
    assert suite_command.main(["cancel", str(suite.root)]) == 2


# -- this machine


@pytest.mark.parametrize("name", ["local:0", "local:x", "k8s", "Local", "local:2:3"])
def test_an_unknown_executor_is_refused(name):
    with pytest.raises(ConfigError, match="expected local, local:N, slurm or print"):
        choose_executor(name)


@given(num_cores=st.integers(1, 64), threads=st.sampled_from([1, 2]), count=st.integers(1, 16))
def test_cores_are_shared_out_whole_and_once(num_cores, threads, count):
    processors = list(range(num_cores * threads))

    def topology(path):
        number = int(re.search(r"cpu(\d+)/", str(path))[1])
        return ",".join(str(number % num_cores + num_cores * thread) for thread in range(threads))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "usable_cores", lambda: processors)
        patch.setattr(local.Path, "read_text", topology)
        patch.setattr(local, "_visible_gpus", list)
        if count > 1 and num_cores < count:
            with pytest.raises(ConfigError, match=f"there are {num_cores}; choose at most local:{num_cores}"):
                choose_executor(f"local:{count}")
            return
        slots = choose_executor(f"local:{count}").slots
    assert len(slots) == count
    if count == 1:
        assert slots[0].cores is None
        return
    taken = [number for slot in slots for number in slot.cores]
    assert sorted(taken) == processors
    for slot in slots:  # both threads of a core, or neither
        assert {number % num_cores for number in slot.cores} == {n % num_cores for n in slot.cores if n < num_cores}


def test_runs_get_gpus_of_their_own(monkeypatch):
    monkeypatch.setattr(local, "usable_cores", lambda: list(range(64)))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3,5,6")
    assert [slot.gpus for slot in choose_executor("local:2").slots] == ["0,3", "5,6"]
    with pytest.raises(ConfigError, match="GPUs of its own, and there are 4"):
        choose_executor("local:5")


@pytest.mark.jax
@pytest.mark.slow
@pytest.mark.skipif(len(usable_cores()) < 2, reason="needs two cores")
def test_two_runs_at_a_time_have_cores_of_their_own(tmp_path, capfd):
    messages: list[str] = []
    suite = Suite(name="tiny", workloads=("mnist_mini",), studies={"self": 3}, rules="mini")
    flags = {"max_global_steps": 20, "tuning_ruleset": "self", "calibration": "off", "submission_path": None}
    run = SuiteRun(
        suite,
        config(tmp_path, "jax", **flags, experiment_name="mine", workload="tiny"),
        executor=choose_executor("local:2"),
        executor_name="local:2",
        report=messages.append,
    )
    run.run()
    stored = StoredSuite.read(tmp_path / "experiments" / "mine")
    records = [stored.record(trial) for trial in stored.trials]
    assert [record.outcome for record in records] == ["completed"] * 3, messages
    places = [record.provenance["placement"] for record in records]
    assert places[0]["neighbours"] == []
    assert places[1]["neighbours"] == [stored.trials[0].key]
    assert not set(places[0]["cores"]) & set(places[1]["cores"])
    usable = [record.provenance["hardware"]["cpu_threads_usable"] for record in records]
    assert usable == [len(place["cores"]) for place in places]
    starts = [stored.journal(trial)[0].time_s for trial in stored.trials]
    assert starts[1] < stored.journal(stored.trials[0])[1].time_s
    assert suite_status(stored).counts()["finished"] == 3
    assert suite_command.main(["status", str(stored.root), "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert [trial["state"] for trial in shown["trials"]] == ["finished"] * 3


# -- the folder of a suite


def test_a_stored_suite_is_read_as_it_was_written(tmp_path):
    suite = stored_suite(tmp_path, table=resource_table(tmp_path), launcher=("torchrun", "--nproc_per_node=8"))
    suite.write()
    assert StoredSuite.read(suite.root) == suite
    assert suite.trial("0") == suite.trial("study_0/wmt_jax/trial_1") == suite.trials[0]
    with pytest.raises(SuiteFolderError, match="has no trial '1'; expected 0 to 0, or for example study_0/wmt_jax"):
        suite.trial("1")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema_version": 1, "suite": "x"}', '{"schema_version": 99}'])
def test_another_folder_is_refused(tmp_path, content, capsys):
    (tmp_path / ".suite").mkdir()
    (tmp_path / ".suite" / "suite.json").write_text(content)
    assert suite_command.main(["status", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert job.main([str(tmp_path), "0"]) == 1


def test_what_a_trial_does_is_read_off_its_journal(tmp_path):
    suite = stored_suite(tmp_path, [stored_trial(study=study) for study in range(6)])
    suite.write()
    alive, gone, stopped, foreign, _, other = suite.trials
    host = socket.gethostname()
    suite.append(alive, STARTED, pid=os.getpid(), node=host, job=None)
    suite.append(gone, STARTED, pid=2**22 + 1, node=host, job=None)
    suite.append(stopped, STARTED, pid=os.getpid(), node=host, job=None)
    suite.append(stopped, ENDED, status=143, reason="stopped")
    suite.append(foreign, STARTED, pid=1, node="elsewhere", job=None)
    with (suite.root / ".suite" / "journal" / f"{alive.key.replace('/', '.')}.jsonl").open("a") as journal:
        journal.write('{"event": "ended", "time')  # cut short
    with (suite.root / ".suite" / "journal" / f"{other.key.replace('/', '.')}.jsonl").open("w") as journal:
        journal.write(json.dumps({"event": STARTED, "time_s": 1000.0, "pid": os.getpid(), "node": host}) + "\n")
    states = [trial.state for trial in suite_status(suite).trials]
    assert states[:3] == [State.RUNNING, State.INTERRUPTED, State.INTERRUPTED]
    assert states[3:] == [State.RUNNING, State.NOT_STARTED, State.INTERRUPTED]


def test_a_suite_that_runs_here_is_cancelled_by_its_folder(tmp_path):
    suite = stored_suite(tmp_path)
    suite.write()
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        import psutil

        created_s = psutil.Process(process.pid).create_time()
        suite.set_process(host=socket.gethostname(), pid=process.pid, created_s=created_s - 100)
        assert suite_command.main(["cancel", str(suite.root)]) == 0  # another process has the number now
        assert process.poll() is None
        suite.set_process(host=socket.gethostname(), pid=process.pid, created_s=created_s)
        assert suite_status(suite).trials[0].state is State.WAITING
        assert suite_command.main(["cancel", str(suite.root)]) == 0
        assert process.wait(timeout=20) == -15
    finally:
        process.kill()
        process.wait()


def test_a_trial_that_was_started_often_enough_is_left_alone(tmp_path, capsys):
    suite = stored_suite(tmp_path, table=resource_table(tmp_path, "[site]\nmax_starts = 2"))
    suite.write()
    for _ in range(2):
        suite.append(suite.trials[0], STARTED, pid=1, node="here", job=None)
    began_s = time.monotonic()
    assert job.main([str(suite.root), "0"]) == 1
    assert "was started 2 times and has not finished" in capsys.readouterr().err
    assert time.monotonic() - began_s < 60


# -- examples of the page


def test_the_examples_for_kubernetes_and_skypilot_call_the_job_as_it_is(monkeypatch):
    text = (ROOT / "docs" / "cluster.md").read_text()
    kubernetes, sky = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", text, re.DOTALL))
    called: list[tuple[str, str]] = []
    monkeypatch.setattr(job, "run_job", lambda folder, name: called.append((folder, name)))
    [container] = kubernetes["spec"]["template"]["spec"]["containers"]
    line = next(line for line in sky["run"].splitlines() if " -m " in line)
    for words in (container["command"], line.split()):
        assert words[:3] == ["python", "-m", job.__name__]
        assert job.main(words[3:]) == 0
    assert called == [("/experiments/mine", "$(JOB_COMPLETION_INDEX)"), ("/experiments/mine", '"$TRIAL"')]
    assert kubernetes["spec"]["completionMode"] == "Indexed"
    assert "TRIAL" in sky["envs"]


KILLED_ALWAYS = """
import os, signal
def update_params(**named):
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.jax
@pytest.mark.slow
def test_a_run_that_is_always_killed_is_given_up(tmp_path):
    source = (ROOT / "reference_algorithms" / "nadamw" / "jax_submission.py").read_text()
    (tmp_path / "submission.py").write_text(source + KILLED_ALWAYS)
    (tmp_path / "self_tuning.json").write_text((ROOT / "reference_algorithms/nadamw/self_tuning.json").read_text())
    messages: list[str] = []
    flags = {"tuning_ruleset": "self", "calibration": "off", "submission_path": str(tmp_path / "submission.py")}
    run = SuiteRun(
        Suite(name="tiny", workloads=("mnist_mini",), studies={"self": 1}, rules="mini"),
        config(tmp_path, "jax", **flags, experiment_name="mine", workload="tiny"),
        report=messages.append,
    )
    assert run.run() == 1
    stored = StoredSuite.read(run.root)
    ends = [event for event in stored.journal(stored.trials[0]) if event.event == ENDED]
    assert [end.details["reason"] for end in ends] == ["killed"] * MAX_KILLS
    assert messages.count("mnist_mini study_0 trial_1: was killed; it is resumed") == MAX_KILLS - 1
    [status] = suite_status(stored).trials
    assert (status.state, status.num_starts) == (State.INTERRUPTED, MAX_KILLS)
