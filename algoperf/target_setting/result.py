"""From the runs of the procedure to targets and budget; no training here."""

import itertools
import json
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from algoperf.definition import MetricSpec, ReferenceBudget, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.records import json as records_json
from algoperf.records.best import best_index, first_reached

ALGORITHMS = ("adamw", "nadamw", "nesterov", "momentum")
REFERENCE = "nadamw"
NEGATIVE_CONTROL_ALGORITHM = "momentum"
NEGATIVE_CONTROL_FACTOR = 0.01
# As in Dahl et al. 2023, section 4.3.
TUNING_SHARE_OF_STEP_HINT = 0.75
# Limits of the mini tier for the reference on two cores; the spread is that of its seeds.
LEAST_TIME_S, MOST_TIME_S = 30.0, 180.0
LEAST_STEPS = 200
LEAST_EVALUATIONS = 8
MOST_EVALUATION_SHARE = 0.2
MOST_MEMORY_GB = 3.0
MOST_SPREAD = 0.25
_DIGITS = 4


class ReferenceMissedError(UserError):
    """The reference does not reach the targets that the best algorithm sets, so no budget follows."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A row of a run's evaluations: submission time in seconds; test is None where there is no such split."""

    step: int
    time_s: float
    validation: float
    test: float | None


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """What a training run left.

    Attributes:
      stage: "tuning", "seeds", "negative_control" or "reference".
      algorithm, framework, seed, point: what ran; the point is an index into the algorithm's search space.
      hyperparameters: of that point.
      outcome: how the run ended, as in `trial.json`.
      evaluation_share: part of the run's wall time that went to evaluations.
      peak_memory_gb: of the process, 1e9 bytes; None where it was not recorded.
      evaluations: in order of steps.
    """

    stage: str
    algorithm: str
    framework: str
    point: int
    seed: int
    hyperparameters: dict[str, Any]
    outcome: str
    evaluation_share: float | None
    peak_memory_gb: float | None
    evaluations: tuple[Evaluation, ...]

    def best(self, metric: MetricSpec) -> float:
        """Best finite validation value; NaN where there is none."""
        values = self._validation()
        index = best_index(values, metric)
        return math.nan if index is None else values[index]

    def first_reached(self, metric: MetricSpec, target: float) -> Evaluation | None:
        index = first_reached(self._validation(), metric, target)
        return None if index is None else self.evaluations[index]

    def _validation(self) -> list[float]:
        return [evaluation.validation for evaluation in self.evaluations]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The file `<workload>.json`: what was asked, and every run.

    Attributes:
      workload: whose targets are set.
      framework: of the tuning and seed stages.
      trials, seeds, steps: points an algorithm, repetitions, length of a run.
      machine: CPU, cores and memory that the reference was timed on; of the other runs where it was not.
      runs: of all stages; a horizon other than 1 has no reference stage.
      horizon: factor on the step hint and the budget of the workload.
    """

    workload: str
    framework: str
    trials: int
    seeds: int
    steps: int
    machine: str
    runs: tuple[FinishedRun, ...]
    horizon: int = 1

    @property
    def step_hint(self) -> int:
        """The step hint of which the runs are 75 %."""
        return round(self.steps / TUNING_SHARE_OF_STEP_HINT)

    def of(self, stage: str, framework: str | None = None) -> list[FinishedRun]:
        """Runs of a stage, those in one framework if it is given."""
        return [run for run in self.runs if run.stage == stage and framework in (None, run.framework)]

    def save(self, path: Path) -> None:
        path.write_text(records_json.dumps(self, indent=1))

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Reads what `save` wrote.

        Raises:
          UserError: no such file, or another format.
        """
        try:
            values = json.loads(path.read_text())
            runs = tuple(
                FinishedRun(**{**run, "evaluations": tuple(map(_evaluation, run["evaluations"]))})
                for run in values.pop("runs")
            )
            return cls(**values, runs=runs)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path}: expected a result of target setting, got {error!r}") from error


def _evaluation(row: dict[str, Any]) -> Evaluation:
    return Evaluation(**{**row, "validation": math.nan if row["validation"] is None else row["validation"]})


