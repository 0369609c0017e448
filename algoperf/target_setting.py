"""Sets a workload's targets by the benchmark's procedure: `python -m algoperf.target_setting --workload=wmt_mini`.

Source of the procedure: Dahl et al. 2023, "Benchmarking Neural Network Training Algorithms", section 4.3.

1. Tune: AdamW, NadamW, Nesterov momentum and heavy-ball momentum, each at quasi-random points of its search space, for
   75 % of the step hint, with the target out of reach.
2. Repeat: the configuration with the best validation value, over several seeds.
3. Validation target: the median over seeds of the best validation value. Test target: the worst test value among the
   runs that hit the validation target, at the evaluation at which they hit it.
4. Budget: the reference's own configuration over seeds until both targets; `max_runtime_s` is three times the median
   time, `step_hint` the steps it takes within that.

Every run is a process of its own whose logs are kept; the same command goes on where it was stopped, and ends by
writing `<work_dir>/<workload>.json` and a table for review, `<work_dir>/<workload>.md`.
"""

import argparse
import csv
import dataclasses
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.definition import Budget, MetricSpec, Split, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.harness.run_config import RunConfig, default_submission
from algoperf.harness.trial_record import read_trial_record
from algoperf.registry import REGISTRY, Registry

ALGORITHMS = ("adamw", "nadamw", "nesterov", "momentum")
REFERENCE = "nadamw"
HORIZON = 0.75
BUDGET_FACTOR = 3.0
_NEVER_S = 1e9


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of the procedure.

    Attributes:
      stage: "tuning", "seeds" or "reference"; the first part of the log folder.
      algorithm: folder under `reference_algorithms`.
      point: index of the hyperparameter point (tuning), or 0.
      seed: of the run.
      space: search-space file; a list of one point in the later stages.
      steps: length of schedule and run; None means until the targets (reference stage).
    """

    stage: str
    algorithm: str
    point: int
    seed: int
    space: Path
    steps: int | None

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.algorithm}_point{self.point}_seed{self.seed}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A row of a run's evaluations, as far as targets need it."""

    step: int
    time_s: float
    validation: float
    test: float | None


class ReferenceMissedError(UserError):
    """The reference does not reach the targets that the best algorithm sets, so no budget follows."""


class Procedure:
    """Runs what is not finished and reads what is.

    Args:
      definition: workload whose targets are set.
      framework: that the reference algorithms run in.
      trials: quasi-random points for each algorithm.
      seeds: repetitions of the best configuration, and of the reference.
      work_dir: logs and results.
      data_dir: prepared data.
    """

    def __init__(
        self,
        definition: WorkloadDefinition,
        *,
        framework: str,
        trials: int,
        seeds: int,
        work_dir: Path,
        data_dir: Path,
        steps: int | None = None,
    ) -> None:
        self.definition = definition
        self.framework = framework
        self.trials = trials
        self.seeds = seeds
        self.work_dir = work_dir
        self.data_dir = data_dir
        self.horizon = steps or max(1, int(HORIZON * definition.budget.step_hint))

    @property
    def metric(self) -> MetricSpec:
        return self.definition.metric

    def tuning_runs(self) -> Iterator[Run]:
        for algorithm in ALGORITHMS:
            for point in range(self.trials):
                yield Run(
                    stage="tuning",
                    algorithm=algorithm,
                    point=point,
                    seed=point,
                    space=search_space(algorithm, self.framework),
                    steps=self.horizon,
                )

    def seed_runs(self, best: Run) -> Iterator[Run]:
        space = self.work_dir / self.definition.name / "best.json"
        hparams = json.loads((self.trial_dir(best) / "hparams.json").read_text())
        space.write_text(json.dumps([hparams], indent=2) + "\n")
        for seed in range(self.seeds):
            yield Run(
                stage="seeds", algorithm=best.algorithm, point=0, seed=1000 + seed, space=space, steps=self.horizon
            )

    def reference_runs(self) -> Iterator[Run]:
        folder = default_submission(self.framework).parent / "search_spaces"
        own = folder / f"{self.definition.name}.json"
        for seed in range(self.seeds):
            yield Run(
                stage="reference",
                algorithm=REFERENCE,
                point=0,
                seed=2000 + seed,
                space=own if own.is_file() else folder / "default.json",
                steps=None,
            )

    def trial_dir(self, run: Run) -> Path:
        folder = f"{self.definition.name}_{self.framework}"
        return self.work_dir / self.definition.name / run.name / folder / f"trial_{run.point + 1}"

    def execute(self, runs: Sequence[Run], targets: Mapping[str, float | None] | None = None) -> None:
        """Runs every run that has no record yet, each in its own process."""
        for number, run in enumerate(runs, start=1):
            if read_trial_record(self.trial_dir(run)) is not None:
                continue
            print(f"[{number}/{len(runs)}] {self.definition.name} {run.name}", file=sys.stderr, flush=True)
            order = {
                **dataclasses.asdict(run),
                "space": str(run.space),
                "workload": self.definition.name,
                "framework": self.framework,
                "work_dir": str(self.work_dir / self.definition.name),
                "data_dir": str(self.data_dir),
                "targets": targets,
                "name": run.name,
            }
            subprocess.run([sys.executable, "-m", __spec__.name, f"--run={json.dumps(order)}"], check=False)

    def evaluations(self, run: Run) -> list[Evaluation]:
        """The run's evaluations; an empty list for a run that left none."""
        path = self.trial_dir(run) / "eval_measurements.csv"
        if not path.is_file():
            return []
        with path.open(newline="") as file:
            return [self._evaluation(row) for row in csv.DictReader(file)]

    def _evaluation(self, row: Mapping[str, str]) -> Evaluation:
        test = row.get(f"{Split.TEST}/{self.metric.name}")
        return Evaluation(
            step=int(float(row["global_step"])),
            time_s=float(row["score"]),
            validation=float(row[f"{Split.VALIDATION}/{self.metric.name}"]),
            test=float(test) if test else None,
        )

    def best_value(self, run: Run) -> float:
        """Best validation value of a run; NaN where there is none."""
        values = [e.validation for e in self.evaluations(run) if math.isfinite(e.validation)]
        return best_of(values, self.metric) if values else math.nan


