"""Ladders of targets from the kept runs of target setting: easier values on the way to the official target.

The scale is the way from the untrained model to the official target: from the median first validation value, over all
algorithms and seeds of the tuning and seed stages, to the validation target. What is left of it halves from rung to
rung. Hence no training curve sets a rung, neither one entrant's nor several together. Perplexity is the exponential of
the loss, whose way is taken: by its own scale of 650 to 2.2, rungs at 132, 67, 35 and 18 would all be passed at once.
"""

import itertools
import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from algoperf.definition import MetricSpec, horizon_name
from algoperf.errors import UserError
from algoperf.registry import REGISTRY, Registry
from algoperf.target_setting.result import Result, round_to_easier_side, targets_of
from algoperf.target_setting.tables import kept_results

SHARES_LEFT = (0.2, 0.1, 0.05, 0.025)
LADDERS = "ladders"
_EXPONENTIAL = ("ppl",)  # of a loss


def rungs_of(result: Result, metric: MetricSpec) -> tuple[float, ...]:
    """Values from the easiest on, each harder than the one before and easier than the validation target.

    Raises:
      UserError: no run left a finite validation value, or rungs fall together.
    """
    target, _ = targets_of(result.of("seeds"), metric)
    untrained = _untrained(result)
    to_scale, from_scale = (math.log, math.exp) if metric.name in _EXPONENTIAL else (float, float)
    end, start = to_scale(target), to_scale(untrained)
    rungs = [round_to_easier_side(from_scale(end + left * (start - end)), metric) for left in SHARES_LEFT]
    if not all(metric.better(harder, easier) for easier, harder in itertools.pairwise([*rungs, target])):
        raise UserError(f"{result.workload}: expected ever harder rungs up to the target {target}, got {rungs}")
    return tuple(rungs)


def _untrained(result: Result) -> float:
    """The median first validation value of the runs in the stages whose length is fixed."""
    runs = [run for run in (*result.of("tuning"), *result.of("seeds")) if run.evaluations]
    first = [value for run in runs if math.isfinite(value := run.evaluations[0].validation)]
    if not first:
        raise UserError(f"{result.workload}: no run of target setting left a finite first validation value")
    return statistics.median(first)


def ladders_toml(folder: Path, registry: Registry = REGISTRY) -> str:
    """The table `[ladders]` of a rule set, from the results in a folder.

    Raises:
      UserError: the folder has no result, or an unreadable one.
    """
    lines = [f"[{LADDERS}]"]
    for workload, rungs in _ladders(folder, registry).items():
        lines.append(f"{workload} = [{', '.join(map(repr, rungs))}]")
    return "\n".join(lines) + "\n"


def _ladders(folder: Path, registry: Registry) -> dict[str, tuple[float, ...]]:
    return {
        horizon_name(result.workload, result.horizon): rungs_of(result, registry.get(result.workload).metric)
        for result in kept_results(folder).values()
    }


def check_ladders(folder: Path, rules: Path, registry: Registry = REGISTRY) -> list[str]:
    """Compares the ladders of a rule set with the results in a folder; a line for each difference.

    Results of workloads that the rule set has no ladder for are not its business: all its scored workloads have one.

    Raises:
      UserError: the rule set or a result cannot be read.
    """
    declared = _declared(rules)
    return [
        f"{workload}: its ladder is {list(declared[workload])} in {rules}, {list(rungs)} by its runs"
        for workload, rungs in _ladders(folder, registry).items()
        if workload in declared and tuple(declared[workload]) != rungs
    ]


def _declared(rules: Path) -> Mapping[str, Sequence[float]]:
    try:
        ladders: Mapping[str, Sequence[float]] = tomllib.loads(rules.read_text(encoding="utf-8")).get(LADDERS, {})
    except (OSError, ValueError) as error:
        raise UserError(f"{rules}: expected a rule set in TOML, got {error}") from error
    return ladders