def best_run(runs: Sequence[FinishedRun], metric: MetricSpec) -> FinishedRun:
    """The run with the best validation value; the first of equals.

    Raises:
      UserError: no run has a finite validation value.
    """
    finite = [run for run in runs if math.isfinite(run.best(metric))]
    if not finite:
        raise UserError("no tuning run left a finite validation value; look at its logs under the work directory")
    winner: FinishedRun = _best(metric)(finite, key=lambda run: run.best(metric))
    return winner


def targets_of(runs: Sequence[FinishedRun], metric: MetricSpec) -> tuple[float, float | None]:
    """Validation and test target from the runs over seeds (step 3 of the procedure).

    Raises:
      UserError: no run has a finite validation value.
    """
    finite = [value for run in runs if math.isfinite(value := run.best(metric))]
    if not finite:
        raise UserError("no run over seeds left a finite validation value")
    # Of an even number the worse of the two middle values: one that half of the runs did reach.
    ordered = sorted(finite, reverse=_maximised(metric))
    validation = round_to_easier_side(ordered[len(ordered) // 2], metric)
    first_evaluations = [hit for run in runs if (hit := run.first_reached(metric, validation)) is not None]
    tests = [hit.test for hit in first_evaluations if hit.test is not None]
    worst = (min if _maximised(metric) else max)(tests) if tests else None
    return validation, None if worst is None else round_to_easier_side(worst, metric)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Time of the reference to the validation target in one framework; infinite times are misses."""

    framework: str
    times_s: tuple[float, ...]
    steps: tuple[int, ...]
    evaluations: tuple[int, ...]
    median_s: float

    @property
    def steps_per_s(self) -> float:
        """Median over the runs that hit the target, up to there."""
        finite = [time for time in self.times_s if math.isfinite(time)]
        return statistics.median(step / time for step, time in zip(self.steps, finite, strict=True))

    @property
    def spread(self) -> float:
        """By how much two seeds differ, relative to the faster one: the median over all pairs; 0 for a single seed."""
        if len(self.times_s) < 2:
            return 0.0
        return statistics.median(
            math.inf if math.isinf(slow) else slow / fast - 1.0
            for fast, slow in itertools.combinations(sorted(self.times_s), 2)
        )


def references_of(runs: Iterable[FinishedRun], metric: MetricSpec, target: float) -> list[Reference]:
    by_framework: dict[str, list[FinishedRun]] = {}
    for run in runs:
        by_framework.setdefault(run.framework, []).append(run)
    problems = []
    for framework, group in sorted(by_framework.items()):
        first_evaluations = [run.first_reached(metric, target) for run in group]
        times = tuple(hit.time_s if hit else math.inf for hit in first_evaluations)
        problems.append(
            Reference(
                framework=framework,
                times_s=times,
                steps=tuple(hit.step for hit in first_evaluations if hit),
                evaluations=tuple(
                    run.evaluations.index(hit) for run, hit in zip(group, first_evaluations, strict=True) if hit
                ),
                median_s=statistics.median(times),
            )
        )
    return problems


def runtime_of(result: Result, references: Sequence[Reference]) -> int:
    """`max_runtime_s` (step 6 of the procedure): seconds that the step hint takes in the slower framework.

    Raises:
      ReferenceMissedError: half of the runs in a framework, or more, missed the target.
    """
    for reference in references:
        if not math.isfinite(reference.median_s):
            raise ReferenceMissedError(
                f"half of the reference runs in {reference.framework} or more missed the target within the step hint; "
                f"give {REFERENCE} better hyperparameters"
            )
    return round(result.step_hint / _slowest_rate(references))


def reference_steps(result: Result, references: Sequence[Reference], budget: ReferenceBudget) -> dict[str, float]:
    """What a budget in reference steps is to say, by field (step 6 of the procedure); half of the runs hit the target.

    The evaluation period in steps is chosen; its seconds are at the rate of the slower framework.
    """
    return {
        "max_runtime_steps": result.step_hint,
        "eval_period_s": round(budget.eval_period_steps / _slowest_rate(references), 1),
        "target_steps": round(max(statistics.median(reference.steps) for reference in references)),
    }


def _slowest_rate(references: Sequence[Reference]) -> float:
    return min(reference.steps_per_s for reference in references)


def differences(result: Result, definition: WorkloadDefinition) -> list[str]:
    """One line for each declaration that is not what the runs say; none where all agree.

    Args:
      result: of any horizon.
      definition: of the workload at that horizon.
    """
    expected = _targets(result, definition) | ({} if result.horizon != 1 else _reference(result, definition))
    declared = {name: _declared(definition, name) for name in expected}
    return [
        f"{definition.name}: {name} is {declared[name]} in the definition, {expected[name]} by its runs"
        for name in expected
        if declared[name] != expected[name]
    ]


def _targets(result: Result, definition: WorkloadDefinition) -> dict[str, Any]:
    validation, test = targets_of(result.of("seeds"), definition.metric)
    return {"validation_target": validation, "test_target": test, "step_hint": result.step_hint}


def _reference(result: Result, definition: WorkloadDefinition) -> dict[str, Any]:
    validation, _ = targets_of(result.of("seeds"), definition.metric)
    references = references_of(result.of("reference"), definition.metric, validation)
    tuned = [run for run in result.of("tuning") if run.algorithm == REFERENCE]
    expected: dict[str, Any] = {
        "max_runtime_s": runtime_of(result, references),
        "reference_hyperparameters": best_run(tuned, definition.metric).hyperparameters,
    }
    if isinstance(definition.budget, ReferenceBudget):
        expected |= reference_steps(result, references, definition.budget)
    return expected


def _declared(definition: WorkloadDefinition, name: str) -> Any:
    return getattr(definition if hasattr(definition, name) else definition.budget, name)


def shortfalls(result: Result, metric: MetricSpec) -> list[str]:
    """What the runs show of a mini outside the limits of the tier, a phrase each; none where it keeps them all."""
    validation, _ = targets_of(result.of("seeds"), metric)
    problems = []
    negative_controls = result.of("negative_control")
    if not negative_controls:
        problems.append("no run at a poor learning rate")
    elif any(run.first_reached(metric, validation) for run in negative_controls):
        problems.append("a poor learning rate reaches the target")
    for reference in references_of(result.of("reference"), metric, validation):
        own = result.of("reference", reference.framework)
        shares = [run.evaluation_share for run in own if run.evaluation_share is not None]
        peaks = [run.peak_memory_gb for run in own if run.peak_memory_gb is not None]
        limits = {
            "half or more of the seeds miss the target": math.isfinite(reference.median_s),
            f"{reference.median_s:.0f} s to the target": LEAST_TIME_S <= reference.median_s <= MOST_TIME_S,
            f"{min(reference.steps, default=0)} steps": min(reference.steps, default=0) >= LEAST_STEPS,
            f"{min(reference.evaluations, default=0)} evaluations before the target": (
                min(reference.evaluations, default=0) >= LEAST_EVALUATIONS
            ),
            f"seeds differ by {100 * reference.spread:.0f} %": reference.spread < MOST_SPREAD,
            f"evaluations take {100 * max(shares, default=0):.0f} %": max(shares, default=0) <= MOST_EVALUATION_SHARE,
            f"{max(peaks, default=0):.1f} GB": max(peaks, default=0) < MOST_MEMORY_GB,
        }
        problems += [f"{reference.framework}: {phrase}" for phrase, holds in limits.items() if not holds]
    return problems


def _maximised(metric: MetricSpec) -> bool:
    return metric.better(1.0, 0.0)


def _best(metric: MetricSpec) -> Callable[..., Any]:
    return max if _maximised(metric) else min


def round_to_easier_side(value: float, metric: MetricSpec) -> float:
    """The value with four digits, rounded to the side that is easier to reach."""
    if value == 0.0 or not math.isfinite(value):
        return value
    scale = 10.0 ** (_DIGITS - 1 - math.floor(math.log10(abs(value))))
    rounded = (math.floor if _maximised(metric) else math.ceil)(value * scale) / scale
    return float(f"{rounded:.{_DIGITS}g}")
