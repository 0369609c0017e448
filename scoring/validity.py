"""Whether runs may be compared at all: what they recorded against the rules, and against each other.

Nothing is assumed of what a run did not record; AlgoPerf's logs lack `trial.json`, for example.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from algoperf.digest import digest_scheme
from algoperf.records.layout import study_folder
from scoring.log_issues import LogIssue, Severity
from scoring.logs import LogsError, LogTree, Trial
from scoring.provenance import (
    DEFINITION,
    PRECISION,
    ProvenanceRow,
    is_on_cpu,
    recorded_digest,
    recorded_edition,
    recorded_precision,
)
from scoring.record_findings import CODES as RECORD_CODES
from scoring.rules import Rules, TuningRule, WorkloadRule

_EDITION = "edition"
_BUDGET, _MAX_RUNTIME, _BUDGET_STEPS = "budget (s)", "maximum runtime (s)", "budget (reference steps)"
# An error changes what a time to target means; a warning makes two times hard to compare; a note does neither.
_SEVERITIES: Mapping[str, Severity] = MappingProxyType(
    {
        "validation target": Severity.ERROR,
        "target metric": Severity.ERROR,
        _BUDGET: Severity.ERROR,
        _MAX_RUNTIME: Severity.ERROR,
        _BUDGET_STEPS: Severity.ERROR,
        "tuning ruleset": Severity.ERROR,
        "workload definition": Severity.ERROR,
        _EDITION: Severity.ERROR,
        PRECISION: Severity.WARNING,
        "evaluation period (s)": Severity.WARNING,
        "step hint": Severity.WARNING,
        "GPU": Severity.WARNING,
        "number of GPUs": Severity.WARNING,
        "test target": Severity.NOTE,
        "scheme of the definition's digest": Severity.NOTE,
    }
)
_RULE_CODE, _BETWEEN_CODE, _WITHIN_CODE, _SEED_CODE = "not_the_rules", "runs_differ", "submission_mixed", "shared_seed"
CODES = frozenset({_RULE_CODE, _BETWEEN_CODE, _WITHIN_CODE, _SEED_CODE})
_SHOWN_VALUES = 4


@dataclass(frozen=True, kw_only=True)
class RuleConflict:
    """Trials of a submission that recorded something else than the rule set states."""

    submission: str
    workload: str
    what: str
    recorded: str | float
    rules: str | float
    trials: int
    severity: Severity


def rule_conflicts(tree: LogTree, rules: Rules, tuning: TuningRule) -> list[RuleConflict]:
    """Where runs of scored workloads recorded other values than the rules state, sorted."""
    in_seconds = rules.in_seconds or rules
    stated_rules = in_seconds.stated or in_seconds
    counts: Counter[tuple[str, str, str, Any, Any]] = Counter()
    for trial in tree.trials:
        if trial.workload in rules.scored_workloads:
            for what, recorded, stated in _conflicts(trial, stated_rules, tuning):
                counts[trial.submission, trial.workload, what, recorded, stated] += 1
    return [
        RuleConflict(
            submission=s,
            workload=w,
            what=what,
            recorded=recorded,
            rules=stated,
            trials=count,
            severity=_severity(what, rules),
        )
        for (s, w, what, recorded, stated), count in sorted(counts.items(), key=lambda entry: tuple(map(str, entry[0])))
    ]


def validity_issues(
    tree: LogTree, conflicts: Sequence[RuleConflict], provenance: Sequence[ProvenanceRow]
) -> list[LogIssue]:
    """An issue for each conflict with the rules, each difference between runs, and each seed used twice."""
    issues = _conflict_issues(conflicts)
    for row in provenance:
        issues += _difference_issues(row)
    return [*issues, *_shared_seeds(tree)]


def validity_markdown(findings: Sequence[LogIssue], tree: LogTree, rules: Rules) -> list[str]:
    """The section of the board that says whether its runs may be compared: errors and warnings, and what is unknown."""
    doubts = [f for f in findings if f.code in CODES | RECORD_CODES and f.severity is not Severity.NOTE]
    scored = [t for t in tree.trials if t.workload in rules.scored_workloads]
    silent = sum(recorded_budget_s(t, 1.0) is None for t in scored)
    lines = [f"- {f.severity}: {f.path}: {f.message}" for f in doubts]
    if not doubts:
        lines = [
            "Nothing that the runs recorded differs from the rules, or between submissions, in a way that matters."
        ]
    if silent:
        lines += ["", f"{silent} of {len(scored)} runs recorded no budget, so that nothing is known about theirs."]
    if rules.stated is not None:
        lines += ["", "Runs are scored by the budgets that they recorded, not by those of the rules."]
    return lines


def check_one_edition(tree: LogTree, rules: Rules) -> None:
    """Raises LogsError where the scored runs were made under several editions of the rules: no board holds both."""
    by_edition: dict[str, set[str]] = defaultdict(set)
    for trial in tree.trials:
        edition = recorded_edition(trial)
        if edition is not None and trial.workload in rules.scored_workloads:
            by_edition[edition].add(trial.submission)
    if len(by_edition) > 1:
        shown = "; ".join(f"{edition} ({', '.join(sorted(who))})" for edition, who in sorted(by_edition.items()))
        raise LogsError(
            f"expected runs of one edition of the rules, got {shown}; score each edition by itself, with "
            "--include_submissions or in a folder of its own"
        )


def recorded_budget_s(trial: Trial, budget_factor: float) -> float | None:
    """Seconds of submission time that the run could use, as it recorded; None where it did not."""
    if trial.record is not None:
        return trial.record.budget_s
    base = _number(trial.meta_data.get("workload.max_allowed_runtime_sec"))
    return None if base is None or base <= 0 else base * budget_factor


def _conflicts(trial: Trial, rules: Rules, tuning: TuningRule) -> Iterator[tuple[str, str | float, str | float]]:
    """What the run recorded and the rules state, where the two differ: name, recorded, stated."""
    rule, meta, record = rules.workloads[trial.workload], trial.meta_data, trial.record
    numbers: list[tuple[str, Any, float | None]] = [
        ("validation target", meta.get("workload.validation_target_value"), rule.validation_target),
        ("test target", meta.get("workload.test_target_value"), rule.test_target),
        ("step hint", meta.get("workload.step_hint"), rule.step_hint),
        ("number of GPUs", meta.get("gpu_count"), None if rules.hardware is None else rules.hardware.gpu_count),
    ]
    numbers += _budget_numbers(trial, rule, tuning)
    for what, recorded, stated in numbers:
        if stated is not None and _differ(recorded, stated):
            yield what, float(recorded), float(stated)
    ruleset = record.ruleset if record else trial.flags.get("tuning_ruleset")
    for what, text, expected in (
        ("tuning ruleset", ruleset, tuning.name),
        ("target metric", meta.get("workload.target_metric_name"), rule.metric.name),
        (_EDITION, recorded_edition(trial), rules.edition),
        (PRECISION, None if is_on_cpu(trial) else recorded_precision(trial), rules.matmul_precision),
    ):
        if isinstance(text, str) and expected is not None and text != expected:
            yield what, text, expected
    gpu = meta.get("gpu_model_name")
    if rules.hardware is not None and isinstance(gpu, str) and gpu and rules.hardware.gpu not in gpu:
        yield "GPU", gpu, rules.hardware.gpu
    yield from _definition_conflict(trial, rule)


def _budget_numbers(trial: Trial, rule: WorkloadRule, tuning: TuningRule) -> list[tuple[str, Any, float | None]]:
    """Budget and evaluation period: in reference steps where both count these, else in seconds."""
    meta, record = trial.meta_data, trial.record
    if record is not None and record.calibration is not None and rule.max_runtime_steps is not None:
        return [(_BUDGET_STEPS, record.calibration.budget_steps, tuning.budget_factor * rule.max_runtime_steps)]
    numbers = [("evaluation period (s)", meta.get("workload.eval_period_time_sec"), rule.eval_period_s)]
    budget_s = tuning.budget_factor * rule.max_runtime_s
    if record is not None and _differ(record.budget_s, budget_s):
        return [*numbers, (_BUDGET, record.budget_s, budget_s)]
    # where the budget differs, what it follows from says the same
    return [*numbers, (_MAX_RUNTIME, meta.get("workload.max_allowed_runtime_sec"), rule.max_runtime_s)]


def _differ(recorded: Any, stated: float) -> bool:
    """Whether `recorded` is a number, and not the stated one but for rounding."""
    value = _number(recorded)
    return value is not None and not math.isclose(value, stated, rel_tol=1e-9)


def _definition_conflict(trial: Trial, rule: WorkloadRule) -> Iterator[tuple[str, str, str]]:
    digest = recorded_digest(trial)
    if digest is None or not rule.definition_digests:
        return
    by_scheme = {digest_scheme(known): known for known in rule.definition_digests}
    scheme = digest_scheme(digest)
    if scheme not in by_scheme:
        yield "scheme of the definition's digest", scheme, ", ".join(by_scheme)
    elif by_scheme[scheme] != digest:
        yield "workload definition", digest, by_scheme[scheme]


def _severity(what: str, rules: Rules) -> Severity:
    is_chosen = what in (_BUDGET, _MAX_RUNTIME, _BUDGET_STEPS) and rules.stated is not None
    return Severity.NOTE if is_chosen else _SEVERITIES[what]


def _conflict_issues(conflicts: Sequence[RuleConflict]) -> list[LogIssue]:
    """One issue for what is the same on several workloads."""
    groups: dict[tuple[str, str, str | float, str | float], list[RuleConflict]] = defaultdict(list)
    for c in conflicts:
        groups[c.submission, c.what, c.recorded, c.rules].append(c)
    issues = []
    for (submission, what, recorded, stated), group in groups.items():
        message = f"{', '.join(c.workload for c in group)}: {what} {_text(recorded)} in "
        message += f"{_runs(sum(c.trials for c in group))}, expected {_text(stated)} by the rules"
        issues.append(LogIssue(path=submission, code=_RULE_CODE, severity=group[0].severity, message=message))
    return issues


def _difference_issues(row: ProvenanceRow) -> list[LogIssue]:
    if not row.differs:
        return []
    recorded = {submission: row.recorded(submission) for submission in row.values if row.recorded(submission)}
    if row.name == DEFINITION:
        return [_between(row, shown) for shown in _by_workload(recorded)]
    if len({frozenset(values) for values in recorded.values()}) > 1:
        return [_between(row, recorded)]
    issues = []
    for submission in recorded:
        seen = ", ".join(f"{value} in {_runs(count)}" for value, count in row.values[submission].items())
        message = f"its runs differ in {row.name}: {seen}"
        issues.append(LogIssue(path=submission, code=_WITHIN_CODE, severity=Severity.NOTE, message=message))
    return issues


def _by_workload(recorded: Mapping[str, set[str]]) -> Iterator[dict[str, set[str]]]:
    """For each workload with two digests of one scheme, the part of `recorded` that is about it and that scheme."""
    groups: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(dict)
    for submission, values in recorded.items():
        for value in values:
            workload, digest = value.split(": ", 1)
            groups[workload, digest_scheme(digest)].setdefault(submission, set()).add(value)
    for _, group in sorted(groups.items()):
        if len(set().union(*group.values())) > 1:
            yield group


def _between(row: ProvenanceRow, recorded: Mapping[str, set[str]]) -> LogIssue:
    holders: dict[str, list[str]] = defaultdict(list)
    for submission, values in recorded.items():
        for value in values:
            holders[value].append(submission)
    shown = [f"{value} ({', '.join(sorted(who))})" for value, who in sorted(holders.items())]
    listed = "; ".join(shown[:_SHOWN_VALUES]) + (
        f"; and {len(shown) - _SHOWN_VALUES} more" * (len(shown) > _SHOWN_VALUES)
    )
    message = f"the runs that are compared differ in {row.name}: {listed}"
    return LogIssue(path="all submissions", code=_BETWEEN_CODE, severity=row.severity, message=message)


def _shared_seeds(tree: LogTree) -> list[LogIssue]:
    """Studies of one submission and workload that ran with the same seed are not independent of each other."""
    studies: dict[tuple[str, str, int], set[int]] = defaultdict(set)
    for trial in tree.trials:
        seed = _seed(trial)
        if seed is not None:
            studies[trial.submission, trial.workload, seed].add(trial.study)
    shared: dict[tuple[str, tuple[int, ...]], list[str]] = defaultdict(list)
    for (submission, workload, _), numbers in sorted(studies.items()):
        if len(numbers) > 1:
            shared[submission, tuple(sorted(numbers))].append(workload)
    return [
        LogIssue(
            path=submission,
            code=_SEED_CODE,
            severity=Severity.WARNING,
            message=f"{', '.join(map(study_folder, numbers))} ran with the same seed, so they are no independent "
            f"studies of {', '.join(dict.fromkeys(workloads))}",
        )
        for (submission, numbers), workloads in sorted(shared.items())
    ]


def _seed(trial: Trial) -> int | None:
    if trial.record is not None:
        return trial.record.seed
    for value in (trial.meta_data.get("rng_seed"), trial.flags.get("rng_seed")):
        if isinstance(value, int) and not isinstance(value, bool) and value != 0:  # AlgoPerf draws a seed for 0
            return value
    return None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.10g}"


def _runs(count: int) -> str:
    return f"{count} run{'s' * (count > 1)}"
