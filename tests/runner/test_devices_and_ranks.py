"""Two ranks and two devices give the trajectory of one device with the same global batch."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import toy_runs
from toy_runs import ROOT, free_port, trial_dir

from algoperf.backends import base
from algoperf.runner.weights import checkpoint_weights

STEPS = 40
TRAIN = f"""
import toy_runs
from pathlib import Path
from algoperf.runner import summary
config = toy_runs.config(Path(sys.argv[1]), sys.argv[2], max_global_steps={STEPS})
results, _ = toy_runs.run(config, toy_runs.endless())
assert results[0].outcome == "completed", results[0].record.error
summary.show(results)
"""


def train_on_one(tmp_path, framework):
    """What `TRAIN` does, in this process."""
    results, _ = toy_runs.run(toy_runs.config(tmp_path, framework, max_global_steps=STEPS), toy_runs.endless())
    assert results[0].outcome == "completed", results[0].record.error


def process(tmp_path, source, *arguments, env=None, launcher=()):
    path = tmp_path / f"script_{abs(hash(source))}.py"
    path.write_text(f"import sys\nsys.path[:0] = [{str(toy_runs.HERE)!r}, {str(ROOT)!r}]\n{source}")
    return subprocess.Popen(
        [*(launcher or [sys.executable]), str(path), *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(*processes):
    """Waits for the processes and returns what they printed."""
    outputs = []
    for running in processes:
        output, _ = running.communicate(timeout=180)
        assert running.returncode == 0, output
        outputs.append(output)
    return "".join(outputs)


def result_of(tmp_path, framework):
    """Final weights, the logged losses, and the record."""
    folder = trial_dir(tmp_path, framework)
    weights = checkpoint_weights(folder, base.load(framework), toy_runs.endless())
    rows = toy_runs.rows(folder / "measurements.csv")
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    evaluations = [float(row["validation/loss"]) for row in toy_runs.rows(folder / "eval_measurements.csv")]
    record = json.loads((folder / "trial.json").read_text())
    return weights, losses, evaluations, record


def assert_same_trajectory(one, other):
    """float32 sums in another order: a relative tolerance of 1e-4 after 40 steps."""
    for name, value in one[0].items():
        np.testing.assert_allclose(other[0][name], value, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(other[1], one[1], rtol=1e-4)
    np.testing.assert_allclose(other[2], one[2], rtol=1e-4)
    assert other[3]["seed"] == one[3]["seed"]
    assert other[3]["global_step"] == one[3]["global_step"] == STEPS


@pytest.mark.jax
def test_two_jax_devices_and_two_jax_processes_equal_one(tmp_path):
    folders = {name: tmp_path / name for name in ("one", "devices", "processes")}
    for folder in folders.values():
        folder.mkdir()
    train_on_one(folders["one"], "jax")
    two_devices = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"}
    finish(process(tmp_path, TRAIN, folders["devices"], "jax", env=two_devices))
    port = free_port()
    finish(
        *(
            process(
                tmp_path,
                TRAIN,
                folders["processes"],
                "jax",
                env={
                    "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
                    "JAX_NUM_PROCESSES": "2",
                    "JAX_PROCESS_ID": str(rank),
                },
            )
            for rank in range(2)
        )
    )
    one = result_of(folders["one"], "jax")
    assert_same_trajectory(one, result_of(folders["devices"], "jax"))
    assert_same_trajectory(one, result_of(folders["processes"], "jax"))


@pytest.mark.torch
def test_two_torch_ranks_equal_one(tmp_path):
    folders = {name: tmp_path / name for name in ("one", "ranks")}
    for folder in folders.values():
        folder.mkdir()
    train_on_one(folders["one"], "pytorch")
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc_per_node=2",
        f"--master_port={free_port()}",
    ]
    output = finish(process(tmp_path, TRAIN, folders["ranks"], "pytorch", launcher=torchrun))
    assert output.count("completed at step") == 1, output
    assert_same_trajectory(result_of(folders["one"], "pytorch"), result_of(folders["ranks"], "pytorch"))


REINITIALISED = """
import torch.distributed as dist

def update_params(*, workload, current_param_container, model_state, optimizer_state, global_step, rng, **arguments):
    if global_step == 20:
        current_param_container, model_state = workload.init_model_fn(rng)
        optimizer_state["optimizer"] = torch.optim.SGD(current_param_container.parameters(), lr=0.02)
        optimizer_state["scheduler"] = torch.optim.lr_scheduler.LambdaLR(optimizer_state["optimizer"], lambda step: 1.0)
    result = original(
        workload=workload, current_param_container=current_param_container, model_state=model_state,
        optimizer_state=optimizer_state, global_step=global_step, rng=rng, **arguments
    )
    if global_step in (19, 21, 39):
        flat = torch.cat([parameter.detach().reshape(-1) for parameter in result[1].parameters()])
        everyone = [torch.empty_like(flat) for _ in range(dist.get_world_size())]
        dist.all_gather(everyone, flat)
        print(f"step {global_step}: {type(result[1]).__name__}, equal: {torch.equal(*everyone)}", flush=True)
    return result
"""


@pytest.mark.torch
def test_a_model_that_is_initialised_again_stays_equal_on_all_ranks(tmp_path):
    path = tmp_path / "reinitialised.py"
    path.write_text(toy_runs.SUBMISSIONS["pytorch"].read_text() + "\noriginal = update_params\n" + REINITIALISED)
    source = TRAIN.replace("max_global_steps", f"submission_path={str(path)!r}, max_global_steps")
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}"]
    output = finish(process(tmp_path, source, tmp_path, "pytorch", launcher=torchrun))
    # the lines of two processes may meet
    assert output.count("equal: ") == output.count("DistributedDataParallel, equal: True") == 6, output
