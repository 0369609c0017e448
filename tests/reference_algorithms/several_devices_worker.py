"""Trains algorithms on the small problem over all devices there are; saves the parameters after 8 steps.

Usage: several_devices_worker.py {jax|torch} OUTPUT.npz ALGORITHM ...; PyTorch under torchrun, with or without it.
"""

import sys

import numpy as np
from train_small_problem import Run


def main(framework: str, output: str, *algorithms: str) -> None:
    is_main, run_class = {"jax": _jax_run, "torch": _torch_run}[framework]()
    found = {}
    for algorithm in algorithms:
        params = run_class(algorithm, framework).train(8).prepare_for_eval().params()
        found |= {f"{algorithm}/{name}": value for name, value in params.items()}
    if is_main:
        np.savez(output, **found)


def _jax_run() -> tuple[bool, type[Run]]:
    from algoperf import jax_sharding_utils

    class ShardedRun(Run):
        def take_batch(self):
            return jax_sharding_utils.shard_along_batch_dim(super().take_batch())

    return True, ShardedRun


def _torch_run() -> tuple[bool, type[Run]]:
    from algoperf.backends import base
    from algoperf.backends.torch import data_parallel

    backend = base.load("pytorch")
    if backend.world_size == 1:
        return True, Run

    class DistributedRun(Run):
        def wrapped(self, params):
            return data_parallel(params)

        def take_batch(self):
            batch = super().take_batch()
            rows = slice(backend.rank, None, backend.world_size)
            return {
                "inputs": {name: value[rows] for name, value in batch["inputs"].items()},
                "targets": batch["targets"][rows],
                "weights": batch["weights"][rows],
            }

    return backend.rank == 0, DistributedRun


if __name__ == "__main__":
    main(*sys.argv[1:])
