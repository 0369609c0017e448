"""Measures what a step of a submission costs relative to the reference's, in interleaved slices on this machine.

  python -m algoperf.step_cost --submission_path=FILE [--workload=wmt_mini,wmt] [--framework=jax] [--output=costs.json]

Both train in one process on random batches of the workload's shapes. Slices of steps alternate, so that a busy machine
slows both; a cycle is `--period` steps of each, so that work which a submission does once in so many steps (the roots
of a preconditioner) is counted whole. The cost is the median of the cycles' ratios.
"""

import argparse
import dataclasses
import itertools
import math
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from algoperf import spec
from algoperf.backends import base
from algoperf.backends.base import Backend
from algoperf.definition import FRAMEWORKS, JAX, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.harness.seeds import Seeds
from algoperf.records import json
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.runner.run_config import default_submission
from algoperf.submissions.loading import Submission, load_submission, resolve_batch_size
from algoperf.submissions.tuning import SearchSpace

SCHEMA_VERSION = 1
PERIOD = 100  # steps; the longest interval between roots among the reference algorithms (Shampoo)
CYCLES = 6  # the least that gives an interval of 95 % from order statistics
_SLICE_S = 0.03  # long against a fence and short against changes of a machine's load
_MIN_S, _MAX_CYCLES = 3.0, 40  # cheap steps get more cycles, for a narrower interval
_WARM_UP_STEPS = 5
_BATCHES = 4
_ERROR = 0.05


class StepCostError(UserError):
    """The cost of a step cannot be measured; one line that says why."""


