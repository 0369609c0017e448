"""What a step of a submission costs in steps of the reference: the files of `python -m algoperf.step_cost`."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from algoperf.errors import UserError
from algoperf.records import json

SCHEMA_VERSION = 1
_MOST_CONFIDENT = 0.999


class StepCostsFileError(UserError):
    """A file holds no step costs; one line that says what it should be."""


@dataclass(frozen=True, kw_only=True)
class RelativeStepCost:
    """Cost of a submission's step in steps of the reference.

    Attributes:
      ratio: median over the cycles.
      low, high: interval of the median from order statistics of the cycles.
      confidence: of the interval; below 0.95 where there were fewer than six cycles.
      cycles: how many there were.
      period: steps of each in a cycle; work done every `period` steps or more often is covered whole.
      batch_size, reference_batch_size: global.
      prepare_for_eval: cost of a call of `prepare_for_eval`, in steps of the reference; 0 without one.
      step_s, reference_step_s: median seconds of a step over the cycles, on this machine as it was.
    """

    ratio: float
    low: float
    high: float
    confidence: float
    cycles: int
    period: int
    batch_size: int
    reference_batch_size: int
    step_s: float
    reference_step_s: float
    prepare_for_eval: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.ratio <= self.high < math.inf:
            raise ValueError(f"a cost is positive and in its interval, got {self.low}, {self.ratio}, {self.high}")
        if not 0 < self.confidence <= 1:
            raise ValueError(f"a confidence lies above 0 and not above 1, got {self.confidence}")
        if not 0 <= self.prepare_for_eval < math.inf:
            raise ValueError(f"prepare_for_eval costs 0 reference steps or more, got {self.prepare_for_eval}")

    @property
    def log_spread(self) -> float:
        """Standard deviation of the logarithm of the cost, from its interval as one of a normal distribution."""
        quantile = statistics.NormalDist().inv_cdf((1 + min(self.confidence, _MOST_CONFIDENT)) / 2)
        return (math.log(self.high) - math.log(self.low)) / (2 * quantile)


@dataclass(frozen=True, kw_only=True)
class StepCosts:
    """The costs of one submission, as a file holds them.

    Attributes:
      framework: its name.
      submission_digest: of the submission's sources.
      reference_digest: of the reference's.
      device: of the machine, as the backend reports it.
      machine: name of the machine in its network, where a comparison keeps costs for it alone.
      step_costs: by workload.
    """

    framework: str
    submission_digest: str
    reference_digest: str
    device: Mapping[str, Any] = field(default_factory=dict)
    machine: str | None = None
    step_costs: Mapping[str, RelativeStepCost]

    def save(self, path: Path) -> None:
        json.write(path, {"schema_version": SCHEMA_VERSION, **json.plain(self, unknown=str)})

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads what `save` wrote.

        Raises:
          StepCostsFileError: the file is no such file.
        """
        content = dict(json.read_if_intact(path) or {})
        try:
            if content.pop("schema_version") != SCHEMA_VERSION:
                raise ValueError
            costs = {name: RelativeStepCost(**cost) for name, cost in content.pop("step_costs").items()}
            return cls(**content, step_costs=costs)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise StepCostsFileError(
                f"{path} holds no step costs of schema version {SCHEMA_VERSION}; write it with "
                "python -m algoperf.step_cost"
            ) from None
