"""On what the compared runs ran: hardware, driver, versions, commit; and where they differ."""

import math
from collections import Counter
from dataclasses import dataclass

from algoperf.digest import digest_scheme
from scoring.logs import LogTree, Trial
from scoring.rules import Rules

_DEFINITION = "definition_digest"
# What is compared -> its key in meta_data_<k>.json, of AlgoPerf and of this project alike.
_KEYS = {
    "GPU": "gpu_model_name",
    "number of GPUs": "gpu_count",
    "driver": "gpu_driver",
    "CPU": "cpu_model_name",
    "number of CPUs": "cpu_count",
    "Python": "python_version",
    "JAX": "package.jax",
    "PyTorch": "package.torch",
    "commit": "git_commit_hash",
    "workload definition": _DEFINITION,
}
_NOT_RECORDED = "not recorded"


@dataclass(frozen=True, kw_only=True)
class ProvenanceRow:
    """One property: for each submission, the values seen and in how many trials. `differs`: comparing is in doubt."""

    name: str
    values: dict[str, dict[str, int]]
    differs: bool


@dataclass(frozen=True, kw_only=True)
class TargetConflict:
    """Trials whose recorded target or budget is not the rule set's."""

    submission: str
    workload: str
    what: str
    recorded: float
    rules: float
    trials: int


def provenance_rows(tree: LogTree) -> list[ProvenanceRow]:
    """Rows for every property that some trial recorded, and one for the framework."""
    rows = []
    for name, key in _KEYS.items():
        counts: dict[str, Counter[str]] = {s: Counter() for s in tree.submissions}
        for trial in tree.trials:
            counts[trial.submission][_value(trial, key)] += 1
        known = {value for counter in counts.values() for value in counter} - {_NOT_RECORDED}
        if known:
            differs = _definitions_differ(known) if key == _DEFINITION else len(known) > 1
            rows.append(_row(name, counts, differs))
    frameworks: dict[str, Counter[str]] = {s: Counter() for s in tree.submissions}
    for trial in tree.trials:
        frameworks[trial.submission][trial.framework] += 1
    rows.append(_row("framework", frameworks, len({f for c in frameworks.values() for f in c}) > 1))
    return rows


def target_conflicts(tree: LogTree, rules: Rules) -> list[TargetConflict]:
    """Where runs recorded another validation target or budget than the rule set's."""
    mismatches: Counter[tuple[str, str, str, float, float]] = Counter()
    for trial in tree.trials:
        rule = rules.workloads[trial.workload]
        for what, key, expected in (
            ("validation target", "workload.validation_target_value", rule.validation_target),
            ("budget (s)", "workload.max_allowed_runtime_sec", rule.max_runtime_s),
        ):
            recorded = trial.meta_data.get(key)
            if isinstance(recorded, int | float) and not math.isclose(recorded, expected, rel_tol=1e-9):
                mismatches[trial.submission, trial.workload, what, float(recorded), expected] += 1
    return [
        TargetConflict(submission=s, workload=w, what=what, recorded=recorded, rules=expected, trials=count)
        for (s, w, what, recorded, expected), count in sorted(mismatches.items())
    ]


def _row(name: str, counts: dict[str, Counter[str]], differs: bool) -> ProvenanceRow:
    return ProvenanceRow(name=name, values={s: dict(sorted(c.items())) for s, c in counts.items()}, differs=differs)


def _value(trial: Trial, key: str) -> str:
    value = trial.meta_data.get(key)
    if value in (None, ""):
        return _NOT_RECORDED
    # the definition differs from workload to workload by nature, so it is compared workload by workload
    return f"{trial.workload}: {value}" if key == _DEFINITION else str(value)


def _definitions_differ(values: set[str]) -> bool:
    """Whether a workload has two digests of one scheme; what is in one scheme says nothing about another."""
    pairs = [value.split(": ", 1) for value in values]
    return max(Counter((workload, digest_scheme(digest)) for workload, digest in pairs).values()) > 1
