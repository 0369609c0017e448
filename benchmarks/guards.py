"""What guards and isolation cost: seconds of a step and of a pause with and without, in interleaved runs.

  python benchmarks/guards.py [--framework=jax|pytorch] [--rounds=3] [--steps=400] [--workload=mnist_mini]
      [--arms=guards,isolated,"without again"] [--save_checkpoints]

A round has a run without guards, one with them, one isolated, and again one without, whose ratio to the first says what
noise is. A step counts with its share of what is charged at evaluations: what an isolated run hands over, and with
--save_checkpoints its optimizer state too. Prints the CPU time of a guard at a pause, and medians of the ratios over
the rounds, their spread and the least of all rounds. On a busy machine CPU times say more than seconds.
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
_OFF = """
import sys
from algoperf.harness.guards import Guard
Guard.pause_begins = lambda self: []
Guard.pause_ends = lambda self: None
sys.argv[0] = "submission_runner.py"
from absl import app
import submission_runner
app.run(submission_runner.main)
"""
ARMS = ("without", "guards", "isolated", "without again")


def run(arm: str, options: argparse.Namespace, folder: Path) -> tuple[float, float, float]:
    """Seconds of a step after the first evaluation, and of a pause; CPU seconds of a step, compilation included."""
    name = arm.replace(" ", "_")
    flags = {
        "workload": options.workload,
        "framework": options.framework,
        "experiment_dir": folder,
        "experiment_name": name,
        "data_dir": options.data_dir.expanduser(),
        "max_global_steps": options.steps,
        "rng_seed": 1,
        "calibration": "off",
        "compilation_cache": "trial",
        "save_checkpoints": options.save_checkpoints,
        "use_tensorboard": False,
        "overwrite": True,
        "isolated": arm == "isolated",
    }
    words = [f"--{key}={value}" for key, value in flags.items()]
    start = ["-c", _OFF] if arm.startswith("without") else ["submission_runner.py"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *start, *words], cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{arm}: {done.stderr}")
    trial = folder / name / f"{options.workload}_{options.framework}" / "trial_1"
    with (trial / "eval_measurements.csv").open(newline="") as stream:
        first, *_, last = list(csv.DictReader(stream))
    seconds = float(last["accumulated_submission_time"]) - float(first["accumulated_submission_time"])
    record = json.loads((trial / "trial.json").read_text())
    pauses, steps = record["pauses"], int(last["global_step"])
    return (
        seconds / (steps - int(first["global_step"])),
        pauses["total_s"] / pauses["num_pauses"],
        record["cost"]["charged"]["cpu_s"] / steps,
    )


def guard_cpu_ms(framework: str, workload: str) -> float:
    """Median CPU milliseconds of a guard at one pause; steps it does not touch."""
    from algoperf.backends import base
    from algoperf.harness.clock import Clock
    from algoperf.harness.guards import Guard
    from algoperf.harness.pinned_code import PinnedCode
    from algoperf.registry import REGISTRY

    backend = base.load(framework)
    for name in ("data", "metrics", base.model_module(framework)):
        REGISTRY.module(workload, name)
    guard = Guard(PinnedCode(["algoperf", "workloads", *backend.evaluation_packages]), ["algoperf", "workloads"])
    guard.watch(Clock(fence=backend.fence))
    times = []
    for _ in range(20):
        begun_s = time.thread_time()
        guard.pause_begins()
        times.append(time.thread_time() - begun_s)
    return 1e3 * statistics.median(times)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--framework", choices=("jax", "pytorch"), default="jax")
    parser.add_argument("--workload", default="mnist_mini")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--arms", default=",".join(ARMS[1:]), help="comma list, beside the run without")
    parser.add_argument("--save_checkpoints", action="store_true")
    parser.add_argument("--data_dir", type=Path, default=Path("~/data"))
    options = parser.parse_args(argv)
    arms = options.arms.split(",")
    cpu_ms = guard_cpu_ms(options.framework, options.workload)
    print(f"{options.framework}: a guard takes {cpu_ms:.1f} ms of CPU in a pause")
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(options.rounds):
            rounds.append({arm: run(arm, options, Path(folder)) for arm in (ARMS[0], *arms)})
    print(f"{options.workload}, {options.framework}, {options.rounds} rounds of {options.steps} steps")
    for arm in arms:
        for index, what in enumerate(("step", "pause", "step's CPU time")):
            ratios = sorted(entry[arm][index] / entry["without"][index] for entry in rounds)
            least, least_without = (min(entry[a][index] for entry in rounds) for a in (arm, "without"))
            print(
                f"{arm}: a {what} is {statistics.median(ratios):.3f} times that without ({ratios[0]:.3f} to "
                f"{ratios[-1]:.3f}); least of all rounds: {1e3 * least:.2f} ms, {least / least_without:.3f} times"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
