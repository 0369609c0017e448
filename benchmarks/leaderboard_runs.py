"""The runs of the mini leaderboard: every entrant on every mini, one core a run, as many at once as there are cores.

  python benchmarks/leaderboard_runs.py [--entrants=nadamw,muon] [--studies=3] [--experiment_dir=DIR] [--data_dir=DIR]
      [--workloads=wmt_mini] [--horizon=3] [--step_costs=DIR | --measured]

Entrants are the submissions of docs/leaderboard/mini-2026-11-27, the steps of the reference algorithms at points that a
search has chosen. Steps are charged what `DIR/<entrant>.json` says that those of the reference algorithm cost, so that
the machine may do other work and runs may be spread over several; with `--measured` the clock measures, and the machine
must do nothing else.

Self-tuning rules in PyTorch, seeds from 0 and the study. Studies come one after the other, so that a board that is
stopped early has whole studies. What is finished is not run again, and the rest is resumed. The exit status is 1 when a
run failed; missing a target is no failure.
"""

import argparse
import dataclasses
import itertools
import os
import queue
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from algoperf.cores import usable_cores
from algoperf.definition import PYTORCH, SELF_TUNING
from algoperf.errors import UserError
from algoperf.records.layout import study_folder
from algoperf.records.step_costs import StepCosts
from algoperf.registry import suites
from algoperf.runner.run_config import default_submission
from algoperf.submissions.loading import load_submission

ROOT = Path(__file__).resolve().parents[1]
ENTRANTS = ("nadamw", "adamw", "schedule_free_adamw", "muon", "shampoo", "lion", "ademamix", "nesterov")
SUBMISSIONS = ROOT / "docs" / "leaderboard" / "mini-2026-11-27" / "submissions"
STEP_COSTS = ROOT / "docs" / "leaderboard" / "step_costs" / "cpu"


def command(workload: str, entrant: str, study: int, options: argparse.Namespace) -> list[str]:
    """The command line of one run of the board."""
    words = [
        sys.executable,
        str(ROOT / "submission_runner.py"),
        f"--workload={workload}",
        f"--framework={PYTORCH.name}",
        "--tuning_ruleset=self",
        f"--submission_path={submission(entrant)}",
        f"--experiment_dir={options.experiment_dir}",
        f"--experiment_name={entrant}/{study_folder(study)}",
        f"--study={study}",
        "--rng_seed=0",
        "--resume_last_run",
        "--data=full",
        "--stop_at_validation_target",
        f"--data_dir={options.data_dir}",
        "--use_tensorboard=false",
    ]
    if options.horizon != 1:
        words.append(f"--horizon={options.horizon}")
    if not options.measured:
        words.append(f"--step_costs={charged_costs(entrant, options)}")
    return words


def run(workload: str, entrant: str, study: int, options: argparse.Namespace) -> bool:
    """Runs it on the cores of this thread; True when it came to an end."""
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command(workload, entrant, study, options),
        check=False,
        text=True,
        env=one_thread,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    print(f"study {study}, {entrant}: {(done.stdout.strip() or 'no output').splitlines()[-1]}", flush=True)
    return done.returncode == 0


def submission(entrant: str) -> Path:
    return SUBMISSIONS / entrant / "submission.py"


def charged_costs(entrant: str, options: argparse.Namespace) -> Path:
    return Path(options.experiment_dir) / ".step_costs" / f"{entrant}.json"


def write_charged_costs(entrant: str, options: argparse.Namespace) -> None:
    """The measured costs, in the name of the entrant: its steps are the reference algorithm's own functions."""
    reference = ROOT / "reference_algorithms" / entrant / default_submission(PYTORCH.name).name
    measured, digest = (
        StepCosts.load(options.step_costs / f"{entrant}.json"),
        load_submission(str(reference)).source_digest,
    )
    if measured.submission_digest != digest:
        raise SystemExit(
            f"{options.step_costs}/{entrant}.json is of another version of {reference} ({measured.submission_digest}, "
            f"expected {digest}); measure it again: python -m algoperf.step_cost --submission_path={reference}"
        )
    own = dataclasses.replace(measured, submission_digest=load_submission(str(submission(entrant))).source_digest)
    charged_costs(entrant, options).parent.mkdir(parents=True, exist_ok=True)
    own.save(charged_costs(entrant, options))


def take_core(cores: "queue.SimpleQueue[int]") -> None:
    """Keeps this thread, and the processes it starts, to one core."""
    core = cores.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(threading.get_native_id(), {core})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--entrants", default=",".join(ENTRANTS))
    parser.add_argument("--workloads", default=",".join(suites()["mini"].workloads))
    parser.add_argument("--horizon", type=int, default=1, help="times the step hint and budget")
    parser.add_argument("--studies", type=int, default=suites()["mini"].studies[SELF_TUNING.name])
    parser.add_argument("--experiment_dir", type=Path, default=Path("experiments/leaderboard"))
    parser.add_argument("--data_dir", type=Path, default=Path("~/data"))
    parser.add_argument("--step_costs", type=Path, default=STEP_COSTS, help="folder of <entrant>.json")
    parser.add_argument("--measured", action="store_true", help="charge the time that passes instead")
    options = parser.parse_args()

    if not options.measured:
        try:
            for entrant in options.entrants.split(","):
                write_charged_costs(entrant, options)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None
    usable = usable_cores()
    cores: queue.SimpleQueue[int] = queue.SimpleQueue()
    for core in usable:
        cores.put(core)
    cells = itertools.product(range(options.studies), options.workloads.split(","), options.entrants.split(","))
    with ThreadPoolExecutor(len(usable), initializer=take_core, initargs=(cores,)) as pool:
        ended = [pool.submit(run, workload, entrant, study, options) for study, workload, entrant in cells]
    failed = sum(not future.result() for future in ended)
    print(f"{len(ended) - failed} of {len(ended)} runs came to an end")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
