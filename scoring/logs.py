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
from typing import Any, NamedTuple

import numpy as np

from algoperf.definition import FRAMEWORKS
from algoperf.records import layout
from algoperf.records.trial import TrialRecord
from scoring.companions import Companions, read_companions
from scoring.curves import ARRAYS, read_curves
from scoring.eval_table import UnreadableTableError
from scoring.log_issues import LogIssue, Severity
from scoring.rules import WorkloadRule

# Who submitted what, in the folder of a submission: the name, and the spellings in AlgoPerf's submissions.
INFO_FILES = ("submission_info.yml", "submission_info.yaml", "submissions_info.yml", "submissions_info.yaml")
_DATE_SUFFIX = re.compile(r"(?P<name>.+)-\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2}")
# Codes of issues about entries next to the folders of submissions.
_STRAY_FILE, _NO_STUDY = "stray_file", "no_study"
_BESIDE_SUBMISSIONS = {_STRAY_FILE, _NO_STUDY}


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
      time_s: submission time; NaN-free and never decreasing, except that `raw_time_s` keeps the column as it stands.
      step: global step (NaN where not logged).
      validation, test: values of the target metric; what is not finite is NaN.
      eval_time_s, logging_time_s, wall_s: ledger columns (NaN where not logged).
      time_spread: standard deviation of the logarithm of the unit that times are in, as far as it was measured.
      budget_s: budget of this run alone, seconds; None: that of the rules counts.
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
    budget_s: float | None = None
    time_spread: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.submission}/{layout.trial_path(self.study, self.workload, self.framework, self.number)}"

    @functools.cached_property
    def companions(self) -> Companions:
        """The JSON files of the trial, read when first asked for."""
        return read_companions(self.path)

    @property
    def record(self) -> TrialRecord | None:
        """The record of this project's harness (typed outcome, ledger, provenance); None where it cannot be read."""
        return self.companions.record

    @property
    def meta_data(self) -> Mapping[str, Any]:
        """The newest `meta_data_<k>.json`, or empty."""
        return self.companions.meta_data or {}

    @property
    def flags(self) -> Mapping[str, Any]:
        """The newest `flags_<k>.json`, or empty."""
        return self.companions.flags or {}

    @property
    def hyperparameters(self) -> Mapping[str, Any] | None:
        """`hparams.json`, or None where there is none."""
        return self.companions.hyperparameters or None


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


def read_logs(directory: Path | str, workloads: Mapping[str, WorkloadRule], *, ledger: bool = True) -> LogTree:
    """Reads every trial below `directory`.

    Args:
      directory: holds the folders of submissions.
      workloads: tells which workloads are known and their target metrics.
      ledger: read everything; otherwise the arrays that times to target do without are NaN.

    Raises:
      LogsError: the folder does not exist or holds no study of any submission.
    """
    root = Path(directory).expanduser()
    if not root.is_dir():
        raise LogsError(f"{root} is no folder; expected {layout.LAYOUT} in it")
    walk = _Walk(root, workloads, ledger=ledger)
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


class _Entry(NamedTuple):
    path: Path
    name: str
    is_folder: bool


