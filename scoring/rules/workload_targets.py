"""Rules from AlgoPerf's `workload_targets.json`: base workloads, held-out workloads and targets of a version.

The file holds no budgets and no directions: these are those of the shipped rule sets.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf.definition import MetricSpec
from algoperf.records import json
from algoperf.records.columns import metric_of
from scoring.rules import Rules, RulesError, WorkloadRule, load_rules

_KEYS = frozenset({"benchmark_version", "base_workloads", "held_out_workloads", "workloads"})
_WORKLOAD_KEYS = frozenset({"target_metric_name", "validation_target_value", "step_hint"})
_COMMENT = "_comment"
# Beginning of `benchmark_version` -> the rule set of that version, whose budgets count.
_VERSIONS = {"0.5": "v0.5", "0.6": "v0.6", "1.": "v1.0"}
_DEFAULT_VERSION = "v0.6"
_FURTHER = ("v0.5", "v0.6", "v1.0")


def rules_of_targets(path: Path, budgets_of: str | None = None) -> Rules:
    """Rules with the workloads and targets of the file and the budgets of a rule set.

    Args:
      path: the JSON file.
      budgets_of: a rule set by name or file; None: that of the file's `benchmark_version`.

    Raises:
      RulesError: the file is not what AlgoPerf's scorer reads, or the budget of a workload is not known.
    """
    raw = json.read_if_intact(path)
    if raw is None:
        raise RulesError(f"{path}: expected a JSON file as AlgoPerf's workload_targets.json, got none that can be read")
    _check(path, raw)
    version = str(raw["benchmark_version"])
    base_rules = load_rules(budgets_of or _rule_set(version))
    bases = tuple(sorted(raw["base_workloads"]))
    held_out = {name: _base_of(path, name, bases) for name in sorted(raw["held_out_workloads"])}
    known = _known(base_rules)
    entries = raw["workloads"].items()
    workloads = {name: _workload_rule(path, name, entry, known, held_out.get(name, name)) for name, entry in entries}
    return dataclasses.replace(
        base_rules,
        name=f"{path.stem} ({version})",
        description=f"workloads and targets of {path.name}, budgets of {base_rules.name}",
        base_workloads=bases,
        held_out=held_out,
        workloads={**base_rules.workloads, **workloads},
    )


def _check(path: Path, raw: Mapping[str, Any]) -> None:
    missing, unknown = sorted(_KEYS - set(raw)), sorted(set(raw) - _KEYS - {_COMMENT})
    if missing or unknown:
        raise RulesError(f"{path}: expected the keys {', '.join(sorted(_KEYS))}; missing {missing}, unknown {unknown}")
    for name, entry in raw["workloads"].items():
        if set(entry) - {_COMMENT} != _WORKLOAD_KEYS:
            raise RulesError(f"{path}: {name}: expected {', '.join(sorted(_WORKLOAD_KEYS))}, got {sorted(entry)}")
    absent = sorted({*raw["base_workloads"], *raw["held_out_workloads"]} - set(raw["workloads"]))
    if absent:
        raise RulesError(f"{path}: no entry in workloads for {', '.join(absent)}")


def _rule_set(version: str) -> str:
    number = version.lower().lstrip("v")
    return next((rules for start, rules in _VERSIONS.items() if number.startswith(start)), _DEFAULT_VERSION)


def _base_of(path: Path, held_out: str, bases: tuple[str, ...]) -> str:
    """The base workload that a variant's name starts with."""
    fitting = [base for base in bases if held_out.startswith(f"{base}_")]
    if not fitting:
        raise RulesError(f"{path}: the held-out workload {held_out} is a variant of none of {', '.join(bases)}")
    return max(fitting, key=len)


def _known(base_rules: Rules) -> dict[str, WorkloadRule]:
    known: dict[str, WorkloadRule] = {}
    for name in _FURTHER:
        known |= load_rules(name).workloads
    return known | dict(base_rules.workloads)


def _workload_rule(
    path: Path, name: str, entry: Mapping[str, Any], known: Mapping[str, WorkloadRule], base: str
) -> WorkloadRule:
    nearest = known.get(name, known.get(base))
    if nearest is None:
        raise RulesError(f"{path}: no shipped rule set has a budget for {name}; write a TOML rule set for --rules")
    metric = metric_of(str(entry["target_metric_name"]))
    directions = {rule.metric.name: rule.metric.direction for rule in known.values()}
    if metric not in directions:
        raise RulesError(f"{path}: {name}: expected a metric among {', '.join(sorted(directions))}, got {metric!r}")
    return dataclasses.replace(
        nearest,
        name=name,
        base=base,
        metric=MetricSpec(name=metric, direction=directions[metric]),
        validation_target=float(entry["validation_target_value"]),
        step_hint=int(entry["step_hint"]),
        definition_digests=(),
        rungs=(),
    )
