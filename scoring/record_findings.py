"""What the records of a run say against its time: sums, pauses, first evaluations, and what verification found."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

from algoperf.records import columns
from algoperf.records.consistency import contradictions
from algoperf.records.verification import Answer, VerificationVerdict
from scoring.clocks import Clock
from scoring.log_issues import LogIssue, Severity
from scoring.logs import LogStatus, LogTree, Trial
from scoring.rules import Rules, WorkloadRule

_LEDGER, _VIOLATION = "ledger", "rule_violation"
_UNCHARGED, _FIRST, _EVALUATION, _SOURCES = "uncharged_time", "first_evaluation", "evaluation_time", "sources_changed"
_VERIFICATION = "verification"
CODES = frozenset({_LEDGER, _VIOLATION, _UNCHARGED, _FIRST, _EVALUATION, _SOURCES, _VERIFICATION})
# The rules of docs/rules.md that these findings are about.
RULE_IDS = {
    _LEDGER: "C6",
    _UNCHARGED: "C2, C3",
    _FIRST: "T2",
    _EVALUATION: "C7",
    _SOURCES: "S8",
    _VERIFICATION: "R4",
}
# Imports of large packages take up to a minute on a slow disk; an optimizer state takes less.
_UNCHARGED_S, _UNCHARGED_SHARE = 60.0, 0.02
_FIRST_STEPS = 10
_FEWEST_PEERS = 3
_SLOWER, _SLOWER_S = 4.0, 2.0


def record_findings(tree: LogTree, rules: Rules) -> list[LogIssue]:
    """Findings from what runs of scored workloads recorded, an error or a warning each; sorted."""
    trials = [t for t in tree.trials if t.workload in rules.scored_workloads and t.status is LogStatus.READ]
    issues: list[LogIssue] = []
    for trial in trials:
        issues += [*_of_sums(trial, rules), *_of_pauses(trial), *_of_uncharged_time(trial), *_of_verification(trial)]
    for workload in rules.scored_workloads:
        own = [trial for trial in trials if trial.workload == workload]
        issues += [*_of_first_evaluations(own, rules.workloads[workload]), *_of_evaluation_times(own)]
    return sorted([*issues, *_of_sources(trials)])


def verification_counts(tree: LogTree) -> dict[str, dict[str, int]]:
    """Runs of each submission by verdict; empty where nothing was verified."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for trial in tree.trials:
        verification = trial.companions.verification
        is_current = verification is not None and verification.is_of(trial.path)
        counts[trial.submission][str(verification.verdict) if verification and is_current else "not verified"] += 1
    known = {name: dict(sorted(count.items())) for name, count in counts.items()}
    return known if any(set(count) - {"not verified"} for count in known.values()) else {}


def verification_markdown(tree: LogTree) -> list[str]:
    """A line for each submission; empty where nothing was verified."""
    return [
        f"- {submission}: {', '.join(f'{count} {verdict}' for verdict, count in counts.items())}"
        for submission, counts in sorted(verification_counts(tree).items())
    ]


def _issue(path: str, code: str, severity: Severity, message: str) -> LogIssue:
    rule = f" (rule {RULE_IDS[code]})" if code in RULE_IDS else ""
    return LogIssue(path=path, code=code, severity=severity, message=f"{message}{rule}")


def _of_sums(trial: Trial, rules: Rules) -> Iterator[LogIssue]:
    if trial.record is None or rules.clock == Clock.STEPS:
        return
    calibration = trial.record.calibration
    unit_s = calibration.step_s if rules.clock == Clock.REFERENCE and calibration is not None else 1.0
    rows = [
        {
            columns.GLOBAL_STEP: float(step),
            columns.SUBMISSION_TIME: float(time) * unit_s,
            columns.EVALUATION_TIME: float(evaluation_s),
            columns.TOTAL_DURATION: float(wall_s),
        }
        for step, time, evaluation_s, wall_s in zip(
            trial.step, trial.raw_time_s, trial.eval_time_s, trial.wall_s, strict=True
        )
    ]
    for problem in contradictions(trial.record, rows):
        yield _issue(trial.name, _LEDGER, Severity.ERROR, problem)