class _Walk:
    """One pass over the folders of logs. Fills `submissions`, `trials` and `findings` from what it meets.

    Folders are matched level by level: submission, study, workload and framework, trial. An entry that matches no
    level is reported as an issue and skipped.
    """

    def __init__(self, root: Path, workloads: Mapping[str, WorkloadRule], *, ledger: bool) -> None:
        self.root = root
        self.ledger = ledger
        self.workloads = workloads
        self.trials: list[Trial] = []
        self.findings: list[LogIssue] = []
        self.submissions: set[str] = set()
        self._unreadable: set[Path] = set()
        self._seen: dict[tuple[str, int, str, str, int], Path] = {}

    def report_issue(self, path: Path, code: str, message: str, severity: Severity = Severity.WARNING) -> None:
        where = os.path.relpath(path, self.root)
        self.findings.append(LogIssue(path=where, code=code, severity=severity, message=message))

    def submissions_of(self, folder: Path, depth: int = 0) -> None:
        if depth == 0 and self._holds_results(folder):
            self._submission(folder.resolve().name, folder)
            return
        for entry in self._entries(folder, hidden=True):
            if entry.name.startswith("."):
                if entry.is_folder and self._holds_results(entry.path):
                    self.report_issue(entry.path, "hidden_submission", "a hidden folder with results; ignored")
            elif not entry.is_folder:
                self.report_issue(
                    entry.path, _STRAY_FILE, "a file where a submission's folder is expected; ignored", Severity.NOTE
                )
            elif self._holds_results(entry.path):
                dated = _DATE_SUFFIX.fullmatch(entry.name)
                self._submission(dated["name"] if dated else entry.name, entry.path)
            elif depth == 0 and any(e.is_folder and self._holds_results(e.path) for e in self._entries(entry.path)):
                self.submissions_of(entry.path, depth=1)  # an extra level of team folders, as in AlgoPerf v0.5
            elif entry.path not in self._unreadable:
                self.report_issue(entry.path, _NO_STUDY, "holds no study_<s> folder; ignored")

    def _holds_results(self, folder: Path) -> bool:
        return any(
            e.is_folder and (layout.study_number(e.name) is not None or self._parse_workload(e.name))
            for e in self._entries(folder)
        )

    def _entries(self, folder: Path, *, hidden: bool = False) -> list[_Entry]:
        """What is in `folder`, in numeric order; links count as what they lead to."""
        try:
            with os.scandir(folder) as listing:
                entries = [(e.name, _is_folder(e)) for e in listing if hidden or not e.name.startswith(".")]
        except OSError as error:
            self._unreadable.add(folder)
            message = f"the folder cannot be read ({error.strerror}); what is in it counts as missing"
            self.report_issue(folder, "unreadable_folder", message)
            return []
        return [
            _Entry(folder / name, name, is_folder)
            for name, is_folder in sorted(entries, key=lambda e: _numeric_key(e[0]))
        ]

    def _parse_workload(self, name: str) -> tuple[str, str] | None:
        named = layout.workload_and_framework(name)
        return named if named and named[0] in self.workloads else None

    def _submission(self, name: str, folder: Path) -> None:
        self.submissions.add(name)
        for entry in self._entries(folder):
            study, named = layout.study_number(entry.name), self._parse_workload(entry.name)
            if study is not None and entry.is_folder:
                self._study(name, study, entry.path)
            elif named and entry.is_folder:
                self.report_issue(
                    entry.path, "no_study_level", "a workload without a study folder; counted as study_0", Severity.NOTE
                )
                self._workload(name, 0, entry.path, *named)
            elif entry.name not in INFO_FILES:
                self.report_issue(entry.path, "stray_entry", "expected study_<s>; ignored", Severity.NOTE)

    def _study(self, submission: str, study: int, folder: Path) -> None:
        for entry in self._entries(folder):
            named = self._parse_workload(entry.name)
            if named and entry.is_folder:
                self._workload(submission, study, entry.path, *named)
            elif entry.is_folder and layout.workload_and_framework(entry.name):
                self.report_issue(entry.path, "unknown_workload", f"unknown workload {entry.name!r}; ignored")
            else:
                self.report_issue(
                    entry.path, "stray_entry", "expected <workload>_<jax|pytorch>; ignored", Severity.NOTE
                )

    def _workload(self, submission: str, study: int, folder: Path, workload: str, framework: str) -> None:
        is_matched = False
        for entry in self._entries(folder):
            number = layout.trial_number(entry.name)
            if number is not None and entry.is_folder:
                is_matched = True
                key = (submission, study, workload, framework, number)
                if key in self._seen:
                    first = os.path.relpath(self._seen[key], self.root)
                    self.report_issue(
                        entry.path, "duplicate_trial", f"the same trial as {first}, which is kept; ignored"
                    )
                    continue
                self._seen[key] = entry.path
                self.trials.append(self._trial(key, entry.path))
            elif entry.is_folder and entry.name != layout.TRACES:
                self.report_issue(entry.path, "stray_entry", "expected trial_<k>; ignored", Severity.NOTE)
        if not is_matched:
            self.report_issue(folder, "no_trial", "holds no trial_<k> folder")

    def _trial(self, key: tuple[str, int, str, str, int], folder: Path) -> Trial:
        submission, study, workload, framework, number = key
        rule = self.workloads[workload]
        status = LogStatus.READ
        curves: dict[str, Any] = dict.fromkeys(ARRAYS, np.empty(0))

        def report(code: str, message: str, severity: Severity) -> None:
            self.report_issue(folder, code, message, severity)

        try:
            curves = read_curves(folder, rule, report, ledger=self.ledger)
        except UnreadableTableError as error:
            report(error.code, f"{error}; the trial counts as a miss", error.severity)
            status = LogStatus.MISSING if error.code == "no_eval_csv" else LogStatus.UNREADABLE
        except OSError as error:
            report("unreadable_file", f"{error.strerror}; the trial counts as a miss", Severity.WARNING)
            status = LogStatus.UNREADABLE
        return Trial(
            submission=submission,
            study=study,
            workload=workload,
            framework=framework,
            number=number,
            path=folder,
            status=status,
            **curves,
        )

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


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _numeric_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", name)
    return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts], name
