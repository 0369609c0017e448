"""Tidy tables of a board for pandas, R and papers: one row per trial, study and evaluation, and the board in LaTeX."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.definition import Direction
from algoperf.errors import UserError
from algoperf.records import best
from scoring.board import Board
from scoring.csv_files import write_csv
from scoring.log_issues import printable
from scoring.logs import LogStatus, LogTree, Trial
from scoring.outcomes import ending
from scoring.rules import WorkloadRule
from scoring.times import own_budget_s

CSV, PARQUET, LATEX = "csv", "parquet", "latex"
FORMATS = (CSV, PARQUET, LATEX)
KEYS = ("submission", "framework", "workload", "study", "trial")
_CURVES = ("time_s", "step", "validation", "test", "eval_time_s", "logging_time_s", "wall_s")
_LATEX_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


class TablesError(UserError):
    """A table cannot be written in the format asked for."""


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial. What happens after the budget does not count; a time of inf is a miss, NaN is not known.

    Attributes:
      counts: the rules know this study, trial and workload.
      status: of the log; `outcome`: how the run ended.
      time_to_target_s, steps_to_target: submission time and global step when the validation target was first met.
      time_to_test_target_s: the same for the test target; NaN where the rules have none or no test metric is logged.
      distance_to_target: how much the best validation value falls short, over the size of the target; at most 0 where
        the target is met.
    """

    submission: str
    framework: str
    workload: str
    study: int
    trial: int
    counts: bool
    status: str
    outcome: str
    budget_s: float
    validation_target: float
    time_to_target_s: float
    steps_to_target: float
    evaluations_to_target: float
    time_to_test_target_s: float
    best_validation: float
    distance_to_target: float
    last_time_s: float
    last_step: float


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """One study. `trial` is the one that counts: the fastest to the target, else the nearest to it; see TrialRow."""

    submission: str
    framework: str
    workload: str
    study: int
    trial: int
    trials_read: int
    time_to_target_s: float
    steps_to_target: float
    time_to_test_target_s: float
    distance_to_target: float


def trial_rows(tree: LogTree, board: Board) -> list[TrialRow]:
    """A row for each trial whose workload the rules know, in the order of the tree."""
    return [_trial_row(trial, board) for trial in tree.trials]


def study_rows(trials: Sequence[TrialRow]) -> list[StudyRow]:
    """A row for each study that has a trial that counts, in the order of `trials`."""
    grouped: dict[tuple[str, str, str, int], list[TrialRow]] = {}
    for row in trials:
        if row.counts:
            grouped.setdefault((row.submission, row.framework, row.workload, row.study), []).append(row)
    return [_study_row(group) for group in grouped.values()]


def evaluation_columns(tree: LogTree) -> dict[str, list[Any] | np.ndarray]:
    """Columns of all evaluations that were read: KEYS, the number of the evaluation from 0, and the logged curves."""
    read = [t for t in tree.trials if t.status is LogStatus.READ]
    lengths = [len(t.time_s) for t in read]
    keys = [(t.submission, t.framework, t.workload, t.study, t.number) for t in read]
    columns: dict[str, list[Any] | np.ndarray] = {
        name: [key[i] for key, length in zip(keys, lengths, strict=True) for _ in range(length)]
        for i, name in enumerate(KEYS)
    }
    columns["evaluation"] = np.concatenate([np.empty(0, int), *[np.arange(length) for length in lengths]])
    for name in _CURVES:
        columns[name] = np.concatenate([np.empty(0), *[getattr(t, name) for t in read]])
    return columns


def write_tidy_tables(tree: LogTree, board: Board, output_dir: Path, formats: Collection[str]) -> list[Path]:
    """Writes `trials`, `studies` and `evaluations` as CSV and Parquet, whichever `formats` has; returns the paths.

    Raises:
      TablesError: Parquet is asked for and pyarrow is not installed.
    """
    if not {CSV, PARQUET} & set(formats):
        return []
    trials = trial_rows(tree, board)
    tables = {
        "trials": _columns(trials, TrialRow),
        "studies": _columns(study_rows(trials), StudyRow),
        "evaluations": evaluation_columns(tree),
    }
    written = []
    for name, columns in tables.items():
        if CSV in formats:
            plain = [c.tolist() if isinstance(c, np.ndarray) else c for c in columns.values()]
            written.append(write_csv(output_dir / f"{name}.csv", list(columns), zip(*plain, strict=True)))
        if PARQUET in formats:
            written.append(_write_parquet(output_dir / f"{name}.parquet", columns))
    return written


