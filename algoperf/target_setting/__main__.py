"""Command line of the procedure and its training runs; `algoperf.target_setting` tells the steps."""

import argparse
import csv
import dataclasses
import itertools
import json
import os
import queue
import resource
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf import target_setting
from algoperf.cores import usable_cores
from algoperf.definition import FRAMEWORKS, JAX, Budget, ReferenceBudget, Split, Tier, WorkloadDefinition, horizon_name
from algoperf.errors import UserError
from algoperf.records import columns
from algoperf.records import json as records_json
from algoperf.records.layout import EVALUATIONS, PROCESS_FILE, trial_folder, workload_folder
from algoperf.records.outcome import Outcome
from algoperf.records.trial import TrialRecord
from algoperf.registry import REGISTRY, Registry
from algoperf.runner.run_config import default_submission
from algoperf.target_setting.fixed_length import NEVER_S, algorithm_folder, fixed_length, train
from algoperf.target_setting.result import (
    ALGORITHMS,
    NEGATIVE_CONTROL_ALGORITHM,
    NEGATIVE_CONTROL_FACTOR,
    REFERENCE,
    TUNING_SHARE_OF_STEP_HINT,
    Evaluation,
    FinishedRun,
    Result,
    best_run,
    references_of,
    runtime_of,
    targets_of,
)
from algoperf.target_setting.rungs import check_ladders, ladders_toml
from algoperf.target_setting.tables import check, table, write_tables

