"""What a person reads when the command ends."""

import re
import sys
from collections.abc import Sequence
from typing import TextIO

from algoperf.records.layout import TRIAL_FILE
from algoperf.reporting import show as show_line
from algoperf.runner.trial_end import TrialResult

_FRAME = re.compile(r'  File ".*", line \d+')
_MAX_ERROR_LENGTH = 300


def show(results: Sequence[TrialResult], *, ledger: bool = False, stream: TextIO | None = None) -> None:
    """Prints one line per trial, its error if it failed, and where the results are."""
    stream = stream or sys.stderr
    for result in (result for result in results if result.is_shown):
        show_line(_line(result), stream)
        if result.record.error:
            show_line(f"  {error_line(result.record.error)}", stream)
            if _is_traceback(result.record.error):
                show_line(f"  the whole traceback is under 'error' in {result.trial_dir / TRIAL_FILE}", stream)
        for phrase in (result.record.provenance.get("ranks") or {}).get("slow", ()):
            show_line(f"  slow: {phrase}", stream)
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


def error_line(error: str) -> str:
    """The line of a traceback that names its last exception, shortened; notes of frameworks after it are left out."""
    lines = error.strip().splitlines()
    frames = [index for index, line in enumerate(lines) if _FRAME.match(line)]
    after = lines[frames[-1] + 1 :] if frames else lines[-1:]
    line = next((line for line in after if line and not line.startswith(" ")), lines[-1]).strip()
    return line if len(line) <= _MAX_ERROR_LENGTH else f"{line[:_MAX_ERROR_LENGTH]} ..."


def _is_traceback(error: str) -> bool:
    return len(error.strip().splitlines()) > 1


def _show_ledger(result: TrialResult, stream: TextIO) -> None:
    ledger = result.record.ledger
    total = ledger.total_s or 1.0
    for item, value in ledger.seconds().items():
        show_line(f"  {item.removesuffix('_s'):20s} {value:10.2f} s {value / total:6.1%}", stream)
