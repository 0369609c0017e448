"""How much faster two workers prepare a dataset than one.

  python benchmarks/preparation_scaling.py [WORKLOAD ...] [--repeats=3]

Raw files of the minis are generated once; then their preparation takes turns with one worker and with two. Given are
the best wall-clock time of each, their ratio, and CPU seconds with children (a mean): on an idle machine of two cores
or more the ratio says how preparation scales, on a busy one it says little. Preparation of MNIST, CIFAR-10 and
ogbg-molpcba takes a minute in one process and has no workers.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

from algoperf.data.places import new_store_dir
from algoperf.prepare import prepare_dataset
from algoperf.registry import REGISTRY

WORKLOADS = ("imagenet_resnet_mini", "fastmri_mini", "librispeech_conformer_mini", "criteo1tb_mini", "wmt_mini")
WORKERS = (1, 2)


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    for name in options.workloads:
        definition = REGISTRY.get(name)
        with tempfile.TemporaryDirectory() as folder:
            data_dir = Path(folder)
            prepare_dataset(definition, data_dir, report=lambda message: None)  # generates, and compiles
            wall: dict[int, list[float]] = {workers: [] for workers in WORKERS}
            cpu: dict[int, list[float]] = {workers: [] for workers in WORKERS}
            for _ in range(options.repeats):
                for workers in WORKERS:
                    shutil.rmtree(new_store_dir(definition, data_dir))
                    started, cpu_started = time.perf_counter(), cpu_seconds()
                    prepare_dataset(definition, data_dir, num_workers=workers, report=lambda message: None)
                    wall[workers].append(time.perf_counter() - started)
                    cpu[workers].append(cpu_seconds() - cpu_started)
        one, two = (min(wall[workers]) for workers in WORKERS)
        costs = " and ".join(f"{sum(cpu[workers]) / len(cpu[workers]):.1f}" for workers in WORKERS)
        print(f"{name:28s} {one:6.1f} s, {two:6.1f} s with two: {one / two:.2f} times; CPU seconds {costs}", flush=True)


if __name__ == "__main__":
    main()
