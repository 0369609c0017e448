"""Measures what a step of a submission costs relative to the reference's, in interleaved slices on this machine.

  python -m algoperf.step_cost --submission_path=FILE [--workload=wmt_mini,wmt] [--framework=jax] [--output=costs.json]

Both train in one process on random batches of the workload's shapes. Slices of steps alternate, so that a busy machine
slows both; a cycle is `--period` steps of each, so that work which a submission does once in so many steps (the roots
of a preconditioner) is counted whole. The cost is the median of the cycles' ratios.
"""

import argparse
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from algoperf.backends import base
from algoperf.comparison.step_cost import (
    CYCLES,
    PERIOD,
    StepCostError,
    relative_cost,
)
from algoperf.comparison.stepping import SteppedSubmission
from algoperf.definition import FRAMEWORKS, JAX
from algoperf.edition import V0_6, MatmulPrecision
from algoperf.errors import UserError
from algoperf.records import json
from algoperf.records.step_costs import RelativeStepCost, StepCosts
from algoperf.registry import REGISTRY, Registry, suites
from algoperf.runner.run_config import default_submission
from algoperf.submissions.loading import load_submission
from algoperf.submissions.tuning import SearchSpace


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
    matmul_precision: MatmulPrecision = V0_6.matmul_precision,
    compile_model: bool | None = None,
    registry: Registry = REGISTRY,
) -> StepCosts:
    """The cost of a step on each workload, with provenance.

    Args:
      submission_path, reference_path: as of the runner; None means the reference NadamW.
      search_space: its first point is the submission's; None means no hyperparameters, as under the self-tuning rules.
      batch_size: of both; None asks the submissions.
      matmul_precision: of both.
      compile_model: whether models of PyTorch are compiled; None is the runner's default.

    Raises:
      UserError: a submission cannot be loaded or ends early, or there is no such workload.
    """
    definitions = [registry.get(name) for name in workloads]
    backend = base.load(framework, matmul_precision=matmul_precision)
    point = SearchSpace.load(search_space).draw(1, study=0)[0] if search_space else None
    costs = {}
    reference = load_submission(reference_path or str(default_submission(framework)))
    mine = load_submission(submission_path)
    for definition in definitions:
        stepped = [
            SteppedSubmission(
                submission,
                definition,
                backend,
                hyperparameters=own_point,
                batch_size=batch_size,
                compile_model=compile_model,
                registry=registry,
            )
            for submission, own_point in ((mine, point), (reference, None))
        ]
        costs[definition.name] = relative_cost(*stepped, period=period, cycles=cycles, max_s=max_s)
        del stepped
        backend.reset_memory()
    return StepCosts(
        framework=framework,
        submission_digest=mine.source_digest,
        reference_digest=reference.source_digest,
        device=json.plain(backend.device_report(), unknown=str),
        step_costs=costs,
    )


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
    add("--matmul_precision", choices=tuple(MatmulPrecision), default=V0_6.matmul_precision)
    add(
        "--torch_compile",
        action=argparse.BooleanOptionalAction,
        help="compile models of PyTorch (default: as the runner, on a GPU where it works)",
    )
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
            matmul_precision=MatmulPrecision(options.matmul_precision),
            compile_model=options.torch_compile,
        )
        content.save(options.output)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(content.step_costs))
    print(f"written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
