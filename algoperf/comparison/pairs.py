"""From two runs with the same seed to what is known of their ratio of times."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

from algoperf.definition import Split, WorkloadDefinition
from algoperf.errors import UserError
from algoperf.records import columns
from algoperf.records.layout import EVALUATIONS
from algoperf.records.outcome import Outcome
from algoperf.records.step_costs import RelativeStepCost
from algoperf.records.trial import TrialRecord

# A pair counts at most as a factor of 1.5: the slower run of a pair may end there, and one odd seed decides nothing.
MAX_RATIO = 1.5


class CrashedRunError(UserError):
    """A run crashed, which says nothing about speed; one line that names its folder."""


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How far a run came.

    Attributes:
      steps: at the first evaluation on target; None where there is none.
      at_least: number of steps that the target would have taken at least; infinite where training ended by itself.
    """

    steps: int | None
    at_least: float

    @classmethod
    def read(cls, folder: Path, definition: WorkloadDefinition) -> Self | None:
        """From the folder of a trial; None where it has not ended.

        Raises:
          CrashedRunError: the submission crashed or ran out of memory.
        """
        record = TrialRecord.read(folder)
        if record is None or record.outcome is Outcome.INTERRUPTED:
            return None
        if record.outcome in (Outcome.CRASHED, Outcome.OUT_OF_MEMORY):
            reason = (record.error or "no message").strip().splitlines()[-1]
            raise CrashedRunError(f"{record.outcome} after {record.global_step} steps, see {folder}: {reason}")
        steps = _first_reached(folder / EVALUATIONS, definition)
        limited = record.outcome in (Outcome.OUT_OF_TIME, Outcome.COMPLETED)
        return cls(steps=steps, at_least=steps or (float(record.global_step) if limited else math.inf))


def _first_reached(path: Path, definition: WorkloadDefinition) -> int | None:
    column = columns.metric_column(Split.VALIDATION, definition.metric.name)
    if not path.is_file():
        return None
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            value = row.get(column)
            if value and definition.metric.reached(float(value), definition.validation_target):
                return int(float(row[columns.GLOBAL_STEP]))
    return None


class Outcomes(NamedTuple):
    """Bounds of log(time against / time mine) / log(MAX_RATIO), cut to [-1, 1]; above 0 mine was faster."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two runs of one workload with the same seed.

    Attributes:
      workload, study: of both.
      mine, against: their ends.
      cost: of a step of mine, in steps of the other.
    """

    workload: str
    study: int
    mine: RunEnd
    against: RunEnd
    cost: RelativeStepCost

    @property
    def outcomes(self) -> Outcomes:
        """What is known. A run that missed the target would have taken at least as long as it ran.

        Where both missed, nothing is: that counts as a draw, 0.
        """
        if self.mine.steps is None and self.against.steps is None:
            return Outcomes(0.0, 0.0)
        low, high = -math.inf, math.inf
        if self.mine.steps is not None:
            low = _log(self.against.at_least / (self.mine.steps * self.cost.high))
        if self.against.steps is not None:
            high = _log(self.against.steps / (self.mine.at_least * self.cost.low))
        return Outcomes(_cut(low), max(_cut(low), _cut(high)))

    @property
    def ratio(self) -> float:
        """Time of mine over time of the other; 0 or infinite where one missed, NaN where both did."""
        if self.mine.steps is None:
            return math.nan if self.against.steps is None else math.inf
        return 0.0 if self.against.steps is None else self.mine.steps * self.cost.ratio / self.against.steps

    @property
    def summary(self) -> str:
        """The ratio of times in words, with what is known where a target was missed."""
        if self.mine.steps is None:
            return "both missed" if self.against.steps is None else f"missed after {self.mine.at_least:.0f} steps"
        return "the other missed" if self.against.steps is None else f"{self.ratio:.2f} times the other's time"


def steps_that_decide(against: RunEnd, cost: RelativeStepCost) -> int | None:
    """Steps after which a run without the target counts as a factor of `MAX_RATIO`; None where there is no bound."""
    return None if against.steps is None else math.ceil(MAX_RATIO * against.steps / cost.low)


def _log(ratio: float) -> float:
    return math.log(ratio) if 0 < ratio < math.inf else math.copysign(math.inf, ratio - 0.5)


def _cut(log_ratio: float) -> float:
    return max(-1.0, min(1.0, log_ratio / math.log(MAX_RATIO)))
