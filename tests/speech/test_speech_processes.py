"""Two PyTorch processes give the gradient and the batch statistics of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

_WORKER = Path(__file__).with_name("speech_torch_worker.py")


def run_workers(path, num_processes):
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={num_processes}"]
    command = [sys.executable, *(launcher if num_processes > 1 else []), str(_WORKER), str(path)]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    with np.load(path) as arrays:
        return dict(arrays)


@pytest.mark.torch
def test_two_processes_give_what_one_gives(tmp_path):
    one, two = (run_workers(tmp_path / f"{count}.npz", count) for count in (1, 2))
    assert one.keys() == two.keys()
    assert any("batch_stats" in name for name in one)
    for name, expected in one.items():
        scale = max(1e-3, float(np.abs(expected).max()))
        np.testing.assert_allclose(two[name], expected, rtol=0, atol=1e-3 * scale, err_msg=name)
