"""Kills a run with SIGKILL at random points, resumes it each time, and compares it with a run that was left alone.

  python benchmarks/kill_and_resume.py --framework=jax [--kills=20] [--steps=18000] [--workload=mnist_mini] [--seed=0]

The run's target is put out of reach, so that both end at the same step. Prints, and fails unless: final parameters are
bitwise equal; no row of a log is lost, doubled or torn; the ledger stays within the wall time of all processes.
"""

import argparse
import csv
import dataclasses
import itertools
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from algoperf.backends import base
from algoperf.definition import FRAMEWORKS, Direction
from algoperf.records.columns import GLOBAL_STEP
from algoperf.records.layout import EVALUATIONS, MEASUREMENTS
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY
from algoperf.runner import driver
from algoperf.runner.run_config import RunConfig
from algoperf.runner.weights import checkpoint_weights


class Run:
    """One trial on the command line, in processes that may be killed."""

    def __init__(self, name: str, options: argparse.Namespace, root: Path) -> None:
        self.trial_dir = root / name / f"{options.workload}_{options.framework}" / "trial_1"
        self._command = [
            sys.executable,
            __file__,
            f"--train={root / name}",
            f"--workload={options.workload}",
            f"--framework={options.framework}",
            f"--steps={options.steps}",
            f"--data_dir={options.data_dir}",
        ]
        self.processes = 0
        self.wall_s = 0.0

    def start(self, kill_after_s: float | None = None) -> bool:
        """Runs a process until it ends or for `kill_after_s` seconds; returns whether it ended by itself."""
        started = time.monotonic()
        process = subprocess.Popen(self._command, stderr=subprocess.PIPE, text=True)
        self.processes += 1
        try:
            _, errors = process.communicate(timeout=kill_after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            self.wall_s += time.monotonic() - started
            return False
        self.wall_s += time.monotonic() - started
        if process.returncode != 0:
            raise SystemExit(f"the run failed with exit status {process.returncode}:\n{errors}")
        return True

    def steps(self, file: str) -> list[int]:
        """Steps of the rows of a log, each of which must be whole."""
        with (self.trial_dir / file).open(newline="") as stream:
            rows = list(csv.reader(stream))
        if any(len(row) != len(rows[0]) for row in rows):
            raise SystemExit(f"{self.trial_dir / file} has torn rows")
        column = rows[0].index(GLOBAL_STEP)
        return [int(float(row[column])) for row in rows[1:]]

    def scalar_steps(self) -> list[int]:
        """Steps of the rows that the submission logged, without those of evaluations and the last line."""
        with (self.trial_dir / MEASUREMENTS).open(newline="") as stream:
            return [int(float(row[GLOBAL_STEP])) for row in csv.DictReader(stream) if row.get("grad_norm")]

    def record(self) -> TrialRecord:
        record = TrialRecord.read(self.trial_dir)
        if record is None:
            raise SystemExit(f"{self.trial_dir} holds no record")
        return record


def endless(workload: str):
    """The registry with the workload's target out of reach and evaluations every third of a second."""
    definition = REGISTRY.get(workload)
    unreachable = float("-inf") if definition.metric.direction is Direction.MINIMIZE else float("inf")
    budget = dataclasses.replace(definition.budget, max_runtime_s=3600.0, eval_period_s=0.3)
    return REGISTRY.altered({workload: {"validation_target": unreachable, "test_target": None, "budget": budget}})


def train(options: argparse.Namespace) -> None:
    values = {
        "workload": options.workload,
        "framework": options.framework,
        "experiment_dir": options.train.parent,
        "experiment_name": options.train.name,
        "max_global_steps": options.steps,
        "data_dir": options.data_dir,
        "rng_seed": 0,
        "resume_last_run": True,
        "calibration": "off",  # kills come after the start, which measuring a reference step would make long
    }
    [result] = driver.run(RunConfig.from_flags(values), registry=endless(options.workload))
    if result.outcome != "completed":
        raise SystemExit(f"expected the run to complete, it ended as {result.outcome}: {result.record.error}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--framework", choices=tuple(FRAMEWORKS), required=True)
    parser.add_argument("--workload", default="mnist_mini")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--steps", type=int, default=18000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data_dir", type=Path, default=Path("~/data").expanduser())
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train is not None:
        train(options)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


def compare(options: argparse.Namespace, root: Path) -> None:
    alone = Run("alone", options, root)
    alone.start()
    start_up_s = max(alone.wall_s - alone.record().ledger.total_s + alone.record().ledger.other_s, 0.5)
    points = random.Random(options.seed)
    killed = Run("killed", options, root)
    kills = 0
    while kills < options.kills:
        # Anywhere in a process's life, with most kills in the part where it trains, evaluates and saves.
        if killed.start(kill_after_s=start_up_s * points.uniform(0.5, 1.0) + points.uniform(0, 2.0)):
            break
        kills += 1
    else:
        killed.start()
    report(alone, killed, kills, options)


def report(alone: Run, killed: Run, kills: int, options: argparse.Namespace) -> None:
    backend = base.load(options.framework)
    expected, got = (checkpoint_weights(run.trial_dir, backend, endless(options.workload)) for run in (alone, killed))
    equal = all(np.array_equal(expected[name], got[name], equal_nan=True) for name in expected)
    evaluations = killed.steps(EVALUATIONS)
    increasing = all(a < b for a, b in itertools.pairwise(evaluations))
    same_scalars = killed.scalar_steps() == alone.scalar_steps()
    ledger_s = killed.record().ledger.total_s
    print(
        f"{options.framework}: {kills} kills in {killed.processes} processes, {options.steps} steps; "
        f"final parameters {'bitwise equal' if equal else 'DIFFER'}; "
        f"{len(evaluations)} evaluations {'in order' if increasing else 'DOUBLED OR LOST'}; "
        f"{len(killed.scalar_steps())} logged steps {'as in the run left alone' if same_scalars else 'DIFFER'}; "
        f"ledger {ledger_s:.1f} s of {killed.wall_s:.1f} s of process time, the rest being start-up and lost segments"
    )
    if not (equal and increasing and same_scalars and ledger_s <= killed.wall_s):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
