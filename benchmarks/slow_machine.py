"""A mini on a machine that is four times slower: does a run reach its target within its budget there?

  python benchmarks/slow_machine.py [--workload=wmt_mini] [--frameworks=jax,pytorch] [--share=0.25] [--calibration=auto]

The run and all its processes are stopped and continued in turn, so that they have `--share` of the time, as under a
CPU quota. `--calibration=off` shows the same with the seconds of the machine on which the target was set. The exit
status is 1 when a run misses its target.
"""

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from algoperf.definition import FRAMEWORKS
from algoperf.records.layout import trial_folder, workload_folder
from algoperf.records.outcome import Outcome
from algoperf.records.trial import TrialRecord

ROOT = Path(__file__).resolve().parents[1]
PERIOD_S = 0.1  # as operating systems hand out quotas
_NEW_PROCESSES_S = 1.0  # how often the tree is searched for new processes


def run_slowly(command: Sequence[str], share: float, period_s: float = PERIOD_S) -> int:
    """Runs a command that has `share` of the time, child processes included; returns its exit status."""
    process = subprocess.Popen(command)
    tree, searched_s = [psutil.Process(process.pid)], time.monotonic()
    try:
        while process.poll() is None:
            if time.monotonic() - searched_s > _NEW_PROCESSES_S:
                tree, searched_s = _tree(process.pid), time.monotonic()
            _each(tree, psutil.Process.suspend)
            time.sleep((1 - share) * period_s)
            _each(tree, psutil.Process.resume)
            time.sleep(share * period_s)
    finally:
        _each(tree, psutil.Process.resume)
        if process.poll() is None:
            process.terminate()
    return process.wait()


def _tree(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []


def _each(tree: Sequence[psutil.Process], act: Callable[[psutil.Process], None]) -> None:
    for process in tree:
        with contextlib.suppress(psutil.NoSuchProcess):
            act(process)


def run_mini(framework: str, options: argparse.Namespace) -> TrialRecord | None:
    """Runs the reference on the mini at its reference point; None where it left no record."""
    name = f"slow/{options.share:g}_{options.calibration}"
    command = [
        sys.executable,
        str(ROOT / "submission_runner.py"),
        f"--workload={options.workload}",
        f"--framework={framework}",
        f"--experiment_dir={options.experiment_dir}",
        f"--experiment_name={name}",
        f"--data_dir={options.data_dir}",
        f"--calibration={options.calibration}",
        "--rng_seed=0",
        "--resume_last_run",
        "--use_tensorboard=false",
    ]
    run_slowly(command, options.share)
    folder = options.experiment_dir / name / workload_folder(options.workload, framework) / trial_folder(1)
    return TrialRecord.read(folder)


def row(framework: str, record: TrialRecord | None) -> str:
    if record is None:
        return f"| {framework} | no record | | | | |"
    time_s, calibration = record.time_to_target_s, record.calibration
    cells = [
        framework,
        str(record.outcome),
        f"{record.budget_s:.0f}",
        "missed" if time_s is None else f"{time_s:.0f}",
        str(record.global_step),
        "not measured" if calibration is None else f"{calibration.step_s:.3g} (spread {calibration.spread:.0%})",
    ]
    return f"| {' | '.join(cells)} |"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--workload", default="wmt_mini")
    parser.add_argument("--frameworks", default=",".join(FRAMEWORKS))
    parser.add_argument("--share", type=float, default=0.25, help="of the time that the run has")
    parser.add_argument("--calibration", default="auto")
    parser.add_argument("--experiment_dir", type=Path, default=Path("experiments/slow_machine"))
    parser.add_argument("--data_dir", type=Path, default=Path.home() / "data")
    options = parser.parse_args(argv)
    records = {framework: run_mini(framework, options) for framework in options.frameworks.split(",")}
    print(f"{options.workload} with {options.share:.0%} of the time, --calibration={options.calibration}\n")
    print("| framework | outcome | budget (s) | target after (s) | steps | seconds of a reference step |")
    print("|---|---|---|---|---|---|")
    for framework, record in records.items():
        print(row(framework, record))
    return int(any(record is None or record.outcome is not Outcome.REACHED for record in records.values()))


if __name__ == "__main__":
    sys.exit(main())
