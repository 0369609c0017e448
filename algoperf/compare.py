"""Compares a training algorithm with another on the minis, until the difference is decided or the time is up.

  python -m algoperf.compare MINE [--against=nadamw|PATH] [--hours=1.5] [--framework=jax] [--first_impression]

MINE is a submission's file, or `module:function` that returns an optax.GradientTransformation or a
torch.optim.Optimizer (or the optimizer's class). From Python: `algoperf.compare(...)`, which returns data.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from algoperf.comparison.session import HOURS, compare
from algoperf.comparison.step_cost import PERIOD
from algoperf.definition import FRAMEWORKS, JAX
from algoperf.errors import UserError


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m algoperf.compare", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("mine", metavar="MINE", help="a submission, a reference algorithm's name, or module:function of an optimizer")
    add("--against", default="nadamw", help="as MINE")
    add("--hours", type=float, default=HOURS, help=f"wall time from now (default: {HOURS})")
    add("--framework", choices=tuple(FRAMEWORKS), default=JAX.name)
    add("--workloads", help="comma list (default: the minis)")
    add("--first_impression", action="store_true", help="the two shortest workloads, at most ten minutes")
    add("--experiment_dir", type=Path, default=Path("experiments/compare"), help="finished runs there count")
    add("--data_dir", type=Path, default=Path("~/data"), help="prepared data; those of minis are generated there")
    add("--step_cost_period", type=int, default=PERIOD, help="steps in which periodic work of MINE is covered whole")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0 with or without a verdict, 2 for an error that a user can fix."""
    options = _parser().parse_args(arguments)
    try:
        comparison = compare(
            options.mine,
            against=options.against,
            hours=options.hours,
            framework=options.framework,
            workloads=options.workloads.split(",") if options.workloads else None,
            first_impression=options.first_impression,
            experiment_dir=options.experiment_dir,
            data_dir=options.data_dir,
            step_cost_period=options.step_cost_period,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command continues from here", file=sys.stderr)
        return 130
    print(comparison.text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