def check_formats(formats: Collection[str]) -> None:
    """Raises TablesError for a format that is not known or lacks its library."""
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise TablesError(f"--tables expects a comma list of {', '.join(FORMATS)}, got {', '.join(unknown)}")
    if PARQUET in formats:
        _parquet()


def board_latex(board: Board, intervals: Mapping[str, tuple[float, float]]) -> str:
    """The board as LaTeX (package booktabs); `intervals` are 95 % limits of scores, empty without statistics."""
    ranks = board.ranks()
    lines = [r"\begin{tabular}{rlrrr}", r"\toprule"]
    lines += [r"Rank & Submission & Score & 95\,\% interval & Workloads \\", r"\midrule"]
    for i in board.ranking():
        name = board.submissions[i]
        low, high = intervals.get(name, (np.nan, np.nan))
        interval = "--" if np.isnan(low) else f"{low:.3f} to {high:.3f}"
        solved = f"{np.isfinite(board.qualified_s[i]).sum()}/{len(board.rules.base_workloads)}"
        lines.append(rf"{ranks[i]} & {_latex(name)} & {board.scores[i]:.4f} & {interval} & {solved} \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _trial_row(trial: Trial, board: Board) -> TrialRow:
    rule, times = board.rules.workloads[trial.workload], board.times
    budget_s = own_budget_s(trial, rule.max_runtime_s * board.tuning.budget_factor)
    within = trial.time_s <= budget_s
    validation = trial.validation[within]
    first = best.first_reached(validation, rule.metric, rule.validation_target)
    top = best.best_index(validation, rule.metric) if len(validation) else None
    value = np.nan if top is None else float(validation[top])
    return TrialRow(
        submission=trial.submission,
        framework=trial.framework,
        workload=trial.workload,
        study=trial.study,
        trial=trial.number,
        counts=trial.study in times.studies
        and trial.number in times.trial_numbers
        and trial.workload in board.rules.scored_workloads,
        status=str(trial.status),
        outcome=str(ending(trial, rule, budget_s).outcome),
        budget_s=budget_s,
        validation_target=rule.validation_target,
        time_to_target_s=np.inf if first is None else float(trial.time_s[first]),
        steps_to_target=np.nan if first is None else float(trial.step[first]),
        evaluations_to_target=np.nan if first is None else float(first + 1),
        time_to_test_target_s=_time_to_test_target(trial, rule, within),
        best_validation=value,
        distance_to_target=_shortfall(value, rule),
        last_time_s=float(trial.time_s[-1]) if len(trial.time_s) else np.nan,
        last_step=float(trial.step[-1]) if len(trial.step) else np.nan,
    )


def _time_to_test_target(trial: Trial, rule: WorkloadRule, within: np.ndarray) -> float:
    if rule.test_target is None or not np.isfinite(trial.test).any():
        return np.nan
    first = best.first_reached(trial.test[within], rule.metric, rule.test_target)
    return np.inf if first is None else float(trial.time_s[within][first])


def _shortfall(value: float, rule: WorkloadRule) -> float:
    sign = 1.0 if rule.metric.direction is Direction.MAXIMIZE else -1.0
    return sign * (rule.validation_target - value) / (abs(rule.validation_target) or 1.0)


def _study_row(group: Sequence[TrialRow]) -> StudyRow:
    chosen = min(group, key=lambda r: (r.time_to_target_s, np.nan_to_num(r.distance_to_target, nan=np.inf), r.trial))
    return StudyRow(
        submission=chosen.submission,
        framework=chosen.framework,
        workload=chosen.workload,
        study=chosen.study,
        trial=chosen.trial,
        trials_read=sum(row.status == LogStatus.READ for row in group),
        time_to_target_s=chosen.time_to_target_s,
        steps_to_target=chosen.steps_to_target,
        time_to_test_target_s=chosen.time_to_test_target_s,
        distance_to_target=chosen.distance_to_target,
    )


def _columns(rows: Sequence[TrialRow | StudyRow], kind: type) -> dict[str, list[Any] | np.ndarray]:
    return {field.name: [getattr(row, field.name) for row in rows] for field in dataclasses.fields(kind)}


def _parquet() -> Any:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise TablesError(
            "Parquet needs pyarrow, which is not installed; pip install 'algoperf[scoring-tables]', or say --tables=csv"
        ) from error
    return parquet


def _write_parquet(path: Path, columns: Mapping[str, list[Any] | np.ndarray]) -> Path:
    parquet = _parquet()
    import pyarrow

    safe = {
        name: [printable(v) for v in column] if name == "submission" else column for name, column in columns.items()
    }
    parquet.write_table(pyarrow.table(safe), path)
    return path


def _latex(text: str) -> str:
    return "".join(_LATEX_ESCAPES.get(character, character) for character in printable(text))
