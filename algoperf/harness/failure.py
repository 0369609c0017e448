"""What an exception says about the end of a trial: who raised it, and which outcome that is."""

import traceback
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn

from algoperf.backends.base import Backend
from algoperf.errors import UserError
from algoperf.harness.signals import StopRequestedError, StopSignals
from algoperf.records.outcome import Outcome

_BENCHMARK = "algoperf"


@dataclass(frozen=True, kw_only=True)
class LoopResult:
    """End of a trial; `error` is the traceback of a crash or an out-of-memory error, or says what stopped the trial."""

    outcome: Outcome
    error: str | None = None


class SubmissionRaisedError(Exception):
    """A `UserError` that a submission raised itself: a failure of the submission, not a message to the user."""


class RuleViolationError(Exception):
    """A submission broke a rule and the run was asked to end at that; one line that names the rule."""


class TrainingFailedError(Exception):
    """Training in another process came to an end of its own.

    Attributes:
      outcome: of the trial.
      text: for its record.
    """

    def __init__(self, outcome: Outcome, text: str) -> None:
        super().__init__(text)
        self.outcome = outcome
        self.text = text


def reraise_from_submission(error: UserError) -> NoReturn:
    """Raises what came out of a hook, to be called by the function that called the hook.

    Raises:
      SubmissionRaisedError: the submission raised `error`.
      UserError: `error` itself, where the benchmark raised it below the hook: its log, its data.
    """
    assert error.__traceback__ is not None
    if _passes_through_benchmark(error.__traceback__.tb_next):
        raise error
    raise SubmissionRaisedError from error


def result_of(error: BaseException, backend: Backend, stop: StopSignals) -> LoopResult | None:
    """The end that `error` means for a trial; None for a `UserError`, which concerns the whole command."""
    if isinstance(error, SubmissionRaisedError) and error.__cause__ is not None:
        return LoopResult(outcome=Outcome.CRASHED, error=traceback_text(error.__cause__))
    if isinstance(error, UserError):
        return None
    if isinstance(error, StopRequestedError) or (isinstance(error, KeyboardInterrupt) and stop.is_set()):
        return LoopResult(outcome=Outcome.INTERRUPTED, error=f"stopped by {stop.received or error}")
    if isinstance(error, TrainingFailedError):
        return LoopResult(outcome=error.outcome, error=error.text)
    if isinstance(error, RuleViolationError):
        return LoopResult(outcome=Outcome.RULE_VIOLATION, error=str(error))
    text = traceback_text(error)  # before caches are freed, which may raise
    if backend.is_out_of_memory(error):
        backend.reset_memory()
        return LoopResult(outcome=Outcome.OUT_OF_MEMORY, error=text)
    return LoopResult(outcome=Outcome.CRASHED, error=text)


def traceback_text(error: BaseException) -> str:
    """The traceback as Python prints it, causes included."""
    return "".join(traceback.format_exception(error))


def _passes_through_benchmark(trace: TracebackType | None) -> bool:
    while trace is not None:
        if str(trace.tb_frame.f_globals.get("__name__", "")).partition(".")[0] == _BENCHMARK:
            return True
        trace = trace.tb_next
    return False
