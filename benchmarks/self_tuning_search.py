"""The learning rates of the self-tuning points, by a search of equal effort for each algorithm on two minis.

  python benchmarks/self_tuning_search.py --run [--jobs=2] [--work_dir=DIR] [--data_dir=DIR] [--limit_s=S]
  python benchmarks/self_tuning_search.py --table=docs/leaderboard/mini-2026-11-27/self_tuning_search.json [--write]

The rule, stated before the runs it is applied to: each algorithm at its general configuration with the learning rate
times 1, 2 and 4, and times 1/2 where 1 is the best of these, one seed, in PyTorch, on `ogbg_mini` and `wmt_mini`, for
as many steps as the step hint. A point is worth the mean, over the two minis and the targets of their ladders, of the
steps to the target as a share of the step hint; a target that is missed counts 1.5, the budget of self-tuning. The
smallest wins, of equals the lower rate.

`--run` does what is missing and writes the result; `--limit_s` starts no run after so many seconds. `--table` shows the
kept result, and with `--write` puts the winners beside the submissions of the board that they are for.
"""

import argparse
import csv
import dataclasses
import itertools
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from algoperf.definition import PYTORCH, SELF_TUNING
from algoperf.records import columns
from algoperf.records import json as records_json
from algoperf.records.best import first_reached
from algoperf.records.layout import EVALUATIONS, trial_folder, workload_folder
from algoperf.records.outcome import Outcome
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY
from algoperf.target_setting import fixed_length
from scoring.rules import load_rules

ROOT = Path(__file__).resolve().parents[1]
ALGORITHMS = ("nadamw", "adamw", "schedule_free_adamw", "muon", "shampoo", "lion", "ademamix", "nesterov")
WORKLOADS = ("ogbg_mini", "wmt_mini")
LOWER, FACTORS = 0.5, (1.0, 2.0, 4.0)
RATE = "learning_rate"
BOARD = ROOT / "docs" / "leaderboard" / "mini-2026-11-27"
_SEED = 4000


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchRun:
    """One run: the algorithm's general configuration with `factor` times its learning rate."""

    algorithm: str
    workload: str
    factor: float
    general: dict[str, Any]

    @property
    def name(self) -> str:
        return f"{self.algorithm}/{self.factor:g}"

    @property
    def point(self) -> dict[str, Any]:
        return self.general | {RATE: self.general[RATE] * self.factor}


def self_tuning_file(algorithm: str) -> Path:
    return ROOT / "reference_algorithms" / algorithm / "self_tuning.json"


def runs(general: dict[str, dict[str, Any]], factors: Sequence[float], workloads: Sequence[str]) -> Iterator[SearchRun]:
    for factor, workload, algorithm in itertools.product(factors, workloads, general):
        yield SearchRun(algorithm=algorithm, workload=workload, factor=factor, general=general[algorithm])


def trial_dir(run: SearchRun, work_dir: Path) -> Path:
    return work_dir / run.name / workload_folder(run.workload, PYTORCH.name) / trial_folder(1)


def has_ended(run: SearchRun, work_dir: Path) -> bool:
    record = TrialRecord.read(trial_dir(run, work_dir))
    return record is not None and record.outcome is not Outcome.INTERRUPTED


def train(run: SearchRun, options: argparse.Namespace) -> None:
    """One run, in this process, to the end of its schedule."""
    definition = REGISTRY.get(run.workload)
    steps = definition.budget.step_hint
    space = options.work_dir / f"{run.algorithm}_{run.factor:g}.json"
    space.write_text(json.dumps([run.point]))
    fixed_length.train(
        run.algorithm,
        definition,
        PYTORCH.name,
        fixed_length.fixed_length(definition, steps, options.eval_period_s),
        tuning_search_space=str(space),
        experiment_dir=str(options.work_dir),
        experiment_name=run.name,
        data_dir=str(options.data_dir),
        rng_seed=_SEED,
        max_global_steps=steps,
        save_checkpoints=False,
    )


def start(run: SearchRun, options: argparse.Namespace, until_s: float) -> None:
    """The run in a process of its own, unless it is finished or time is up."""
    if time.monotonic() > until_s or has_ended(run, options.work_dir):
        return
    command = [sys.executable, __file__, f"--one={json.dumps(dataclasses.asdict(run))}"]
    command += [f"--{name}={getattr(options, name)}" for name in ("work_dir", "data_dir", "eval_period_s")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True)
    print(run.name, run.workload, (done.stderr.strip() or "no output").splitlines()[-1], flush=True)


