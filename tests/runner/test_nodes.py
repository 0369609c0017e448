"""Runs over several nodes: processes that `algoperf.runner.launch` starts on each, here one machine with two names."""

import contextlib
import json
import os
import subprocess
import sys
import time

import psutil
import pytest
import toy_runs
from hypothesis import given
from hypothesis import strategies as st
from test_devices_and_ranks import TRAIN, assert_same_trajectory, finish, process, result_of, train_on_one
from test_rank_faults import RANKS
from toy_runs import ROOT, free_port, trial_dir

from algoperf.harness.rank_times import SLOW_FACTOR, RankTimes
from algoperf.runner.executors.resources import Resources
from algoperf.runner.launch import LaunchError, Nodes, interface_to, launch_words

NODES = ("node-a", "node-b")
FRAMEWORKS = [pytest.param("pytorch", marks=pytest.mark.torch), pytest.param("jax", marks=pytest.mark.jax)]
SLURM_STEP = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_NNODES": "2",
    "SLURM_NODEID": "1",
    "SLURM_JOB_NODELIST": "node[1-2]",
    "SLURM_LAUNCH_NODE_IPADDR": "10.0.0.1",
}
# Evaluations of the second node take longer, as on a machine that is throttled.
SLOW_EVALUATIONS = """
import os, time
from algoperf.harness import evaluator
class SlowPipeline(evaluator.EvalPipeline):
    def __iter__(self):
        time.sleep(0.7 if os.environ["ALGOPERF_NODE"] == "node-b" else 0.0)
        return super().__iter__()
evaluator.EvalPipeline = SlowPipeline
"""


def launch(framework, rank, port):
    """The words that start a node's processes, and what tells the nodes apart."""
    where = [f"--framework={framework}", "--nodes=2", f"--node_rank={rank}", f"--head=127.0.0.1:{port}"]
    words = [sys.executable, "-m", "algoperf.runner.launch", *where, "--processes=1"]
    return words, {"ALGOPERF_NODE": NODES[rank], "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_two_nodes_equal_one_process_and_the_slow_one_is_named(tmp_path, framework):
    folders = {name: tmp_path / name for name in ("one", "nodes")}
    for folder in folders.values():
        folder.mkdir()
    train_on_one(folders["one"], framework)
    source, port = f"{SLOW_EVALUATIONS}\n{TRAIN}", free_port()
    started = [
        process(tmp_path, source, folders["nodes"], framework, env=environment, launcher=words)
        for words, environment in (launch(framework, rank, port) for rank in range(2))
    ]
    output = finish(*started)
    several = result_of(folders["nodes"], framework)
    assert_same_trajectory(result_of(folders["one"], framework), several)
    ranks = several[3]["provenance"]["ranks"]
    assert ranks["nodes"] == list(NODES)
    [slow] = ranks["slow"]
    assert slow.startswith("rank 1 on node-b took ")
    assert f"slow: {slow}" in output


def end_node(launched):
    """Kills all processes of a node at once; those of torchrun have sessions of their own."""
    with contextlib.suppress(psutil.NoSuchProcess):
        parent = psutil.Process(launched.pid)
        for process_of_node in [*parent.children(recursive=True), parent]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process_of_node.kill()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_lost_node_is_named(tmp_path, framework):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS.format(here=str(toy_runs.HERE), root=str(ROOT)))
    given_flags = json.dumps({"rank_timeout_s": 6})
    port, started = free_port(), []
    try:
        with (tmp_path / "shown").open("w") as shown:
            for rank in range(2):
                words, environment = launch(framework, rank, port)
                started.append(
                    subprocess.Popen(
                        [*words, str(script), str(tmp_path), framework, given_flags],
                        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
                        stdout=shown,
                        stderr=shown,
                    )
                )
        folder = trial_dir(tmp_path, framework)
        toy_runs.wait_for(folder / "checkpoint_1", started[0])
        end_node(started[1])
        record, deadline_s = folder / "trial.json", time.monotonic() + 30
        while time.monotonic() < deadline_s and not (record.exists() and "rank 1 on node-b" in record.read_text()):
            time.sleep(0.05)
        content = json.loads(record.read_text())
        assert content["outcome"] == "crashed"
        assert "rank 1 on node-b" in content["error"], content["error"]
        assert started[0].wait(timeout=60) == 1
    finally:
        for node in started:
            end_node(node)
            node.wait()


