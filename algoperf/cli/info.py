"""`algoperf info`: lists workloads with targets, budgets, sizes and memory needs.

Memory is the least that training takes: parameters, gradients and two moments of an optimizer, 16 bytes for each
parameter. Activations come on top and grow with the batch. Disk is what preparing the dataset takes at most.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from algoperf.answer import Answer, add_json_option, answer_command
from algoperf.data.disk_space import format_bytes
from algoperf.definition import ReferenceBudget, WorkloadDefinition
from algoperf.edition import EDITIONS, V0_6, since
from algoperf.errors import UserError
from algoperf.records.json import plain
from algoperf.registry import REGISTRY, Registry, suites

_BYTES_PER_PARAMETER = 16  # float32: the parameter, its gradient, two moments


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="algoperf info", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("names", nargs="*", metavar="NAME", help="workloads or suites (default: all workloads)")
    parser.add_argument(
        "--edition", choices=tuple(EDITIONS), help="of the rules (default: v0.6, or the first that has the workload)"
    )
    add_json_option(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    return answer_command("info", parser(), arguments, _run)


def _run(options: argparse.Namespace, answer: Answer) -> int:
    try:
        definitions = _definitions(options.names, options.edition, REGISTRY)
        rows = [workload_info(definition, REGISTRY) for definition in definitions]
    except UserError as error:
        return answer.fail(str(error), status=2)
    known = suites(options.edition or V0_6.name)
    answer.result = {"workloads": rows, "suites": {name: list(suite.workloads) for name, suite in known.items()}}
    print("\n".join(_table(rows) if len(rows) != 1 else _details(rows[0])))
    if not options.names:
        print("\n" + "\n".join(f"suite {name}: {', '.join(suite.workloads)}" for name, suite in known.items()))
    return 0


def workload_info(definition: WorkloadDefinition, registry: Registry) -> dict[str, Any]:
    """What there is to know of a workload before it is run, in types of JSON."""
    prepare = registry.module(definition.name, "prepare")
    budget, parameters = definition.budget, definition.checks.parameter_count
    max_steps = budget.max_runtime_steps if isinstance(budget, ReferenceBudget) else None
    info: dict[str, Any] = plain(
        {
            "name": definition.name,
            "tier": definition.tier,
            "title": definition.title,
            "base": definition.base,
            "mini": definition.mini_name,
            "edition": definition.edition,
            "metric": definition.metric.name,
            "direction": definition.metric.direction,
            "validation_target": definition.validation_target,
            "test_target": definition.test_target,
            "max_runtime_s": budget.max_runtime_s,
            "max_runtime_reference_steps": max_steps,
            "eval_period_s": budget.eval_period_s,
            "step_hint": budget.step_hint,
            "examples": definition.splits,
            "parameters": parameters,
            "memory_bytes_at_least": parameters * _BYTES_PER_PARAMETER,
            "dataset": definition.dataset,
            "disk_bytes": prepare.required_bytes(definition) if hasattr(prepare, "required_bytes") else None,
            "reference_batch_size": definition.reference_batch_size,
            "eval_batch_size": definition.eval_batch_size,
            "definition_digest": definition.digest(),
        }
    )
    return info


def _definitions(names: Sequence[str], edition: str | None, registry: Registry) -> list[WorkloadDefinition]:
    """The workloads and members of suites called `names`, or all that there are, as they are in `edition`."""
    known = suites(edition or V0_6.name)
    requested = [workload for name in names for workload in (known[name].workloads if name in known else (name,))]
    definitions = [registry.get(name) for name in dict.fromkeys(requested)] or registry.definitions()
    if edition is None:
        return definitions
    return [d.of_edition(edition) for d in definitions if names or edition in since(d.edition)]


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    width = max(len(row["name"]) for row in rows)
    head = f"{'workload':<{width}}  {'metric':>26}  {'target':>9}  {'test':>9}  {'budget':>20}  "
    lines = [f"{head}{'train examples':>14}  {'parameters':>11}  {'memory':>8}  {'disk':>8}"]
    for row in rows:
        test, disk = row["test_target"], row["disk_bytes"]
        columns = (
            f"{row['name']:<{width}}",
            f"{row['metric']:>26}",
            f"{row['validation_target']:>9.6g}",
            f"{'-' if test is None else f'{test:.6g}':>9}",
            f"{_budget(row):>20}",
            f"{row['examples']['train']:>14,}",
            f"{row['parameters']:>11,}",
            f"{format_bytes(row['memory_bytes_at_least']):>8}",
            f"{'-' if disk is None else format_bytes(disk):>8}",
        )
        lines.append("  ".join(columns))
    return lines


def _details(row: dict[str, Any]) -> list[str]:
    return [f"{name:28s} {'-' if value is None else value}" for name, value in row.items()]


def _budget(row: dict[str, Any]) -> str:
    steps = row["max_runtime_reference_steps"]
    return f"{row['max_runtime_s']:,.0f} s" if steps is None else f"{steps:,} reference steps"
