"""Two devices train as one does with the same global batch; one of the two shares has an example of weight 0."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import several_devices_worker

HERE = Path(__file__).parent

# One of each kind: plain, two gradients in a step, state outside the parameters, matrices.
ALGORITHMS = ["nadamw", "sam", "schedule_free_adamw", "muon"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]


def train_on_one(framework: str, output: Path) -> dict[str, np.ndarray]:
    """In this process."""
    several_devices_worker.main(framework, str(output), *ALGORITHMS)
    with np.load(output) as arrays:
        return dict(arrays)


def train_on_two(framework: str, output: Path, prefix: list[str], **environment: str) -> dict[str, np.ndarray]:
    worker = str(HERE / "several_devices_worker.py")
    command = [sys.executable, *prefix, worker, framework, str(output), *ALGORITHMS]
    result = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 0, result.stderr[-3000:]
    with np.load(output) as arrays:
        return dict(arrays)


def assert_same(one: dict[str, np.ndarray], two: dict[str, np.ndarray]) -> None:
    assert one.keys() == two.keys()
    assert {name.split("/")[0] for name in one} == set(ALGORITHMS)
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, atol=3e-6, err_msg=name)


@pytest.mark.torch
def test_two_processes_train_as_one(tmp_path: Path):
    one = train_on_one("torch", tmp_path / "one.npz")
    strict = {"PYTHONWARNINGS": "error::FutureWarning", "OMP_NUM_THREADS": "1"}
    two = train_on_two("torch", tmp_path / "two.npz", TORCHRUN, **strict)
    assert_same(one, two)


@pytest.mark.jax
def test_two_jax_devices_train_as_one(tmp_path: Path):
    one = train_on_one("jax", tmp_path / "one.npz")
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    two = train_on_two("jax", tmp_path / "two.npz", [], XLA_FLAGS=flags)
    assert_same(one, two)