# -- which nodes there are


def test_two_nodes_of_eight_devices_join_at_the_first_node_of_the_job():
    nodes = Nodes.here(SLURM_STEP)
    assert nodes == Nodes(count=2, rank=1, head="10.0.0.1", port=nodes.port)
    assert Nodes.here({**SLURM_STEP, "SLURM_NODEID": "0"}).port == nodes.port
    command = nodes.command("pytorch", 8, ["submission_runner.py"])
    assert command[2:] == [
        "torch.distributed.run",
        "--nnodes=2",
        "--node_rank=1",
        "--nproc_per_node=8",
        "--master_addr=10.0.0.1",
        f"--master_port={nodes.port}",
        "submission_runner.py",
    ]
    assert nodes.command("jax", 8, ["submission_runner.py"])[1:] == ["submission_runner.py"]
    told = nodes.environment("jax")
    assert told["JAX_COORDINATOR_ADDRESS"] == f"10.0.0.1:{nodes.port}"
    assert (told["JAX_NUM_PROCESSES"], told["JAX_PROCESS_ID"]) == ("2", "1")
    assert "JAX_NUM_PROCESSES" not in Nodes.here({}).environment("jax")


def test_processes_of_pytorch_talk_by_the_interface_that_leads_to_the_first_node(monkeypatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    loopback = interface_to("127.0.0.1", 1)
    assert "127.0.0.1" in {entry.address for entry in psutil.net_if_addrs()[loopback]}
    assert Nodes(count=2, head="127.0.0.1").environment("pytorch")["GLOO_SOCKET_IFNAME"] == loopback
    assert "GLOO_SOCKET_IFNAME" not in Nodes(count=1).environment("pytorch")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    assert Nodes(count=2, head="127.0.0.1").environment("pytorch")["GLOO_SOCKET_IFNAME"] == "ib0"
    assert interface_to("no-such-host.invalid", 1) is None


def test_named_nodes_go_before_those_of_slurm():
    named = {"ALGOPERF_NODES": "4", "ALGOPERF_NODE_RANK": "3", "ALGOPERF_HEAD": "head.example.org:2345"}
    assert Nodes.here({**SLURM_STEP, **named}) == Nodes(count=4, rank=3, head="head.example.org", port=2345)
    for missing in named.keys() - {"ALGOPERF_NODES", "ALGOPERF_NODE_RANK"}:
        with pytest.raises(LaunchError, match="expected a number of nodes"):
            Nodes.here({name: value for name, value in named.items() if name != missing})
    with pytest.raises(LaunchError, match="--node_rank must be 0 to 1 for --nodes=2, got 2"):
        Nodes.of(2, 2, "head:1")


@pytest.mark.parametrize(
    ("launcher", "framework", "resources", "words"),
    [
        ((), "pytorch", None, []),
        ((), "pytorch", Resources(gpus=1), []),
        ((), "jax", Resources(gpus=8), []),
        ((), "pytorch", Resources(gpus=8), ["-m", "algoperf.runner.launch", "--framework=pytorch", "--processes=8"]),
        ((), "jax", Resources(nodes=2), ["-m", "algoperf.runner.launch", "--framework=jax"]),
        (("nodes", "--processes=2"), "jax", None, ["-m", "algoperf.runner.launch", "--framework=jax", "--processes=2"]),
    ],
)
def test_runs_that_need_it_are_launched_on_every_node(launcher, framework, resources, words):
    assert launch_words(launcher, framework, resources) == [sys.executable, *words]
    assert launch_words(("torchrun", "--standalone"), framework, resources) == ["torchrun", "--standalone"]


@given(seconds=st.lists(st.floats(0.0, 100.0), min_size=2, max_size=16))
def test_what_is_far_above_the_median_is_slow_and_equal_ranks_are_not(seconds):
    times, equal = RankTimes(), RankTimes()
    times.add([(f"n{rank}", value) for rank, value in enumerate(seconds)])
    equal.add([("n", seconds[0])] * len(seconds))
    assert equal.slow() == []
    slow = times.slow()
    assert len(slow) <= len(seconds) / 2
    for rank, value in enumerate(seconds):
        is_named = any(phrase.startswith(f"rank {rank} on n{rank} ") for phrase in slow)
        assert is_named <= (value > SLOW_FACTOR * min(seconds))
    assert RankTimes().record() is None
