"""How a run ended."""

import enum


class Outcome(enum.StrEnum):
    """Typed end of a trial, written to `trial.json`."""

    REACHED = "reached"
    OUT_OF_TIME = "out_of_time"
    COMPLETED = "completed"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    CRASHED = "crashed"
    RULE_VIOLATION = "rule_violation"
    INTERRUPTED = "interrupted"

    @property
    def is_final(self) -> bool:
        """Whether the trial is finished: it is not run again. An interrupted or crashed trial can be resumed."""
        return self not in (Outcome.INTERRUPTED, Outcome.CRASHED)

    @property
    def is_failure(self) -> bool:
        """Whether the command should end with an error."""
        return self in (Outcome.DIVERGED, Outcome.OUT_OF_MEMORY, Outcome.CRASHED, Outcome.RULE_VIOLATION)
