"""Whether reference steps cancel the machine: one submission at one core and at two, quiet and loaded.

  python benchmarks/calibration_agreement.py [--workloads=ogbg_mini,wmt_mini] [--frameworks=pytorch] [--steps=150]

Each run takes the same steps from the same seed, so that its time is a matter of the machine alone. What is compared is
the time between the first and the last evaluation (the first step compiles), in seconds and in reference steps, over
that of the quiet machine with two cores. Finished runs are not run again. The submission should not be the reference
itself, whose steps cancel by construction. Needs two cores, and a machine that does nothing else.
"""

import argparse
import contextlib
import csv
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from algoperf.definition import FRAMEWORKS, PYTORCH
from algoperf.records.columns import GLOBAL_STEP, SUBMISSION_TIME
from algoperf.records.layout import EVALUATIONS, trial_folder, workload_folder
from algoperf.records.trial import TrialRecord

ROOT = Path(__file__).resolve().parents[1]
QUIET = "two_cores"
# Number of cores, and busy loops that run beside.
CONDITIONS: Mapping[str, tuple[int, int]] = {QUIET: (2, 0), "one_core": (1, 0), "loaded": (2, 2), "one_loaded": (1, 1)}
_BUSY = "while True: pass"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Of one step of the submission: seconds, and reference steps with the spread of their logarithm."""

    seconds: float
    reference_steps: float
    spread: float


@contextlib.contextmanager
def busy(loops: int, cores: set[int]) -> Iterator[None]:
    """Keeps `cores` busy with so many processes."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(loops)]
    try:
        for process in processes:
            os.sched_setaffinity(process.pid, cores)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def run(workload: str, framework: str, condition: str, options: argparse.Namespace) -> Path:
    """Runs the submission under a condition, unless that is done; returns the folder of its trial."""
    num_cores, loops = CONDITIONS[condition]
    cores = set(sorted(os.sched_getaffinity(0))[:num_cores])
    submission = ROOT / "reference_algorithms" / options.algorithm / f"{FRAMEWORKS[framework].package}_submission.py"
    command = [
        sys.executable,
        str(ROOT / "submission_runner.py"),
        f"--workload={workload}",
        f"--framework={framework}",
        f"--submission_path={submission}",
        f"--experiment_dir={options.experiment_dir}",
        f"--experiment_name={condition}",
        f"--data_dir={options.data_dir}",
        f"--max_global_steps={options.steps}",
        "--tuning_ruleset=self",
        "--rng_seed=0",
        "--resume_last_run",
        "--use_tensorboard=false",
    ]
    with busy(loops, cores):
        threads = os.environ | {"OMP_NUM_THREADS": str(num_cores)}
        process = subprocess.Popen(command, env=threads, preexec_fn=lambda: os.sched_setaffinity(0, cores))
        process.wait()
    folder: Path = options.experiment_dir / condition / workload_folder(workload, framework) / trial_folder(1)
    return folder


def cost_of(trial_dir: Path) -> Cost | None:
    """What a step cost between the first and the last evaluation; None where the run left too little."""
    record = TrialRecord.read(trial_dir)
    if record is None or record.calibration is None:
        return None
    with (trial_dir / EVALUATIONS).open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if len(rows) < 2:
        return None
    steps = float(rows[-1][GLOBAL_STEP]) - float(rows[0][GLOBAL_STEP])
    seconds = (float(rows[-1][SUBMISSION_TIME]) - float(rows[0][SUBMISSION_TIME])) / steps
    calibration = record.calibration
    return Cost(seconds=seconds, reference_steps=seconds / calibration.step_s, spread=calibration.spread)


def rows_of(workload: str, framework: str, costs: Mapping[str, Cost | None]) -> Iterator[tuple[str, float]]:
    """Lines of the table, each with its ratio in reference steps to the quiet machine."""
    quiet = costs[QUIET]
    for condition, cost in costs.items():
        if cost is None or quiet is None:
            yield f"| {workload} | {framework} | {condition} | no result | | | |", math.nan
            continue
        ratio = cost.reference_steps / quiet.reference_steps
        spread = math.hypot(cost.spread, quiet.spread)
        cells = (
            workload,
            framework,
            condition,
            f"{cost.seconds:.4g}",
            f"{cost.seconds / quiet.seconds:.2f}",
            f"{cost.reference_steps:.3g}",
            f"{ratio:.2f} ± {ratio * spread:.2f}",
        )
        yield f"| {' | '.join(cells)} |", ratio


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workloads", default="ogbg_mini,wmt_mini")
    parser.add_argument("--frameworks", default=PYTORCH.name)
    parser.add_argument("--algorithm", default="muon", help="folder of reference_algorithms")
    parser.add_argument("--conditions", default=",".join(CONDITIONS))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--experiment_dir", type=Path, default=Path("experiments/calibration"))
    parser.add_argument("--data_dir", type=Path, default=Path.home() / "data")
    options = parser.parse_args(argv)
    conditions = dict.fromkeys([QUIET, *options.conditions.split(",")])
    lines, ratios = [], []
    for workload in options.workloads.split(","):
        for framework in options.frameworks.split(","):
            costs = {condition: cost_of(run(workload, framework, condition, options)) for condition in conditions}
            for line, ratio in rows_of(workload, framework, costs):
                lines.append(line)
                ratios.append(ratio)
    print(f"{options.algorithm}, {options.steps} steps; ratios to {QUIET}\n")
    print("| mini | framework | condition | seconds a step | ratio | reference steps a step | ratio ± spread |")
    print("|---|---|---|---|---|---|---|", *lines, sep="\n")
    differences = [abs(math.log(ratio)) for ratio in ratios if not math.isnan(ratio) and ratio != 1.0]
    if differences:
        middle, most = math.expm1(statistics.median(differences)), math.expm1(max(differences))
        print(f"\nin reference steps the conditions differ by {middle:.0%} in the median, by {most:.0%} at most")
    return int(any(map(math.isnan, ratios)))


if __name__ == "__main__":
    sys.exit(main())
