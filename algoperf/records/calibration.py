"""What a reference step costs where a trial runs: the unit in which times of different machines can be compared."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

# Of the uniform distribution: between two measurements the cost may have been anything from one to the other.
_UNIFORM_VARIANCE = 1 / 12


@dataclass(frozen=True, kw_only=True)
class StepCost:
    """The cost of a reference step in one burst of blocks of steps.

    Attributes:
      step_s: seconds of a step, the median over blocks.
      spread: standard deviation of the logarithms of the blocks' costs.
      blocks: their number.
    """

    step_s: float
    spread: float
    blocks: int

    def __post_init__(self) -> None:
        if not (0 < self.step_s < math.inf and 0 <= self.spread < math.inf and self.blocks >= 1):
            raise ValueError(f"a step costs more than 0 s, with a spread of at least 0, got {self}")

    @classmethod
    def of_blocks(cls, step_s: Sequence[float]) -> Self:
        """From the seconds of a step in each block."""
        logarithms = [math.log(seconds) for seconds in step_s]
        spread = statistics.stdev(logarithms) if len(logarithms) > 1 else 0.0
        return cls(step_s=statistics.median(step_s), spread=spread, blocks=len(step_s))


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A cost that was measured beside a trial.

    Attributes:
      at: "start" or "end", of a process that worked on the trial.
      cost: what was measured.
    """

    at: str
    cost: StepCost

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "cost": StepCost(**values["cost"])})


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """The reference step of a trial, and the trial's times in such steps.

    Attributes:
      source: "measured"; "file" where the cost was given; "step_costs" where that of the submission's steps was,
        too, and the clock charged it.
      budget_step_s: the cost by which the trial's budget and evaluation period became seconds, at its first start.
      budget_steps: submission time that the trial could use, in reference steps.
      least_step_s: the least cost that this machine has shown; None where it is not known.
      measurements: of all processes that worked on the trial, in order.
      step_s: the cost by which times become reference steps: the geometric mean of the measurements.
      spread: standard deviation of the logarithm of `step_s`, from blocks and from drift.
      submission_time_steps: submission time of the trial in reference steps.
      time_to_target_steps: that of the first evaluation on target; None where there is none.
    """

    source: str
    budget_step_s: float
    budget_steps: float
    least_step_s: float | None = None
    measurements: tuple[Measurement, ...]
    step_s: float
    spread: float
    submission_time_steps: float
    time_to_target_steps: float | None = None

    def __post_init__(self) -> None:
        if not self.measurements:
            raise ValueError("a calibration has at least one measurement")
        for name in ("budget_step_s", "budget_steps", "step_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        measured = [measurement.cost.step_s for measurement in self.measurements]
        if not 0.999 * min(measured) <= self.step_s <= 1.001 * max(measured):
            raise ValueError(f"step_s is a mean of the measured costs {measured}, got {self.step_s}")
        if not 0 <= self.spread < math.inf:
            raise ValueError(f"the spread of a cost must be at least 0, got {self.spread}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        return cls(**{**values, "measurements": tuple(map(Measurement.from_json, values["measurements"]))})


def combined(costs: Sequence[StepCost]) -> tuple[float, float]:
    """Cost of a step over a trial and the standard deviation of its logarithm, from the costs measured beside it.

    The first term of the variance is what the blocks say of the mean, the second what drift leaves open.
    """
    logarithms = [math.log(cost.step_s) for cost in costs]
    within = sum(cost.spread**2 / cost.blocks for cost in costs) / len(costs) ** 2
    drift = (max(logarithms) - min(logarithms)) ** 2 * _UNIFORM_VARIANCE
    return math.exp(statistics.fmean(logarithms)), math.sqrt(within + drift)