_ROOM = 20  # times the budget; the reference is stopped by its steps
_PEAK_MEMORY = "peak_memory_bytes"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training run of the procedure.

    Attributes:
      stage: "tuning", "seeds", "negative_control" or "reference"; the first part of the log folder.
      algorithm: folder under `reference_algorithms`.
      framework: its name, "jax" or "pytorch".
      point: index of the hyperparameter point (tuning), or 0.
      seed: of the run.
      space: search-space file; a list of one point in the later stages.
      steps: length of schedule and run; None means until the targets (reference stage).
    """

    stage: str
    algorithm: str
    framework: str
    point: int
    seed: int
    space: Path
    steps: int | None

    @property
    def name(self) -> str:
        return f"{self.stage}/{self.algorithm}_{self.framework}_point{self.point}_seed{self.seed}"


class Procedure:
    """Runs what is not finished and reads what is.

    Args:
      definition: workload whose targets are set.
      framework: of the tuning and seed stages.
      trials: quasi-random points for each algorithm.
      seeds: repetitions of the best configuration.
      reference_seeds: repetitions of the reference in each framework; None means as many as `seeds`.
      steps: length of the runs of the tuning and seed stages.
      jobs: untimed runs at once, each on its share of the cores.
      horizon: factor on the step hint; the default of `steps` and the names of logs and results follow it.
      eval_period_s: submission time between evaluations of runs whose length is fixed; None means the definition's.
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
        jobs: int = 1,
        reference_seeds: int | None = None,
        horizon: int = 1,
        eval_period_s: float | None = None,
    ) -> None:
        self.definition = definition
        self.framework = framework
        self.trials = trials
        self.seeds = seeds
        self.reference_seeds = reference_seeds or seeds
        self.work_dir = work_dir
        self.data_dir = data_dir
        self.jobs = jobs
        self.horizon = horizon
        self.eval_period_s = eval_period_s or definition.budget.eval_period_s
        self.num_tuning_steps = steps or max(
            1, round(TUNING_SHARE_OF_STEP_HINT * definition.budget.step_hint * horizon)
        )
        self.name = horizon_name(definition.name, horizon)

    def tuning_runs(self) -> Iterator[Run]:
        for algorithm, point in itertools.product(ALGORITHMS, range(self.trials)):
            yield Run(
                stage="tuning",
                algorithm=algorithm,
                framework=self.framework,
                point=point,
                seed=point,
                space=search_space(algorithm, self.framework, self.definition.tier),
                steps=self.num_tuning_steps,
            )
        yield Run(
            stage="tuning",
            algorithm=REFERENCE,
            framework=self.framework,
            point=0,
            seed=self.trials,
            space=self._single_point("own", self._reference_point(self.framework)),
            steps=self.num_tuning_steps,
        )

    def seed_runs(self, best: FinishedRun) -> Iterator[Run]:
        space = self._single_point("best", best.hyperparameters)
        for seed in range(self.seeds):
            yield self._repetition("seeds", best.algorithm, space, seed)

    def poor_run(self, tuned: Sequence[FinishedRun]) -> Run:
        """Heavy-ball momentum at its first point, with a hundredth of the learning rate: what must miss the target."""
        first = next(run for run in tuned if run.algorithm == NEGATIVE_CONTROL_ALGORITHM)
        rate = NEGATIVE_CONTROL_FACTOR * first.hyperparameters["learning_rate"]
        space = self._single_point("negative_control", first.hyperparameters | {"learning_rate": rate})
        return self._repetition("negative_control", NEGATIVE_CONTROL_ALGORITHM, space, self.seeds)

    def _single_point(self, name: str, hyperparameters: Mapping[str, Any]) -> Path:
        space = self.work_dir / self.name / f"{name}.json"
        space.parent.mkdir(parents=True, exist_ok=True)
        space.write_text(json.dumps([dict(hyperparameters)], indent=2) + "\n")
        return space

    def _repetition(self, stage: str, algorithm: str, space: Path, number: int) -> Run:
        return Run(
            stage=stage,
            algorithm=algorithm,
            framework=self.framework,
            point=0,
            seed=1000 + number,
            space=space,
            steps=self.num_tuning_steps,
        )

    def reference_runs(self, tuned: Sequence[FinishedRun]) -> Iterator[Run]:
        """The reference at the best of its points in the tuning stage, over seeds in each framework."""
        point = best_run([run for run in tuned if run.algorithm == REFERENCE], self.definition.metric).hyperparameters
        for framework, seed in itertools.product(FRAMEWORKS, range(self.reference_seeds)):
            yield Run(
                stage="reference",
                algorithm=REFERENCE,
                framework=framework,
                point=0,
                seed=2000 + seed,
                space=self._single_point("reference", point),
                steps=None,
            )

    def _reference_point(self, framework: str) -> Mapping[str, Any]:
        """The definition's, else the first of the space that the reference algorithm takes everywhere."""
        if self.definition.reference_hyperparameters:
            return self.definition.reference_hyperparameters
        first: Mapping[str, Any] = json.loads(
            (default_submission(framework).parent / "search_spaces" / "default.json").read_text()
        )[0]
        return first

    def trial_dir(self, run: Run) -> Path:
        folder = workload_folder(self.definition.name, run.framework)
        return self.work_dir / self.name / run.name / folder / trial_folder(run.point + 1)

    def execute(self, runs: Sequence[Run], targets: Mapping[str, float | None] | None = None, jobs: int = 1) -> None:
        """Runs every run that has not ended yet, each in its own process on its share of the cores."""
        cores = usable_cores()
        jobs = min(jobs, len(cores))
        shares: queue.Queue[list[int]] = queue.Queue()
        for job in range(jobs):
            shares.put(cores[job::jobs])

        def start(number: int, run: Run) -> None:
            share = shares.get()
            print(f"[{number}/{len(runs)}] {self.definition.name} {run.name}", file=sys.stderr, flush=True)
            command = [
                sys.executable,
                "-m",
                target_setting.__name__,
                f"--run={json.dumps(self._job_spec(run, targets, share))}",
            ]
            try:
                subprocess.run(command, check=False, env={**os.environ, "OMP_NUM_THREADS": str(len(share))})
            finally:
                shares.put(share)

        with ThreadPoolExecutor(jobs) as pool:
            pending = [(number, run) for number, run in enumerate(runs, 1) if not self._has_ended(run)]
            for _ in pool.map(lambda job: start(*job), pending):
                pass

    def _has_ended(self, run: Run) -> bool:
        record = TrialRecord.read(self.trial_dir(run))
        return record is not None and record.outcome is not Outcome.INTERRUPTED

    def _job_spec(self, run: Run, targets: Mapping[str, float | None] | None, cores: Sequence[int]) -> dict[str, Any]:
        return {
            **dataclasses.asdict(run),
            "space": str(run.space),
            "workload": self.definition.name,
            "work_dir": str(self.work_dir / self.name),
            "step_hint": round(self.num_tuning_steps / TUNING_SHARE_OF_STEP_HINT),
            "data_dir": str(self.data_dir),
            "eval_period_s": self.eval_period_s,
            "targets": targets,
            "cores": cores,
            "name": run.name,
            "trial_dir": str(self.trial_dir(run)),
        }

    def finished(self, run: Run) -> FinishedRun:
        """What a run left; no evaluations where it left nothing."""
        folder = self.trial_dir(run)
        record = TrialRecord.read(folder)
        wall_s = record.ledger.total_s if record else 0.0
        peak = (records_json.read_if_intact(folder / PROCESS_FILE) or {}).get(_PEAK_MEMORY)
        return FinishedRun(
            stage=run.stage,
            algorithm=run.algorithm,
            framework=run.framework,
            point=run.point,
            seed=run.seed,
            hyperparameters=dict(record.hyperparameters) if record else {},
            outcome=str(record.outcome) if record else "unknown",
            evaluation_share=round(record.ledger.evaluation_s / wall_s, 4) if record and wall_s else None,
            peak_memory_gb=peak and round(peak / 1e9, 3),
            evaluations=tuple(self._evaluations(folder / EVALUATIONS)),
        )

    def _evaluations(self, path: Path) -> Iterator[Evaluation]:
        if not path.is_file():
            return
        metric = self.definition.metric.name
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                test = row.get(columns.metric_column(Split.TEST, metric))
                yield Evaluation(
                    step=int(float(row[columns.GLOBAL_STEP])),
                    time_s=round(float(row[columns.SCORE]), 3),
                    validation=float(row[columns.metric_column(Split.VALIDATION, metric)]),
                    test=float(test) if test else None,
                )


