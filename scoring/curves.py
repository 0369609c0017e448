"""The curves of one trial, from its table of evaluations: which rows count, and which make the trial a miss."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from algoperf.records import best, columns, layout
from scoring.eval_table import EvalTable, UnreadableTableError, read_eval_table
from scoring.log_issues import Severity
from scoring.rules import WorkloadRule

ARRAYS = (
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
# A target that is met after so little submission time was not met by training.
SHORTEST_TIME_TO_TARGET_S = 0.001
_TIME_COLUMNS = (columns.SUBMISSION_TIME, columns.SCORE)
_LEDGER_COLUMNS = (columns.GLOBAL_STEP, columns.EVALUATION_TIME, columns.LOGGING_TIME, columns.TOTAL_DURATION)

Report = Callable[[str, str, Severity], None]


def read_curves(folder: Path, rule: WorkloadRule, report: Report, *, ledger: bool = True) -> dict[str, np.ndarray]:
    """Returns the arrays that ARRAYS names, as `scoring.logs.Trial` holds them.

    Args:
      folder: of the trial.
      rule: of its workload.
      report: is called with code, message and severity of each oddity that leaves the trial readable.
      ledger: read all columns; otherwise those that times to target do without are NaN.

    Raises:
      UnreadableTableError: the trial counts as a miss.
      OSError: the system refuses to read the file.
    """
    path, everything = folder / layout.EVALUATIONS, {rule.validation_column, rule.test_column, *_LEDGER_COLUMNS}
    table = read_eval_table(path, everything if ledger else {rule.validation_column}, first_of=_TIME_COLUMNS)
    if not ledger and _goes_back(_checked_time(table, rule)):  # the order of rows is judged by steps too
        table = read_eval_table(path, everything, first_of=_TIME_COLUMNS)
    for repair in table.repairs:
        report("repaired_csv", repair, Severity.WARNING)
    raw_time = _checked_time(table, rule)
    keep = np.isfinite(raw_time) & (raw_time >= 0)
    if not keep.all():
        report("bad_time", f"{np.sum(~keep)} row(s) without a finite time >= 0 left out", Severity.WARNING)
    arrays = _arrays(table, raw_time, rule)
    infinite = np.isinf(table.columns[rule.validation_column]).sum()
    if infinite:
        report("infinite_metric", f"{infinite} infinite metric value(s) read as NaN", Severity.WARNING)
    if not keep.all():
        arrays = {name: values[keep] for name, values in arrays.items()}
    arrays = _in_order(arrays, report)
    _check_first_on_target(arrays, rule)
    raw_validation = arrays["validation"] if len(arrays["validation"]) == len(raw_time) else None
    if raw_validation is None:
        raw_validation = _finite(table.columns[rule.validation_column])
    return arrays | {"raw_time_s": raw_time, "raw_validation": raw_validation}


def _checked_time(table: EvalTable, rule: WorkloadRule) -> np.ndarray:
    time_s = table.columns.get(columns.SUBMISSION_TIME, table.columns.get(columns.SCORE))
    if time_s is None:
        raise UnreadableTableError(
            "no_time_column", f"neither column {columns.SUBMISSION_TIME!r} nor {columns.SCORE!r} is there"
        )
    if rule.validation_column not in table.columns:
        raise UnreadableTableError("no_metric_column", f"the column {rule.validation_column!r} is missing")
    if not len(time_s):
        raise UnreadableTableError("no_rows", f"{layout.EVALUATIONS} has a header and no rows")
    if len(time_s) > 1 and not time_s.any():
        raise UnreadableTableError("no_time_passes", "every time is 0", Severity.ERROR)
    return time_s


def _arrays(table: EvalTable, raw_time: np.ndarray, rule: WorkloadRule) -> dict[str, np.ndarray]:
    logged, blank = table.columns, np.full(len(raw_time), np.nan)
    test = logged.get(rule.test_column)
    return {
        "time_s": raw_time,
        "step": logged.get(columns.GLOBAL_STEP, blank),
        "validation": _finite(logged[rule.validation_column]),
        "test": blank if test is None else _finite(test),
        "eval_time_s": logged.get(columns.EVALUATION_TIME, blank),
        "logging_time_s": logged.get(columns.LOGGING_TIME, blank),
        "wall_s": logged.get(columns.TOTAL_DURATION, blank),
    }


def _in_order(arrays: dict[str, np.ndarray], report: Report) -> dict[str, np.ndarray]:
    """The rows in order of time: of a resumed run, which repeats what it had lost, those that no later row supersedes.

    Time may go back only where the global step does not go forward. A row after a restart keeps a time of at least what
    had been recorded before it, so that no restart gains time.
    """
    if not _goes_back(arrays["time_s"]):
        return arrays
    possible = _possible(arrays["time_s"], arrays["step"])
    if not possible.all():
        message = f"{np.sum(~possible)} row(s) whose time goes back while the global step does not left out"
        report("time_goes_back", message, Severity.ERROR)
        arrays = {name: values[possible] for name, values in arrays.items()}
    time_s = arrays["time_s"]
    later_minimum = np.minimum.accumulate(time_s[::-1])[::-1]
    superseded = np.append(later_minimum[1:] < time_s[:-1], False)
    if not superseded.any():
        return arrays
    message = f"{superseded.sum()} row(s) precede a restart at an earlier time and are superseded; left out"
    report("restarted", message, Severity.NOTE)
    charged = arrays | {"time_s": np.maximum.accumulate(time_s)}
    return {name: values[~superseded] for name, values in charged.items()}


def _goes_back(time_s: np.ndarray) -> bool:
    return bool((time_s[1:] < time_s[:-1]).any())


def _possible(time_s: np.ndarray, step: np.ndarray) -> np.ndarray:
    """Which rows may follow the row that was kept before them."""
    keep = np.ones(len(time_s), bool)
    last = 0
    for i in range(1, len(time_s)):
        keep[i] = time_s[i] >= time_s[last] or step[i] <= step[last]
        last = i if keep[i] else last
    return keep


def _check_first_on_target(arrays: dict[str, np.ndarray], rule: WorkloadRule) -> None:
    first = best.first_reached(arrays["validation"], rule.metric, rule.validation_target)
    if first is not None and (time_s := arrays["time_s"][first]) <= SHORTEST_TIME_TO_TARGET_S:
        message = f"the target is met after {time_s:g} s, expected more than {SHORTEST_TIME_TO_TARGET_S:g} s"
        raise UnreadableTableError("no_time_to_target", message, Severity.ERROR)


def _finite(values: np.ndarray) -> np.ndarray:
    finite = np.isfinite(values)
    return values if finite.all() else np.where(finite, values, np.nan)