def best_of(values: Sequence[float], metric: MetricSpec) -> float:
    """The best of finite values."""
    best = values[0]
    for value in values[1:]:
        best = value if metric.better(value, best) else best
    return best


def best_run(procedure: Procedure, runs: Sequence[Run]) -> Run:
    """The run with the best validation value; the first of equals."""
    finite = [(run, procedure.best_value(run)) for run in runs]
    finite = [(run, value) for run, value in finite if math.isfinite(value)]
    if not finite:
        raise UserError("no tuning run left a finite validation value; look at its logs under the work directory")
    best, best_value = finite[0]
    for run, value in finite[1:]:
        if procedure.metric.better(value, best_value):
            best, best_value = run, value
    return best


def targets_of(procedure: Procedure, runs: Sequence[Run]) -> dict[str, float | None]:
    """Validation and test target from the runs over seeds (step 3 of the procedure)."""
    metric = procedure.metric
    values = [procedure.best_value(run) for run in runs]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        raise UserError("no run over seeds left a finite validation value")
    # With an even number the worse of the two middle values: it is one that half of the runs did reach.
    ordered = sorted(values, reverse=metric.better(1.0, 0.0))
    validation = ordered[len(ordered) // 2]
    hits = [hit for run in runs if (hit := _first_hit(procedure, run, validation)) is not None]
    tests = [hit.test for hit in hits if hit.test is not None]
    worst = (min if metric.better(1.0, 0.0) else max)(tests) if tests else None
    return {"validation_target": validation, "test_target": worst}


def _first_hit(procedure: Procedure, run: Run, target: float) -> Evaluation | None:
    return next((e for e in procedure.evaluations(run) if procedure.metric.reached(e.validation, target)), None)


def budget_of(procedure: Procedure, runs: Sequence[Run], targets: Mapping[str, float | None]) -> dict[str, Any]:
    """Median time and steps of the reference to the validation target, and the budget that follows (step 4)."""
    validation = targets["validation_target"]
    assert validation is not None
    hits = [_first_hit(procedure, run, validation) for run in runs]
    times = sorted(hit.time_s if hit else math.inf for hit in hits)
    median_s = statistics.median_low(times)
    if not math.isfinite(median_s):
        raise ReferenceMissedError(
            f"half of the reference runs or more missed the target {validation:.6g}; give {REFERENCE} better "
            f"hyperparameters for {procedure.definition.name}"
        )
    steps_per_s = statistics.median(hit.step / hit.time_s for hit in hits if hit is not None)
    return {
        "median_time_to_target_s": median_s,
        "times_to_target_s": times,
        "max_runtime_s": BUDGET_FACTOR * median_s,
        "step_hint": round(BUDGET_FACTOR * median_s * steps_per_s),
    }


def search_space(algorithm: str, framework: str) -> Path:
    """The space that an algorithm is tuned over: `broad.json` where it has one, else `default.json`."""
    folder = _algorithm_folder(algorithm, framework) / "search_spaces"
    broad = folder / "broad.json"
    return broad if broad.is_file() else folder / "default.json"


def _algorithm_folder(algorithm: str, framework: str) -> Path:
    return default_submission(framework).parent.parent / algorithm


def execute_order(order: Mapping[str, Any], registry: Registry = REGISTRY) -> None:
    """One run, in this process: the target out of reach or as given, the schedule as long as the run."""
    from algoperf.harness import driver

    definition = registry.get(order["workload"])
    out_of_reach = math.inf if definition.metric.better(1.0, 0.0) else -math.inf
    steps = order["steps"]
    changes: dict[str, Any] = order["targets"] or {"validation_target": out_of_reach, "test_target": None}
    if steps is not None:
        changes |= {
            "budget": Budget(
                max_runtime_s=_NEVER_S, eval_period_s=definition.budget.eval_period_s, step_hint=order["steps"]
            )
        }
    submission = default_submission(order["framework"])
    values = {
        "workload": order["workload"],
        "framework": order["framework"],
        "submission_path": str(_algorithm_folder(order["algorithm"], order["framework"]) / submission.name),
        "tuning_search_space": order["space"],
        "num_tuning_trials": order["point"] + 1,
        "hparam_start_index": order["point"],
        "hparam_end_index": order["point"] + 1,
        "experiment_dir": order["work_dir"],
        "experiment_name": order["name"],
        "data_dir": order["data_dir"],
        "resume_last_run": True,
        "rng_seed": order["seed"],
        "study": 0,
        "max_global_steps": steps,
        "use_tensorboard": False,
    }
    driver.run(RunConfig.from_flags(values), registry=registry.altered({definition.name: changes}))


def table(procedure: Procedure, result: Mapping[str, Any], tuning: Sequence[Run], seeds: Sequence[Run]) -> str:
    """The result for review, in Markdown."""
    metric, definition = procedure.metric, procedure.definition
    lines = [
        f"### {definition.name}",
        "",
        f"{procedure.framework}; {procedure.trials} points for each of {', '.join(ALGORITHMS)}; "
        f"{procedure.horizon} steps; best configuration over {procedure.seeds} seeds; "
        f"metric {metric.name} ({metric.direction}).",
        "",
        "| algorithm | best validation value of each point, in order of points |",
        "|---|---|",
    ]
    for algorithm in ALGORITHMS:
        values = [procedure.best_value(run) for run in tuning if run.algorithm == algorithm]
        lines.append(f"| {algorithm} | {', '.join(f'{value:.5g}' for value in values)} |")
    lines += [
        "",
        f"Best: {result['best_algorithm']} with `{json.dumps(result['best_hyperparameters'])}`; over seeds "
        f"{', '.join(f'{procedure.best_value(run):.5g}' for run in seeds)}.",
        "",
        "| validation target | test target | median time of the reference (s) | `max_runtime_s` | `step_hint` |",
        "|---|---|---|---|---|",
        f"| {result['validation_target']:.6g} | {_shown(result['test_target'])} | "
        f"{_shown(result.get('median_time_to_target_s'))} | {_shown(result.get('max_runtime_s'))} | "
        f"{_shown(result.get('step_hint'))} |",
        "",
    ]
    return "\n".join(lines)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def set_targets(procedure: Procedure) -> dict[str, Any]:
    """Runs the whole procedure and writes its result and its table."""
    tuning = list(procedure.tuning_runs())
    procedure.execute(tuning)
    best = best_run(procedure, tuning)
    seeds = list(procedure.seed_runs(best))
    procedure.execute(seeds)
    targets = targets_of(procedure, seeds)
    reference = list(procedure.reference_runs())
    procedure.execute(reference, targets)
    result = {
        "workload": procedure.definition.name,
        "framework": procedure.framework,
        "trials": procedure.trials,
        "seeds": procedure.seeds,
        "steps": procedure.horizon,
        "best_algorithm": best.algorithm,
        "best_hyperparameters": json.loads((procedure.trial_dir(best) / "hparams.json").read_text()),
        **targets,
    }
    name = procedure.definition.name
    missed: ReferenceMissedError | None = None
    try:
        result |= budget_of(procedure, reference, targets)
    except ReferenceMissedError as error:
        missed = error
    (procedure.work_dir / f"{name}.json").write_text(json.dumps(result, indent=2) + "\n")
    (procedure.work_dir / f"{name}.md").write_text(table(procedure, result, tuning, seeds))
    if missed is not None:
        raise missed
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m algoperf.target_setting", description=__doc__.splitlines()[0])
    parser.add_argument("--workload", help="workload whose targets to set")
    parser.add_argument("--framework", choices=("jax", "pytorch"), default="jax")
    parser.add_argument("--trials", type=int, default=5, help="points for each of the four algorithms")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of the best configuration")
    parser.add_argument("--steps", type=int, default=None, help="length of a run (default: 75 %% of the step hint)")
    parser.add_argument("--work_dir", type=Path, default=Path("target_setting"))
    parser.add_argument("--data_dir", type=Path, default=Path("~/data"))
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        if options.run is not None:
            execute_order(json.loads(options.run))
            return 0
        if options.workload is None:
            raise UserError("--workload is needed")
        procedure = Procedure(
            REGISTRY.get(options.workload),
            framework=options.framework,
            trials=options.trials,
            seeds=options.seeds,
            steps=options.steps,
            work_dir=options.work_dir.resolve(),
            data_dir=options.data_dir.expanduser().resolve(),
        )
        set_targets(procedure)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print((procedure.work_dir / f"{options.workload}.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