def search_space(algorithm: str, framework: str, tier: Tier) -> Path:
    """The search space that an algorithm is tuned over, from its folder `search_spaces`.

    The first that exists of `mini.json` (minis only), `broad.json` and `default.json`.
    """
    folder = algorithm_folder(algorithm, framework) / "search_spaces"
    names = [*(["mini.json"] if tier is Tier.MINI else []), "broad.json", "default.json"]
    return next(folder / name for name in names if (folder / name).is_file())


def run_job(job: Mapping[str, Any], registry: Registry = REGISTRY) -> None:
    """One run, in this process: the target out of reach or as given, the schedule as long as the run."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, job["cores"])
    definition = registry.get(job["workload"])
    changes = fixed_length(definition, job["steps"] or job["step_hint"], job["eval_period_s"])
    if job["steps"] is None:
        changes["budget"] = _reference_budget(definition.budget, job["step_hint"])
    train(
        job["algorithm"],
        definition,
        job["framework"],
        changes | (job["targets"] or {}),
        registry=registry,
        tuning_search_space=job["space"],
        num_tuning_trials=job["point"] + 1,
        hparam_start_index=job["point"],
        hparam_end_index=job["point"] + 1,
        experiment_dir=job["work_dir"],
        experiment_name=job["name"],
        data_dir=job["data_dir"],
        rng_seed=job["seed"],
        max_global_steps=job["steps"] or job["step_hint"],
        calibration="auto" if job["steps"] is None else "off",
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    records_json.write(Path(job["trial_dir"], PROCESS_FILE), {_PEAK_MEMORY: peak})


def _reference_budget(budget: Budget, step_hint: int) -> Budget:
    """A schedule as long as the step hint, and more time than that takes on a machine that becomes busy."""
    if isinstance(budget, ReferenceBudget):
        return dataclasses.replace(budget, step_hint=step_hint, max_runtime_steps=_ROOM * step_hint)
    return dataclasses.replace(budget, step_hint=step_hint, max_runtime_s=NEVER_S)


def tune(procedure: Procedure) -> list[FinishedRun]:
    """Runs the untimed stages, as far as they are not finished, and returns their runs.

    Raises:
      UserError: no tuning run left a finite validation value.
    """
    tuning = list(procedure.tuning_runs())
    procedure.execute(tuning, jobs=procedure.jobs)
    tuned = [procedure.finished(run) for run in tuning]
    repeats = [*procedure.seed_runs(best_run(tuned, procedure.definition.metric)), procedure.poor_run(tuned)]
    procedure.execute(repeats, jobs=procedure.jobs)
    return [*tuned, *map(procedure.finished, repeats)]


def set_targets(procedure: Procedure, earlier: Result | None = None) -> Result:
    """Runs the whole procedure and writes its result and its table; at a horizon other than 1 no reference is timed.

    Args:
      procedure: what to run.
      earlier: a result whose untimed runs are taken, so that only the reference runs.

    Raises:
      UserError: no run left a value.
      ReferenceMissedError: the reference misses the targets; result and table are written all the same.
    """
    metric = procedure.definition.metric
    untimed = tune(procedure) if earlier is None else [run for run in earlier.runs if run.stage != "reference"]
    validation, test = targets_of([run for run in untimed if run.stage == "seeds"], metric)
    tuned = [run for run in untimed if run.stage == "tuning"]
    references = list(procedure.reference_runs(tuned)) if procedure.horizon == 1 else []
    procedure.execute(references, {"validation_target": validation, "test_target": test})
    referred = [procedure.finished(run) for run in references]
    timed = references or list(procedure.tuning_runs())
    result = Result(
        workload=procedure.definition.name,
        framework=procedure.framework,
        trials=procedure.trials,
        seeds=procedure.seeds,
        steps=procedure.num_tuning_steps,
        machine=_machine(procedure.trial_dir(timed[0])),
        runs=(*untimed, *referred),
        horizon=procedure.horizon,
    )
    result.save(procedure.work_dir / f"{procedure.name}.json")
    (procedure.work_dir / f"{procedure.name}.md").write_text(table(result, metric))
    if references:
        runtime_of(result, references_of(referred, metric, validation))
    return result


def _machine(trial_dir: Path) -> str:
    record = TrialRecord.read(trial_dir)
    hardware = record.provenance.get("hardware", {}) if record else {}
    memory_gib = (hardware.get("memory_bytes") or 0) / 2**30
    cores = hardware.get("cpu_threads_usable")
    return f"{cores} {'core' if cores == 1 else 'cores'} of {hardware.get('cpu_model')}, {memory_gib:.0f} GiB of memory"


def main(arguments: Sequence[str] | None = None) -> int:
    summary = (target_setting.__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m algoperf.target_setting", description=summary)
    parser.add_argument("--workload", help="workload whose targets to set")
    parser.add_argument(
        "--framework", choices=tuple(FRAMEWORKS), default=JAX.name, help="of the tuning and seed stages"
    )
    parser.add_argument("--trials", type=int, default=5, help="points for each of the four algorithms")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions of the best configuration")
    parser.add_argument("--reference_seeds", type=int, default=None, help="of the timed runs (default: as --seeds)")
    parser.add_argument("--steps", type=int, default=None, help="length of a run (default: 75 %% of the step hint)")
    parser.add_argument("--horizon", type=int, default=1, help="factor on the step hint; only targets are set")
    parser.add_argument(
        "--eval_period_s",
        type=float,
        help="of runs of fixed length, for a machine of another speed (default: declared)",
    )
    parser.add_argument("--jobs", type=int, default=1, help="untimed runs at once, each on its share of the cores")
    parser.add_argument("--untimed_only", action="store_true", help="stop before the timed runs of the reference")
    parser.add_argument(
        "--untimed_from", type=Path, metavar="FILE", help="take the untimed runs of a kept result; time the reference"
    )
    parser.add_argument("--work_dir", type=Path, default=Path("target_setting"))
    parser.add_argument("--data_dir", type=Path, default=Path("~/data"))
    parser.add_argument("--check", type=Path, metavar="FOLDER", help="compare definitions with kept results and stop")
    parser.add_argument(
        "--rules", type=Path, metavar="FILE", help="with --check: compare the ladders of this rule set too"
    )
    parser.add_argument("--ladders", type=Path, metavar="FOLDER", help="print the ladders of kept results and stop")
    parser.add_argument("--write_tables", type=Path, metavar="FOLDER", help="write FOLDER.md of kept results and stop")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    try:
        return _command(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _command(options: argparse.Namespace) -> int:
    if options.run is not None:
        run_job(json.loads(options.run))
        return 0
    if options.check is not None:
        problems = check(options.check)
        problems += check_ladders(options.check, options.rules) if options.rules else []
        ladders = ", ladders" if options.rules else ""
        print("\n".join(problems) or f"definitions{ladders} and tables are what the runs say")
        return 1 if problems else 0
    if options.ladders is not None:
        print(ladders_toml(options.ladders), end="")
        return 0
    if options.write_tables is not None:
        print(write_tables(options.write_tables))
        return 0
    if options.workload is None:
        raise UserError("--workload is needed")
    earlier = Result.load(options.untimed_from) if options.untimed_from else None
    if earlier is not None and earlier.workload != options.workload:
        raise UserError(
            f"{options.untimed_from}: expected a result of {options.workload}, got one of {earlier.workload}"
        )
    procedure = Procedure(
        REGISTRY.get(options.workload),
        framework=earlier.framework if earlier else options.framework,
        trials=earlier.trials if earlier else options.trials,
        seeds=earlier.seeds if earlier else options.seeds,
        reference_seeds=options.reference_seeds,
        steps=earlier.steps if earlier else options.steps,
        jobs=options.jobs,
        horizon=options.horizon,
        eval_period_s=options.eval_period_s,
        work_dir=options.work_dir.resolve(),
        data_dir=options.data_dir.expanduser().resolve(),
    )
    if options.untimed_only:
        runs = [run for run in tune(procedure) if run.stage == "seeds"]
        print("targets {}, {}".format(*targets_of(runs, procedure.definition.metric)))
        return 0
    set_targets(procedure, earlier)
    print((procedure.work_dir / f"{procedure.name}.md").read_text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