def _of_pauses(trial: Trial) -> Iterator[LogIssue]:
    pauses = trial.record.pauses if trial.record is not None else None
    if pauses is None:
        return
    for violation in pauses.errors:
        yield _issue(trial.name, _VIOLATION, Severity.ERROR, violation)


def _of_uncharged_time(trial: Trial) -> Iterator[LogIssue]:
    if trial.record is None:
        return
    ledger = trial.record.ledger
    for what, seconds in (
        ("init_optimizer_state", ledger.init_optimizer_state_s),
        ("the import of the submission", ledger.import_submission_s),
    ):
        if seconds > max(_UNCHARGED_S, _UNCHARGED_SHARE * trial.record.budget_s):
            message = f"{what} took {seconds:.0f} s, which are not charged"
            yield _issue(trial.name, _UNCHARGED, Severity.WARNING, message)


def _of_first_evaluations(trials: Sequence[Trial], rule: WorkloadRule) -> Iterator[LogIssue]:
    """Weights that are good after a few steps: at the target, or nearer to it than to where others begin."""
    first = {t.name: (t, float(t.validation[0])) for t in trials if len(t.step) and t.step[0] <= _FIRST_STEPS}
    for name, (trial, value) in first.items():
        peers = [v for t, v in first.values() if t.submission != trial.submission and np.isfinite(v)]
        if rule.metric.reached(value, rule.validation_target):
            message = f"the target is reached at step {trial.step[0]:.0f}, with {value:.6g}"
            yield _issue(name, _FIRST, Severity.ERROR, message)
        elif len(peers) >= _FEWEST_PEERS:
            chance = float(np.median(peers))
            gap = abs(rule.validation_target - chance)
            if rule.metric.better(value, chance) and abs(value - chance) > 0.5 * gap > 0:
                message = f"at step {trial.step[0]:.0f} it has {value:.6g}, where other submissions have {chance:.6g}"
                yield _issue(name, _FIRST, Severity.WARNING, message)


def _of_evaluation_times(trials: Sequence[Trial]) -> Iterator[LogIssue]:
    """Evaluations that take far longer than those of other submissions in that framework."""
    seconds = {t.name: (t, _evaluation_s(t)) for t in trials if len(t.eval_time_s) > 1}
    for name, (trial, own_s) in seconds.items():
        peers = [
            s
            for t, s in seconds.values()
            if t.submission != trial.submission and t.framework == trial.framework and np.isfinite(s)
        ]
        usual_s = float(np.median(peers)) if len(peers) >= _FEWEST_PEERS else np.inf
        if own_s > max(_SLOWER * usual_s, usual_s + _SLOWER_S):
            message = f"an evaluation takes {own_s:.1f} s, where those of other submissions take {usual_s:.1f} s"
            yield _issue(name, _EVALUATION, Severity.WARNING, message)


def _evaluation_s(trial: Trial) -> float:
    return float(np.median(np.diff(trial.eval_time_s)))


def _of_sources(trials: Sequence[Trial]) -> Iterator[LogIssue]:
    """A submission whose runs in one framework were made by several versions of its sources."""
    versions: dict[tuple[str, str], set[str]] = defaultdict(set)
    for trial in trials:
        if trial.record is not None:
            provenance = trial.record.provenance
            recorded = [*(provenance.get("submission_digests") or []), provenance.get("submission_digest")]
            versions[trial.submission, trial.framework] |= {str(digest) for digest in recorded if digest}
    for (submission, framework), digests in sorted(versions.items()):
        if len(digests) > 1:
            message = f"its {framework} runs were made by {len(digests)} versions of its sources: "
            yield _issue(submission, _SOURCES, Severity.ERROR, message + ", ".join(sorted(digests)))


def _of_verification(trial: Trial) -> Iterator[LogIssue]:
    verification = trial.companions.verification
    if verification is None:
        return
    if not verification.is_of(trial.path):
        message = "its records were changed after it was verified; verify it again"
        yield _issue(trial.name, _VERIFICATION, Severity.WARNING, message)
    elif verification.verdict is VerificationVerdict.CONTRADICTED:
        reasons = "; ".join(verification.reasons(Answer.CONTRADICTED))
        yield _issue(trial.name, _VERIFICATION, Severity.ERROR, f"verification contradicts it: {reasons}")
