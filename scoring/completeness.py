"""What the logs lack: files that cannot be read, and trials that the rules prescribe and nobody logged."""

from collections import Counter
from collections.abc import Iterator, Sequence

from algoperf.records.layout import study_folder
from scoring.board import Board
from scoring.log_issues import LogIssue, Severity
from scoring.logs import LogTree
from scoring.times import TimeTable, outside_the_rules

_TOLD_OF_A_FOLDER = {"no_trial", "unreadable_folder"}


def log_issues_of(tree: LogTree, board: Board) -> list[LogIssue]:
    """Every issue about the logs of a board, sorted: those met in reading, and what the rules make of them."""
    extra = outside_the_rules(tree, board.tuning)
    return sorted([*tree.findings, *unreadable_companions(tree), *extra, *missing_trials(tree, board.times)])


def unreadable_companions(tree: LogTree) -> list[LogIssue]:
    """An issue for each trial with a JSON file that cannot be read."""
    return [
        LogIssue(
            path=trial.name,
            code="unreadable_json",
            severity=Severity.WARNING,
            message=f"cannot be read, so what it records is not known: {', '.join(trial.companions.unreadable)}",
        )
        for trial in tree.trials
        if trial.companions.unreadable
    ]


def missing_trials(tree: LogTree, times: TimeTable) -> list[LogIssue]:
    """An issue for each workload and study that lacks trials of the rules.

    A trial or folder that is there and cannot be read has an issue of its own.
    """
    logged = Counter(
        (t.submission, t.workload, t.study)
        for t in tree.trials
        if t.study in times.studies and t.number in times.trial_numbers
    )
    told = [f.path for f in tree.findings if f.code in _TOLD_OF_A_FOLDER]
    issues = []
    for submission in times.submissions:
        absent = [w for w in times.workloads if not any((submission, w, s) in logged for s in times.studies)]
        absent = [w for w in absent if not _is_told(told, submission, w, times.studies)]
        if absent:
            issues.append(
                _issue(submission, "missing_workload", f"no trial of {', '.join(absent)}: every study is a miss")
            )
        for workload in times.workloads:
            if workload not in absent:
                issues += _missing_of_studies(submission, workload, times, logged, told)
    return issues


def _missing_of_studies(
    submission: str, workload: str, times: TimeTable, logged: Counter[tuple[str, str, int]], told: Sequence[str]
) -> Iterator[LogIssue]:
    full = len(times.trial_numbers)
    for study in times.studies:
        count = logged[submission, workload, study]
        if count < full and not _is_told(told, submission, workload, (study,)):
            what = f"{count} of {full} trials" if count else "no trial"
            message = f"{study_folder(study)} of {workload}: {what}; what is missing is a miss"
            yield _issue(submission, "incomplete_study", message)


def _is_told(told: Sequence[str], submission: str, workload: str, studies: Sequence[int]) -> bool:
    """Whether every one of the studies has an issue that names its folder or its workload's."""
    folders = [f"{submission}/{study_folder(study)}" for study in studies]
    return all(
        any(path == folder or path.startswith(f"{folder}/{workload}_") for path in told if path.startswith(folder))
        for folder in folders
    )


def _issue(submission: str, code: str, message: str) -> LogIssue:
    return LogIssue(path=submission, code=code, severity=Severity.WARNING, message=message)
