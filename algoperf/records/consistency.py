"""Whether the records of a trial agree with each other: evaluations, ledger and totals."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence

from algoperf.records import columns
from algoperf.records.trial import TrialRecord

_RELATIVE = 1e-6
_ABSOLUTE_S = 0.05  # several processes and rounding
Row = Mapping[str, float]


def contradictions(record: TrialRecord, rows: Sequence[Row]) -> list[str]:
    """One sentence for each thing in the evaluations of a trial that its record excludes, or that excludes itself.

    Args:
      record: of the trial.
      rows: its evaluations, oldest first: numbers by column. Columns that are missing are not looked at.
    """
    return [*_of_ledger(record), *_of_rows(rows), *_of_both(record, rows)]


def _of_ledger(record: TrialRecord) -> Iterator[str]:
    ledger = record.ledger
    charged_s = ledger.data_selection_s + ledger.update_s + ledger.prepare_for_eval_s
    if _differ(charged_s, record.submission_time_s):
        yield (
            f"the charged items of the ledger add up to {charged_s:.6g} s, and the submission time is "
            f"{record.submission_time_s:.6g} s"
        )


def _of_rows(rows: Sequence[Row]) -> Iterator[str]:
    for previous, row in itertools.pairwise(rows):
        for name in (columns.SUBMISSION_TIME, columns.EVALUATION_TIME, columns.GLOBAL_STEP):
            if row.get(name, math.nan) < previous.get(name, math.nan):
                yield f"{name} goes back from {previous[name]:.6g} to {row[name]:.6g}"
    for row in rows:
        times = [row.get(name, math.nan) for name in (columns.SCORE, columns.SUBMISSION_TIME)]
        if _differ(*times):
            yield f"an evaluation has score {times[0]:.6g} and submission time {times[1]:.6g}"
        parts_s = row.get(columns.SUBMISSION_TIME, math.nan) + row.get(columns.EVALUATION_TIME, math.nan)
        if parts_s > row.get(columns.TOTAL_DURATION, math.nan) * (1 + _RELATIVE) + _ABSOLUTE_S:
            yield (
                f"submission and evaluation time of an evaluation are {parts_s:.6g} s, more than its total duration of "
                f"{row[columns.TOTAL_DURATION]:.6g} s"
            )


def _of_both(record: TrialRecord, rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    last = rows[-1]
    for name, total, what in (
        (columns.SUBMISSION_TIME, record.submission_time_s, "submission time"),
        (columns.EVALUATION_TIME, record.ledger.evaluation_s, "evaluation time"),
        (columns.GLOBAL_STEP, float(record.global_step), "step"),
    ):
        if last.get(name, math.nan) > total * (1 + _RELATIVE) + (_ABSOLUTE_S if name != columns.GLOBAL_STEP else 0):
            yield f"the last evaluation has {what} {last[name]:.6g}, and the whole run {total:.6g}"
    best = record.best_validation
    reached_s = best.time_to_target_s if best is not None else None
    times = {row.get(columns.SUBMISSION_TIME, math.nan) for row in rows}
    if reached_s is not None and all(_differ(time_s, reached_s) for time_s in times):
        yield f"trial.json reached the target at {reached_s:.6g} s, when there was no evaluation"


def _differ(one: float, other: float) -> bool:
    """Whether two numbers differ beyond rounding; NaN differs from nothing."""
    return abs(one - other) > _RELATIVE * max(abs(one), abs(other)) + 1e-9
