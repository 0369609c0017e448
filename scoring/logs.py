"""Reads a folder of results: `<submission>/study_<s>/<workload>_<framework>/trial_<k>/`.

The names are matched strictly, order is numeric, and whatever does not fit is listed as a finding.
Logs of AlgoPerf and of this project are read alike; `eval_measurements.csv` alone is needed.
"""

import dataclasses
import enum
import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.definition import FRAMEWORKS
from algoperf.records import columns, json, layout
from algoperf.records.files import RecordError
from algoperf.records.trial import TrialRecord
from scoring.eval_table import EvalTable, UnreadableTableError, read_eval_table
from scoring.log_issues import LogIssue, Severity
from scoring.rules import WorkloadRule

_DATE_SUFFIX = re.compile(r"(?P<name>.+)-\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2}")
# Codes of issues about entries next to the folders of submissions.
_STRAY_FILE, _NO_STUDY = "stray_file", "no_study"
_BESIDE_SUBMISSIONS = {_STRAY_FILE, _NO_STUDY}
_PLAIN_COLUMNS = (
    columns.SUBMISSION_TIME,
    columns.SCORE,
    columns.GLOBAL_STEP,
    columns.EVALUATION_TIME,
    columns.LOGGING_TIME,
    columns.TOTAL_DURATION,
)


class LogsError(ValueError):
    """A folder cannot be scored at all."""


