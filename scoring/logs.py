"""Reads a folder of results: `<submission>/study_<s>/<workload>_<framework>/trial_<k>/`.

The names are matched strictly, order is numeric, and whatever does not fit is listed as a finding.
Logs of AlgoPerf and of this project are read alike; `eval_measurements.csv` alone is needed.
"""

import dataclasses
import enum
import functools
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scoring.eval_table import EvalTable, UnreadableTableError, read_eval_table
from scoring.log_issues import LogIssue, Severity
from scoring.rules import WorkloadRule

FRAMEWORKS = ("jax", "pytorch")
_STUDY = re.compile(r"study_(\d+)")
_TRIAL = re.compile(r"trial_(\d+)")
_WORKLOAD = re.compile(rf"(?P<name>[a-z0-9_]+)_(?P<framework>{'|'.join(FRAMEWORKS)})")
_DATE_SUFFIX = re.compile(r"(?P<name>.+)-\d{4}-\d{2}-\d{2}-\d{2}-\d{2}-\d{2}")
TIME = "accumulated_submission_time"
SCORE = "score"
STEP = "global_step"
EVAL_TIME = "accumulated_eval_time"
LOGGING_TIME = "accumulated_logging_time"
WALL = "total_duration"
# Codes of findings about what lies beside the folders of submissions.
_STRAY_FILE, _NO_STUDY = "stray_file", "no_study"
_BESIDE_SUBMISSIONS = {_STRAY_FILE, _NO_STUDY}
_PLAIN_COLUMNS = (TIME, SCORE, STEP, EVAL_TIME, LOGGING_TIME, WALL)


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
        return f"{self.submission}/study_{self.study}/{self.workload}_{self.framework}/trial_{self.number}"

    @functools.cached_property
    def record(self) -> Mapping[str, Any]:
        """`trial.json` of this project's harness (typed outcome, ledger, provenance); empty for other logs."""
        return _read_json(self.path / "trial.json")

    @functools.cached_property
    def meta_data(self) -> Mapping[str, Any]:
        """The newest `meta_data_<k>.json`, or empty."""
        return _newest_json(self.path, "meta_data")

    @functools.cached_property
    def flags(self) -> Mapping[str, Any]:
        """The newest `flags_<k>.json`, or empty."""
        return _newest_json(self.path, "flags")

    @functools.cached_property
    def hyperparameters(self) -> Mapping[str, Any] | None:
        """`hparams.json`, or None where there is none."""
        return _read_json(self.path / "hparams.json") or None


@dataclass(frozen=True, kw_only=True)
class LogTree:
    """All trials under a folder, sorted, and what was noticed. `submissions` includes those without trials."""

    root: Path
    submissions: tuple[str, ...]
    trials: tuple[Trial, ...]
    findings: tuple[LogIssue, ...]

    def keeping(self, submissions: set[str], *, only_asked_for: bool = False) -> "LogTree":
        """Those submissions alone; where they were asked for by name, what else lies beside them is no finding."""
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
        raise LogsError(f"{root} is no folder; expected <submission>/study_<s>/<workload>_<framework>/trial_<k>/ in it")
    walk = _Walk(root, workloads)
    walk.submissions_of(root)
    if not walk.submissions:
        raise LogsError(
            f"{root} holds no results; expected <submission>/study_<s>/<workload>_<framework>/trial_<k>/ in it"
        )
    walk.drop_second_framework()
    trials = sorted(walk.trials, key=lambda t: (t.submission, t.workload, t.study, t.number))
    return LogTree(
        root=root,
        submissions=tuple(sorted(walk.submissions)),
        trials=tuple(trials),
        findings=tuple(sorted(set(walk.findings))),
    )


