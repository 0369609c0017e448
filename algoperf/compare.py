"""Compares a training algorithm with another on the minis, until the difference is decided or the time is up.

  algoperf compare MINE [--against=nadamw|PATH] [--hours=1.5] [--framework=jax] [--first_impression]

MINE is a submission's file, or `module:function` that returns an optax.GradientTransformation or a
torch.optim.Optimizer (or the optimizer's class). From Python: `algoperf.compare(...)`, which returns data.
"""

import argparse
import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.comparison.result import Comparison
from algoperf.comparison.session import HOURS, compare
from algoperf.comparison.step_cost import PERIOD
from algoperf.definition import FRAMEWORKS, JAX
from algoperf.errors import UserError
from algoperf.records.json import plain


class _CallableModule(types.ModuleType):
    """Importing this module hides the function of the package that has its name, so it is called in its place."""

    def __call__(self, mine: str, **options: Any) -> Comparison:
        return compare(mine, **options)


sys.modules[__name__].__class__ = _CallableModule


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf compare", description=(__doc__ or "").splitlines()[0])
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
    add("--baseline_logs", type=Path, metavar="DIR", help="logs of a board: finished runs there of the other count")
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns 0 with or without a verdict, 2 for an error that a user can fix."""
    return answer_command("compare", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
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
            baseline_logs=options.baseline_logs,
        )
    except UserError as error:
        return answer.fail(str(error), status=2)
    except KeyboardInterrupt:
        answer.error = "stopped; the same command continues from here"
        print(answer.error, file=sys.stderr)
        return 130
    answer.result = comparison_as_json(comparison)
    print(comparison.text())
    return 0


def comparison_as_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison in types of JSON: what it holds, and what it says."""
    numbers = {"sentence": comparison.sentence, "ratio": comparison.ratio, "interval": comparison.interval}
    return {**plain(comparison), **plain(numbers), "rows": plain(comparison.rows)}


if __name__ == "__main__":
    sys.exit(main())
