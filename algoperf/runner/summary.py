"""What a person reads when the command ends."""

import sys
from collections.abc import Sequence
from typing import TextIO

from algoperf.runner.trial import TrialResult


def show(results: Sequence[TrialResult], *, ledger: bool = False, stream: TextIO | None = None) -> None:
    """Prints one line per trial, its error if it failed, and where the results are."""
    stream = stream or sys.stderr
    for result in (result for result in results if result.is_shown):
        print(_line(result), file=stream)
        if result.record.error:
            print(_last_line(result.record.error), file=stream)
        if ledger:
            _show_ledger(result, stream)


def _line(result: TrialResult) -> str:
    record = result.record
    best = record.best_validation
    reached = ""
    if best is not None:
        reached = f", best validation {best.value:.5g} at step {best.global_step}"
        if best.time_to_target_s is not None:
            reached += f", target reached after {best.time_to_target_s:.1f} s"
    return (
        f"{result.trial_dir}: {result.outcome} at step {record.global_step} after "
        f"{record.submission_time_s:.1f} of {record.budget_s:.0f} s{reached}"
    )


def _last_line(error: str) -> str:
    return "  " + error.strip().splitlines()[-1]


def _show_ledger(result: TrialResult, stream: TextIO) -> None:
    ledger = result.record.ledger
    total = ledger.total_s or 1.0
    for item, value in ledger.seconds().items():
        print(f"  {item.removesuffix('_s'):20s} {value:10.2f} s {value / total:6.1%}", file=stream)