@dataclass(frozen=True, kw_only=True)
class RelativeStepCost:
    """Cost of a submission's step in steps of the reference.

    Attributes:
      ratio: median over the cycles.
      low, high: interval of the median from order statistics of the cycles.
      confidence: of the interval; below 0.95 where there were fewer than six cycles.
      cycles: how many there were.
      period: steps of each in a cycle; work done every `period` steps or more often is covered whole.
      batch_size, reference_batch_size: global.
      step_s, reference_step_s: median seconds of a step over the cycles, on this machine as it was.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    cycles: int
    period: int
    batch_size: int
    reference_batch_size: int
    step_s: float
    reference_step_s: float

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.ratio <= self.high < math.inf:
            raise ValueError(f"a cost is positive and in its interval, got {self.low}, {self.ratio}, {self.high}")


class SteppedSubmission:
    """A submission that is in training on random batches, without evaluations.

    Args:
      submission: loaded and checked.
      hyperparameters: its point; None as under the self-tuning rules.
      batch_size: global; None asks the submission.
    """

    def __init__(
        self,
        submission: Submission,
        definition: WorkloadDefinition,
        backend: Backend,
        *,
        hyperparameters: Any = None,
        batch_size: int | None = None,
        registry: Registry = REGISTRY,
    ) -> None:
        self._submission = submission
        self._backend = backend
        self._hyperparameters = hyperparameters
        self._seeds = Seeds(backend, 0)
        self._number = 0
        self.batch_size = batch_size or resolve_batch_size(submission, definition, backend.num_devices)
        data = registry.module(definition.name, "data")
        model = registry.module(definition.name, base.model_module(backend.framework)).build(definition)
        self._batches = itertools.cycle(
            [backend.put_batch(data.fake_batch(definition, self.batch_size, seed)) for seed in range(_BATCHES)]
        )
        self._workload = backend.build_workload(definition, model)
        params, self._model_state = self._workload.init_model_fn(self._seeds.model_init)
        self._params = backend.prepare_model(self._workload, params, compile_model=False)
        self._state = backend.place_state(
            submission.init_optimizer_state(
                workload=self._workload,
                model_params=self._params,
                model_state=self._model_state,
                hyperparameters=hyperparameters,
                rng=self._seeds.optimizer_init,
            )
        )

    def seconds_of(self, num_steps: int) -> float:
        """Makes so many steps; returns the seconds until their device work is done."""
        self._backend.fence(self._state, self._params, self._model_state)
        started = time.perf_counter()
        for _ in range(num_steps):
            self._step()
        self._backend.fence(self._state, self._params, self._model_state)
        return time.perf_counter() - started

    def _step(self) -> None:
        submission, number = self._submission, self._number
        keys = self._seeds.step(number)
        self._backend.seed_global(0, number)
        common: dict[str, Any] = {
            "workload": self._workload,
            "current_param_container": self._params,
            "model_state": self._model_state,
            "hyperparameters": self._hyperparameters,
            "optimizer_state": self._state,
            "global_step": number,
        }
        batch = submission.data_selection(input_queue=self._batches, rng=keys.data_selection, **common)
        requested: dict[str, Any] = {"train_state": _TRAIN_STATE} if submission.wants_train_state else {}
        try:
            self._state, self._params, self._model_state = submission.update_params(
                batch=batch,
                current_params_types=self._workload.model_params_types,
                loss_type=self._workload.loss_type,
                eval_results=[],
                rng=keys.update,
                **common,
                **requested,
            )
        except spec.TrainingCompleteError:
            raise StepCostError(
                f"{submission.path} ended training at step {number}; a measurement needs all its steps, shorten "
                "--period or --cycles"
            ) from None
        self._number += 1


_TRAIN_STATE: Mapping[str, Any] = MappingProxyType(
    {
        "validation_goal_reached": False,
        "test_goal_reached": False,
        "is_time_remaining": True,
        "last_eval_time": 0,
        "training_complete": False,
        "accumulated_submission_time": 0.0,
        "accumulated_eval_time": 0.0,
        "accumulated_logging_time": 0.0,
        "last_step_end_time": None,
    }
)


def relative_cost(
    mine: SteppedSubmission,
    reference: SteppedSubmission,
    *,
    period: int = PERIOD,
    cycles: int = CYCLES,
    max_s: float = math.inf,
) -> RelativeStepCost:
    """Cost of a step of `mine` in steps of `reference`; compilation is left out.

    Args:
      mine, reference: in training; both continue from their state.
      period: steps of each in a cycle.
      cycles: how many to measure; more where they take under three seconds in all.
      max_s: seconds after which no further cycle starts, once there are two.
    """
    mine.seconds_of(_WARM_UP_STEPS)
    reference.seconds_of(_WARM_UP_STEPS)
    step_s = reference.seconds_of(_WARM_UP_STEPS) / _WARM_UP_STEPS
    slice_steps = min(period, max(1, math.ceil(_SLICE_S / step_s)))
    seconds: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(seconds) < max(cycles, _MAX_CYCLES):
        spent_s = time.perf_counter() - started
        if spent_s > (min(_MIN_S, max_s) if len(seconds) >= cycles else max_s) and len(seconds) >= 2:
            break
        seconds.append(_cycle_s(mine, reference, list(_slices(period, slice_steps))))
    ratios = sorted(own / other for own, other in seconds)
    rank, confidence = _interval_rank(len(ratios))
    return RelativeStepCost(
        ratio=statistics.median(ratios),
        low=ratios[rank],
        high=ratios[-1 - rank],
        confidence=confidence,
        cycles=len(ratios),
        period=period,
        batch_size=mine.batch_size,
        reference_batch_size=reference.batch_size,
        step_s=statistics.median(own for own, _ in seconds) / period,
        reference_step_s=statistics.median(other for _, other in seconds) / period,
    )


def _slices(period: int, slice_steps: int) -> Iterator[int]:
    for start in range(0, period, slice_steps):
        yield min(slice_steps, period - start)


def _cycle_s(mine: SteppedSubmission, reference: SteppedSubmission, slices: Sequence[int]) -> tuple[float, float]:
    """Seconds of a cycle of each; who comes first alternates, so that a drift of the machine cancels."""
    own = other = 0.0
    for number, steps in enumerate(slices):
        if number % 2:
            other += reference.seconds_of(steps)
            own += mine.seconds_of(steps)
        else:
            own += mine.seconds_of(steps)
            other += reference.seconds_of(steps)
    return own, other


def _interval_rank(count: int) -> tuple[int, float]:
    """(r, confidence): the median lies between the order statistics r and `count` - 1 - r, counted from 0.

    r is the largest that keeps 95 %, or 0. The chance of a miss on one side is that of at most r heads in `count`
    tosses of a coin.
    """
    tails = list(itertools.accumulate(math.comb(count, k) / 2**count for k in range(count)))
    rank = max((r for r in range((count - 1) // 2 + 1) if 2 * tails[r] <= _ERROR), default=0)
    return rank, max(0.0, 1 - 2 * tails[rank])


def measure(
    submission_path: str,
    workloads: Sequence[str],
    framework: str,
    *,
    reference_path: str | None = None,
    search_space: str | None = None,
    batch_size: int | None = None,
    period: int = PERIOD,
    cycles: int = CYCLES,
    max_s: float = math.inf,
    registry: Registry = REGISTRY,
) -> dict[str, Any]:
    """What the command writes: provenance and a `RelativeStepCost` for each workload.

    Args:
      submission_path, reference_path: as of the runner; None means the reference NadamW.
      search_space: its first point is the submission's; None means no hyperparameters, as under the self-tuning rules.
      batch_size: of both; None asks the submissions.

    Raises:
      UserError: a submission cannot be loaded or ends early, or there is no such workload.
    """
    definitions = [registry.get(name) for name in workloads]
    backend = base.load(framework)
    point = SearchSpace.load(search_space).draw(1, study=0)[0] if search_space else None
    costs = {}
    reference = load_submission(reference_path or str(default_submission(framework)))
    mine = load_submission(submission_path)
    for definition in definitions:
        stepped = [
            SteppedSubmission(
                submission, definition, backend, hyperparameters=own_point, batch_size=batch_size, registry=registry
            )
            for submission, own_point in ((mine, point), (reference, None))
        ]
        costs[definition.name] = relative_cost(*stepped, period=period, cycles=cycles, max_s=max_s)
        del stepped
        backend.reset_memory()
    return {
        "schema_version": SCHEMA_VERSION,
        "framework": framework,
        "submission_digest": mine.source_digest,
        "reference_digest": reference.source_digest,
        "device": json.plain(backend.device_report(), unknown=str),
        "step_costs": {name: dataclasses.asdict(cost) for name, cost in costs.items()},
    }


def read(path: Path) -> dict[str, RelativeStepCost]:
    """The costs in a file that this command wrote, by workload.

    Raises:
      StepCostError: the file is no such file.
    """
    content = json.read_if_intact(path) or {}
    try:
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError
        return {name: RelativeStepCost(**cost) for name, cost in content["step_costs"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise StepCostError(
            f"{path} holds no step costs of schema version {SCHEMA_VERSION}; write it with python -m algoperf.step_cost"
        ) from None


def table(costs: Mapping[str, RelativeStepCost]) -> str:
    """A line for each workload."""
    lines = [f"{'workload':32s} {'cost':>6s}  {'interval':16s} {'ms a step':>9s} {'reference':>9s}  cycles x steps"]
    for name, cost in costs.items():
        lines.append(
            f"{name:32s} {cost.ratio:6.3f}  {f'{cost.low:.3f} to {cost.high:.3f}':16s} {cost.step_s * 1e3:9.1f} "
            f"{cost.reference_step_s * 1e3:9.1f}  {cost.cycles} x {cost.period}"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m algoperf.step_cost", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--submission_path", required=True, help="a .py file anywhere on disk, or a dotted module")
    add("--reference", help="the submission to compare with (default: reference NadamW)")
    add("--workload", help="comma list, minis and full-size workloads (default: the minis)")
    add("--framework", choices=tuple(FRAMEWORKS), default=JAX.name)
    add("--tuning_search_space", help="the submission takes its first point (default: none, self-tuning)")
    add("--batch_size", type=int, help="global, of both (default: what each asks for)")
    add("--period", type=int, default=PERIOD, help="steps of each in a cycle; covers work done that often")
    add("--cycles", type=int, default=CYCLES)
    add("--max_seconds", type=float, default=math.inf, help="for each workload, once there are two cycles")
    add("--output", type=Path, default=Path("step_costs.json"))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        for name in ("period", "cycles", "batch_size"):
            if getattr(options, name) is not None and getattr(options, name) < 1:
                raise StepCostError(f"--{name} must be at least 1, got {getattr(options, name)}")
        content = measure(
            options.submission_path,
            options.workload.split(",") if options.workload else suites()["mini"].workloads,
            options.framework,
            reference_path=options.reference,
            search_space=options.tuning_search_space,
            batch_size=options.batch_size,
            period=options.period,
            cycles=options.cycles,
            max_s=options.max_seconds,
        )
        json.write(options.output, content)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(read(options.output)))
    print(f"written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