class LogStatus(enum.StrEnum):
    """Whether a trial left a table of evaluations that can be scored."""

    READ = "read"
    MISSING = "missing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """One training run as logged. Arrays have one element per evaluation and are empty unless `status` is READ.

    Attributes:
      time_s: submission time; NaN-free and increasing, except that `raw_time_s` keeps the column as it stands.
      step: global step (NaN where not logged).
      validation, test: values of the target metric; what is not finite is NaN.
      eval_time_s, logging_time_s, wall_s: ledger columns (NaN where not logged).
    """

    submission: str
    study: int
    workload: str
    framework: str
    number: int
    path: Path
    status: LogStatus
    time_s: np.ndarray
    step: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    eval_time_s: np.ndarray
    logging_time_s: np.ndarray
    wall_s: np.ndarray
    raw_time_s: np.ndarray
    raw_validation: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.submission}/{layout.trial_path(self.study, self.workload, self.framework, self.number)}"

    @functools.cached_property
    def record(self) -> TrialRecord | None:
        """The record of this project's harness (typed outcome, ledger, provenance); None where it cannot be read.

        Logs of AlgoPerf have none.
        """
        try:
            return TrialRecord.read(self.path)
        except RecordError:
            return None

    @functools.cached_property
    def meta_data(self) -> Mapping[str, Any]:
        """The newest `meta_data_<k>.json`, or empty."""
        return json.read_if_intact(layout.newest_meta_data_file(self.path)) or {}

    @functools.cached_property
    def flags(self) -> Mapping[str, Any]:
        """The newest `flags_<k>.json`, or empty."""
        return json.read_if_intact(layout.newest_flags_file(self.path)) or {}

    @functools.cached_property
    def hyperparameters(self) -> Mapping[str, Any] | None:
        """`hparams.json`, or None where there is none."""
        return json.read_if_intact(self.path / layout.HYPERPARAMETERS_FILE) or None


@dataclass(frozen=True, kw_only=True)
class LogTree:
    """All trials under a folder, sorted, and what was noticed. `submissions` includes those without trials."""

    root: Path
    submissions: tuple[str, ...]
    trials: tuple[Trial, ...]
    findings: tuple[LogIssue, ...]

    def keeping(self, submissions: set[str], *, only_asked_for: bool = False) -> "LogTree":
        """The part of the tree that belongs to `submissions`.

        With `only_asked_for`, the user named the submissions: issues about other entries next to their folders are
        left out.
        """
        findings = tuple(f for f in self.findings if not (only_asked_for and f.code in _BESIDE_SUBMISSIONS))
        return dataclasses.replace(
            self,
            submissions=tuple(s for s in self.submissions if s in submissions),
            trials=tuple(t for t in self.trials if t.submission in submissions),
            findings=findings,
        )


def read_logs(directory: Path | str, workloads: Mapping[str, WorkloadRule]) -> LogTree:
    """Reads every trial below `directory`. `workloads` tells which workloads are known and their target metrics.

    Raises LogsError when the folder does not exist or holds no study of any submission.
    """
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise LogsError(f"{root} is no folder; expected {layout.LAYOUT} in it")
    walk = _Walk(root, workloads)
    walk.submissions_of(root)
    if not walk.submissions:
        raise LogsError(f"{root} holds no results; expected {layout.LAYOUT} in it")
    walk.drop_second_framework()
    trials = sorted(walk.trials, key=lambda t: (t.submission, t.workload, t.study, t.number))
    return LogTree(
        root=root,
        submissions=tuple(sorted(walk.submissions)),
        trials=tuple(trials),
        findings=tuple(sorted(set(walk.findings))),
    )


class _Walk:
    """One pass over the folders of logs. Fills `submissions`, `trials` and `findings` from what it meets.

    Folders are matched level by level: submission, study, workload and framework, trial. An entry that matches no
    level is reported as an issue and skipped.
    """

    def __init__(self, root: Path, workloads: Mapping[str, WorkloadRule]) -> None:
        self.root = root
        self.workloads = workloads
        self.trials: list[Trial] = []
        self.findings: list[LogIssue] = []
        self.submissions: set[str] = set()
        self._seen: dict[tuple[str, int, str, str, int], Path] = {}

    def report_issue(self, path: Path, code: str, message: str, severity: Severity = Severity.WARNING) -> None:
        where = os.path.relpath(path, self.root)
        self.findings.append(LogIssue(path=where, code=code, severity=severity, message=message))

    def submissions_of(self, folder: Path, depth: int = 0) -> None:
        if depth == 0 and self._holds_results(folder):
            self._submission(folder.resolve().name, folder)
            return
        for entry in _sorted_entries(folder):
            if not entry.is_dir():
                self.report_issue(
                    entry, _STRAY_FILE, "a file where a submission's folder is expected; ignored", Severity.NOTE
                )
            elif self._holds_results(entry):
                dated = _DATE_SUFFIX.fullmatch(entry.name)
                self._submission(dated["name"] if dated else entry.name, entry)
            elif depth == 0 and any(e.is_dir() and self._holds_results(e) for e in _sorted_entries(entry)):
                self.submissions_of(entry, depth=1)  # an extra level of team folders, as in AlgoPerf v0.5
            else:
                self.report_issue(entry, _NO_STUDY, "holds no study_<s> folder; ignored")

    def _holds_results(self, folder: Path) -> bool:
        return any(
            e.is_dir() and (layout.study_number(e.name) is not None or self._parse_workload(e.name))
            for e in _sorted_entries(folder)
        )

    def _parse_workload(self, name: str) -> tuple[str, str] | None:
        named = layout.workload_and_framework(name)
        return named if named and named[0] in self.workloads else None

    def _submission(self, name: str, folder: Path) -> None:
        self.submissions.add(name)
        for entry in _sorted_entries(folder):
            study, named = layout.study_number(entry.name), self._parse_workload(entry.name)
            if study is not None and entry.is_dir():
                self._study(name, study, entry)
            elif named and entry.is_dir():
                self.report_issue(
                    entry, "no_study_level", "a workload without a study folder; counted as study_0", Severity.NOTE
                )
                self._workload(name, 0, entry, *named)
            else:
                self.report_issue(entry, "stray_entry", "expected study_<s>; ignored", Severity.NOTE)

    def _study(self, submission: str, study: int, folder: Path) -> None:
        for entry in _sorted_entries(folder):
            named = self._parse_workload(entry.name)
            if named and entry.is_dir():
                self._workload(submission, study, entry, *named)
            elif entry.is_dir() and layout.workload_and_framework(entry.name):
                self.report_issue(entry, "unknown_workload", f"unknown workload {entry.name!r}; ignored")
            else:
                self.report_issue(entry, "stray_entry", "expected <workload>_<jax|pytorch>; ignored", Severity.NOTE)

    def _workload(self, submission: str, study: int, folder: Path, workload: str, framework: str) -> None:
        is_matched = False
        for entry in _sorted_entries(folder):
            number = layout.trial_number(entry.name)
            if number is not None and entry.is_dir():
                is_matched = True
                key = (submission, study, workload, framework, number)
                if key in self._seen:
                    first = os.path.relpath(self._seen[key], self.root)
                    self.report_issue(entry, "duplicate_trial", f"the same trial as {first}, which is kept; ignored")
                    continue
                self._seen[key] = entry
                self.trials.append(self._trial(key, entry))
            elif entry.is_dir() and entry.name != layout.TRACES:
                self.report_issue(entry, "stray_entry", "expected trial_<k>; ignored", Severity.NOTE)
        if not is_matched:
            self.report_issue(folder, "no_trial", "holds no trial_<k> folder")

    def _trial(self, key: tuple[str, int, str, str, int], folder: Path) -> Trial:
        submission, study, workload, framework, number = key
        rule = self.workloads[workload]
        status, fields = LogStatus.READ, {}
        try:
            requested = {*_PLAIN_COLUMNS, rule.validation_column, rule.test_column}
            table = read_eval_table(folder / layout.EVALUATIONS, requested)
            for repair in table.repairs:
                self.report_issue(folder, "repaired_csv", repair)
            fields = self._curves(folder, table, rule)
        except UnreadableTableError as error:
            self.report_issue(folder, error.code, f"{error}; the trial counts as a miss")
            status = LogStatus.MISSING if error.code == "no_eval_csv" else LogStatus.UNREADABLE
        except OSError as error:
            self.report_issue(folder, "unreadable_file", f"{error.strerror}; the trial counts as a miss")
            status = LogStatus.UNREADABLE
        return Trial(
            submission=submission,
            study=study,
            workload=workload,
            framework=framework,
            number=number,
            path=folder,
            status=status,
            **(fields or dict.fromkeys(_ARRAYS, np.empty(0))),
        )

    def _curves(self, folder: Path, table: EvalTable, rule: WorkloadRule) -> dict[str, np.ndarray]:
        logged = table.columns
        raw_time = logged.get(columns.SUBMISSION_TIME, logged.get(columns.SCORE))
        if raw_time is None:
            raise UnreadableTableError(
                "no_time_column", f"neither column {columns.SUBMISSION_TIME!r} nor {columns.SCORE!r} is there"
            )
        if rule.validation_column not in logged:
            raise UnreadableTableError("no_metric_column", f"the column {rule.validation_column!r} is missing")
        if not len(raw_time):
            raise UnreadableTableError("no_rows", f"{layout.EVALUATIONS} has a header and no rows")
        blank = np.full(len(raw_time), np.nan)
        keep = np.isfinite(raw_time) & (raw_time >= 0)
        if not keep.all():
            self.report_issue(folder, "bad_time", f"{np.sum(~keep)} row(s) without a finite time >= 0 left out")
        superseded = _superseded(np.where(keep, raw_time, np.inf)) & keep
        if superseded.any():
            message = f"{superseded.sum()} row(s) precede a restart at an earlier time and are superseded; left out"
            self.report_issue(folder, "restarted", message, Severity.NOTE)
            keep &= ~superseded
        validation = logged[rule.validation_column]
        if np.isinf(validation).any():
            self.report_issue(
                folder, "infinite_metric", f"{np.isinf(validation).sum()} infinite metric value(s) read as NaN"
            )
        arrays = {
            "time_s": raw_time,
            "step": logged.get(columns.GLOBAL_STEP, blank),
            "validation": _finite(validation),
            "test": _finite(logged.get(rule.test_column, blank)),
            "eval_time_s": logged.get(columns.EVALUATION_TIME, blank),
            "logging_time_s": logged.get(columns.LOGGING_TIME, blank),
            "wall_s": logged.get(columns.TOTAL_DURATION, blank),
        }
        retained = arrays if keep.all() else {name: values[keep] for name, values in arrays.items()}
        return retained | {"raw_time_s": raw_time, "raw_validation": _finite(validation)}

    def drop_second_framework(self) -> None:
        """A submission is one framework's; where a workload has logs of both, its main framework's count."""
        folders = {(t.submission, t.workload, t.framework) for t in self.trials}
        for submission in sorted(self.submissions):
            mine = [(w, f) for s, w, f in folders if s == submission]
            main = max(FRAMEWORKS, key=lambda framework: sum(f == framework for _, f in mine))
            for workload in sorted({w for w, f in mine if f != main} & {w for w, f in mine if f == main}):
                message = f"{workload} has logs of both frameworks; those of {main}, its main framework, count"
                self.report_issue(self.root / submission, "two_frameworks", message, Severity.ERROR)
                self.trials = [
                    t
                    for t in self.trials
                    if not (t.submission == submission and t.workload == workload and t.framework != main)
                ]


_ARRAYS = (
    "time_s",
    "step",
    "validation",
    "test",
    "eval_time_s",
    "logging_time_s",
    "wall_s",
    "raw_time_s",
    "raw_validation",
)


def _superseded(time_s: np.ndarray) -> np.ndarray:
    """Rows after which a later row has a smaller time: a resumed run repeats what it had lost."""
    if len(time_s) < 2:
        return np.zeros(len(time_s), bool)
    later_minimum = np.minimum.accumulate(time_s[::-1])[::-1]
    return np.append(later_minimum[1:] < time_s[:-1], False)


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def _sorted_entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if not e.name.startswith(".")]
    except OSError:
        return []
    return [folder / name for name in sorted(names, key=_numeric_key)]


def _numeric_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", name)
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts], name