class _Walk:
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
            e.is_dir() and (_STUDY.fullmatch(e.name) or self._parse_workload(e.name)) for e in _sorted_entries(folder)
        )

    def _parse_workload(self, name: str) -> tuple[str, str] | None:
        match = _WORKLOAD.fullmatch(name)
        return (match["name"], match["framework"]) if match and match["name"] in self.workloads else None

    def _submission(self, name: str, folder: Path) -> None:
        self.submissions.add(name)
        for entry in _sorted_entries(folder):
            match, named = _STUDY.fullmatch(entry.name), self._parse_workload(entry.name)
            if match and entry.is_dir():
                self._study(name, int(match[1]), entry)
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
            elif entry.is_dir() and _WORKLOAD.fullmatch(entry.name):
                self.report_issue(entry, "unknown_workload", f"unknown workload {entry.name!r}; ignored")
            else:
                self.report_issue(entry, "stray_entry", "expected <workload>_<jax|pytorch>; ignored", Severity.NOTE)

    def _workload(self, submission: str, study: int, folder: Path, workload: str, framework: str) -> None:
        found = False
        for entry in _sorted_entries(folder):
            match = _TRIAL.fullmatch(entry.name)
            if match and entry.is_dir():
                found = True
                key = (submission, study, workload, framework, int(match[1]))
                if key in self._seen:
                    first = os.path.relpath(self._seen[key], self.root)
                    self.report_issue(entry, "duplicate_trial", f"the same trial as {first}, which is kept; ignored")
                    continue
                self._seen[key] = entry
                self.trials.append(self._trial(key, entry))
            elif entry.is_dir() and entry.name != "traces":
                self.report_issue(entry, "stray_entry", "expected trial_<k>; ignored", Severity.NOTE)
        if not found:
            self.report_issue(folder, "no_trial", "holds no trial_<k> folder")

    def _trial(self, key: tuple[str, int, str, str, int], folder: Path) -> Trial:
        submission, study, workload, framework, number = key
        rule = self.workloads[workload]
        status, fields = LogStatus.READ, {}
        try:
            wanted = {*_PLAIN_COLUMNS, rule.validation_column, rule.test_column}
            table = read_eval_table(folder / "eval_measurements.csv", wanted)
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
        columns = table.columns
        raw_time = columns.get(TIME, columns.get(SCORE))
        if raw_time is None:
            raise UnreadableTableError("no_time_column", f"neither column {TIME!r} nor {SCORE!r} is there")
        if rule.validation_column not in columns:
            raise UnreadableTableError("no_metric_column", f"the column {rule.validation_column!r} is missing")
        if not len(raw_time):
            raise UnreadableTableError("no_rows", "eval_measurements.csv has a header and no rows")
        blank = np.full(len(raw_time), np.nan)
        keep = np.isfinite(raw_time) & (raw_time >= 0)
        if not keep.all():
            self.report_issue(folder, "bad_time", f"{np.sum(~keep)} row(s) without a finite time >= 0 left out")
        superseded = _superseded(np.where(keep, raw_time, np.inf)) & keep
        if superseded.any():
            message = f"{superseded.sum()} row(s) precede a restart at an earlier time and are superseded; left out"
            self.report_issue(folder, "restarted", message, Severity.NOTE)
            keep &= ~superseded
        validation = columns[rule.validation_column]
        if np.isinf(validation).any():
            self.report_issue(
                folder, "infinite_metric", f"{np.isinf(validation).sum()} infinite metric value(s) read as NaN"
            )
        arrays = {
            "time_s": raw_time,
            "step": columns.get(STEP, blank),
            "validation": _finite(validation),
            "test": _finite(columns.get(rule.test_column, blank)),
            "eval_time_s": columns.get(EVAL_TIME, blank),
            "logging_time_s": columns.get(LOGGING_TIME, blank),
            "wall_s": columns.get(WALL, blank),
        }
        kept = arrays if keep.all() else {name: values[keep] for name, values in arrays.items()}
        return kept | {"raw_time_s": raw_time, "raw_validation": _finite(validation)}

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


def _newest_json(folder: Path, stem: str) -> Mapping[str, Any]:
    numbered = [
        (int(match[1]), entry)
        for entry in _sorted_entries(folder)
        if (match := re.fullmatch(rf"{stem}_(\d+)\.json", entry.name))
    ]
    return _read_json(max(numbered)[1]) if numbered else {}


def _read_json(path: Path) -> Mapping[str, Any]:
    """The object in a JSON file; empty when there is none: these files inform, the score never needs them."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
