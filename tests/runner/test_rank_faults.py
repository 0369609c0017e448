"""Ranks that are lost: killed, stopped, or failing alone. Real frameworks, since these are their faults."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import toy_runs
from toy_runs import ROOT

TIMEOUT_S = 60
RANKS = """
import sys
sys.path[:0] = [{here!r}, {root!r}]
import json, os
from pathlib import Path
import toy_runs
from algoperf.harness.signals import StopSignals
from algoperf.runner import driver, summary

config = toy_runs.config(Path(sys.argv[1]), sys.argv[2], **json.loads(sys.argv[3]))
with StopSignals() as stop:
    results = driver.run(config, registry=toy_runs.endless(), stop=stop)
    summary.show(results)
    sys.stderr.flush()
    if results[0].has_lost_ranks:
        os._exit(1)
sys.exit(1 if results[0].outcome.is_failure else 0)
"""
TELLS_PID = """
import os, pathlib
RANK = int(os.environ.get("RANK") or os.environ.get("JAX_PROCESS_ID"))
pathlib.Path(__file__).with_name(f"pid_{RANK}").write_text(str(os.getpid()))
"""
PYTORCH, JAX = pytest.mark.torch, pytest.mark.jax


def start_ranks(tmp_path: Path, framework: str, source: str = "", **changes) -> list[subprocess.Popen]:
    """Two processes, in PyTorch under torchrun; what they show goes to the file `shown`."""
    script = tmp_path / "ranks.py"
    script.write_text(RANKS.format(here=str(toy_runs.HERE), root=str(ROOT)))
    whole = toy_runs.SUBMISSIONS[framework].read_text() + TELLS_PID + source
    path = tmp_path / "mine" / "submission.py"
    path.parent.mkdir()
    path.write_text(whole)
    given = {"submission_path": str(path), **changes}
    command = [str(script), str(tmp_path), framework, json.dumps(given)]
    port = toy_runs.free_port()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if framework == "pytorch":
        torchrun = ["-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={port}"]
        started = [([sys.executable, *torchrun, *command], environment)]
    else:
        shared = {**environment, "JAX_NUM_PROCESSES": "2", "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}"}
        started = [([sys.executable, *command], {**shared, "JAX_PROCESS_ID": str(rank)}) for rank in range(2)]
    with (tmp_path / "shown").open("w") as shown:
        return [subprocess.Popen(words, env=env, stdout=shown, stderr=shown) for words, env in started]


def pid_of(tmp_path: Path, rank: int) -> int:
    return int((tmp_path / "mine" / f"pid_{rank}").read_text())


ONLY_RANK_1 = """
_update = update_params
def update_params(*, global_step, **named):
    if RANK == 1 and global_step == 3:
        raise KeyError("only on rank 1")
    return _update(global_step=global_step, **named)
"""
LOST = [
    # fault                      framework    signal          rank   source     what the record names
    pytest.param("pytorch", signal.SIGKILL, 1, "", "rank 1", marks=PYTORCH, id="PyTorch rank 1 killed"),
    pytest.param("pytorch", signal.SIGKILL, 0, "", "rank 0", marks=PYTORCH, id="PyTorch rank 0 killed"),
    pytest.param("pytorch", signal.SIGSTOP, 1, "", "rank 1 has not answered", marks=PYTORCH, id="PyTorch rank 1 hangs"),
    pytest.param("pytorch", None, 1, ONLY_RANK_1, "only on rank 1", marks=PYTORCH, id="PyTorch rank 1 raises"),
    pytest.param("jax", signal.SIGKILL, 1, "", "rank 1", marks=JAX, id="JAX rank 1 killed"),
    pytest.param("jax", signal.SIGSTOP, 1, "", "rank 1 has not answered", marks=JAX, id="JAX rank 1 hangs"),
    pytest.param("jax", None, 1, ONLY_RANK_1, "only on rank 1", marks=JAX, id="JAX rank 1 raises"),
]


@pytest.mark.parametrize(("framework", "number", "rank", "source", "named"), LOST)
def test_a_lost_rank_is_a_typed_end_within_seconds(tmp_path, framework, number, rank, source, named):
    processes = start_ranks(tmp_path, framework, source, rank_timeout_s=6)
    folder = toy_runs.trial_dir(tmp_path, framework)
    try:
        toy_runs.wait_for(folder / "checkpoint_1", processes[0])
        if number is not None:
            os.kill(pid_of(tmp_path, rank), number)
        survivor = processes[0 if framework == "jax" else -1]
        deadline_s = time.monotonic() + 20
        record = folder / "trial.json"
        while time.monotonic() < deadline_s and not (record.exists() and named in record.read_text()):
            time.sleep(0.05)
        shown = (tmp_path / "shown").read_text()
        assert record.exists(), shown
        assert named in json.loads(record.read_text())["error"], shown
        assert json.loads(record.read_text())["outcome"] == "crashed"
        if number == signal.SIGSTOP:
            assert "waiting for rank 1 for" in shown
            os.kill(pid_of(tmp_path, rank), signal.SIGKILL)
        assert survivor.wait(timeout=TIMEOUT_S) == 1
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for other in range(2):
            with contextlib.suppress(OSError):
                os.kill(pid_of(tmp_path, other), signal.SIGKILL)