def evaluations(run: SearchRun, work_dir: Path) -> list[tuple[int, float]]:
    """Steps and validation values of a finished run; none where there is none."""
    folder = trial_dir(run, work_dir)
    if not has_ended(run, work_dir):
        return []
    metric = columns.metric_column("validation", REGISTRY.get(run.workload).metric.name)
    with (folder / EVALUATIONS).open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [(int(float(row[columns.GLOBAL_STEP])), float(row[metric])) for row in rows]


def cost(run: dict[str, Any]) -> float:
    """Mean share of the step hint that a kept run takes to the targets of the ladder."""
    definition, rule = REGISTRY.get(run["workload"]), load_rules("mini").workloads[run["workload"]]
    values = [value for _, value in run["evaluations"]]
    shares = []
    for target in (*rule.rungs, rule.validation_target):
        index = first_reached(values, definition.metric, target)
        share = None if index is None else run["evaluations"][index][0] / definition.budget.step_hint
        shares.append(SELF_TUNING.budget_factor if share is None else share)
    return sum(shares) / len(shares)


def costs(searched: list[dict[str, Any]]) -> dict[str, dict[float, float]]:
    """For each algorithm and factor, the mean over the minis; infinite where a run is missing."""
    table: dict[str, dict[float, float]] = {}
    for algorithm in dict.fromkeys(run["algorithm"] for run in searched):
        own = [run for run in searched if run["algorithm"] == algorithm]
        for factor in (LOWER, *FACTORS):
            values = [cost(run) for run in own if run["factor"] == factor and run["evaluations"]]
            complete = len(values) == len({run["workload"] for run in searched})
            table.setdefault(algorithm, {})[factor] = sum(values) / len(values) if complete else math.inf
    return table


def best_factor(by_factor: dict[float, float]) -> float:
    return min(by_factor, key=lambda factor: (by_factor[factor], factor))


def search(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs what is missing, and returns every run with its evaluations."""
    general = {name: json.loads(self_tuning_file(name).read_text()) for name in options.algorithms}
    until_s = time.monotonic() + options.limit_s

    def searched(planned: Sequence[SearchRun]) -> list[dict[str, Any]]:
        with ThreadPoolExecutor(options.jobs) as pool:
            list(pool.map(lambda run: start(run, options, until_s), planned))
        return [dataclasses.asdict(run) | {"evaluations": evaluations(run, options.work_dir)} for run in planned]

    result = searched(list(runs(general, FACTORS, options.workloads)))
    best = {name: best_factor(by_factor) for name, by_factor in costs(result).items()}
    at_the_edge = {name: point for name, point in general.items() if best[name] == min(FACTORS)}
    return result + searched(list(runs(at_the_edge, (LOWER,), options.workloads)))


def show(searched: list[dict[str, Any]], write: bool) -> None:
    print(f"| algorithm | {' | '.join(f'x {factor:g}' for factor in (LOWER, *FACTORS))} | learning rate |")
    print("|---|" + "---:|" * (len(FACTORS) + 2))
    for algorithm, by_factor in costs(searched).items():
        best = best_factor(by_factor)
        general = next(run["general"] for run in searched if run["algorithm"] == algorithm)
        rate = general[RATE] * best
        shown = {f: "" if math.isinf(value) else f"{value:.3f}" for f, value in by_factor.items()} | {
            best: f"**{by_factor[best]:.3f}**"
        }
        print(f"| {algorithm} | {' | '.join(shown.values())} | {rate:.4g} |")
        if write:
            point = BOARD / "submissions" / algorithm / "self_tuning.json"
            point.write_text(json.dumps(general | {RATE: rate}, indent=2) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", action="store_true", help="run what is missing and write the result")
    parser.add_argument("--table", type=Path, metavar="FILE", help="show a kept result")
    parser.add_argument("--write", action="store_true", help="with --table: write the winners")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--algorithms", type=lambda text: text.split(","), default=ALGORITHMS)
    parser.add_argument("--workloads", type=lambda text: text.split(","), default=WORKLOADS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit_s", type=float, default=math.inf)
    parser.add_argument("--eval_period_s", type=float, default=5.0)
    parser.add_argument("--work_dir", type=Path, default=Path("experiments/self_tuning_search"))
    parser.add_argument("--data_dir", type=Path, default=Path("~/data").expanduser())
    parser.add_argument("--result", type=Path, default=BOARD / "self_tuning_search.json")
    options = parser.parse_args()
    options.work_dir = options.work_dir.resolve()
    if options.one:
        train(SearchRun(**json.loads(options.one)), options)
    elif options.run:
        options.work_dir.mkdir(parents=True, exist_ok=True)
        options.result.write_text(records_json.dumps(search(options), indent=1))
    elif options.table:
        show(json.loads(options.table.read_text()), options.write)
    else:
        parser.error("expected --run or --table=FILE")
    return 0


if __name__ == "__main__":
    sys.exit(main())
