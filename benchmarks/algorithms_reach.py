"""Whether every reference algorithm reaches the target of a small workload, in both frameworks.

  python benchmarks/algorithms_reach.py [--workload=mnist_mini] [--algorithms=muon,lion] [--frameworks=jax]

Each run has the hyperparameters of `search_spaces/<workload>.json`, the reference those of the definition. Prints steps
and seconds to the target; the exit status is 1 when a run misses.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from algoperf.records.layout import trial_folder
from algoperf.records.trial import TrialRecord
from algoperf.runner.run_config import default_submission

ROOT = Path(__file__).resolve().parents[1]


def reach(algorithm: Path, framework: str, workload: str, results: Path, data_dir: str) -> str | None:
    """Runs one trial; steps and seconds to the target, or None when it was missed."""
    command = [
        sys.executable,
        str(ROOT / "submission_runner.py"),
        f"--workload={workload}",
        f"--framework={framework}",
        f"--submission_path={algorithm / default_submission(framework).name}",
        f"--experiment_dir={results}",
        f"--experiment_name={algorithm.name}_{framework}",
        f"--data_dir={data_dir}",
        "--rng_seed=0",
        "--use_tensorboard=false",
        "--save_checkpoints=false",
    ]
    subprocess.run(command, check=False, capture_output=True)
    [trial_dir] = (results / f"{algorithm.name}_{framework}").glob(f"*/{trial_folder(1)}")
    record = TrialRecord.read(trial_dir)
    if record is None or record.time_to_target_s is None:
        return None
    return f"{record.global_step:6,d} steps {record.time_to_target_s:6.1f} s"


def main() -> int:
    folders = sorted(path.parent for path in (ROOT / "reference_algorithms").glob("*/search_spaces"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workload", default="mnist_mini")
    parser.add_argument("--algorithms", default=",".join(folder.name for folder in folders))
    parser.add_argument("--frameworks", default="jax,pytorch")
    parser.add_argument("--data_dir", default="~/data")
    options = parser.parse_args()
    missed = 0
    with tempfile.TemporaryDirectory() as results:
        for name in options.algorithms.split(","):
            folder = ROOT / "reference_algorithms" / name
            for framework in options.frameworks.split(","):
                reached = reach(folder, framework, options.workload, Path(results), options.data_dir)
                missed += reached is None
                print(f"{name:20s} {framework:8s} {reached or 'missed'}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
