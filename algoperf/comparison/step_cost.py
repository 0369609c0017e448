"""What a step of one submission costs in steps of another, measured in slices that alternate."""

import itertools
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from algoperf.errors import UserError
from algoperf.records import json

SCHEMA_VERSION = 1
PERIOD = 100  # steps; the longest interval between roots among the reference algorithms (Shampoo)
CYCLES = 6  # the least that gives an interval of 95 % from order statistics
_SLICE_S = 0.03  # long against a fence and short against changes of a machine's load
_MIN_S, _MAX_CYCLES = 3.0, 40  # cheap steps get more cycles, for a narrower interval
_WARM_UP_STEPS = 5
_ERROR = 0.05


class StepCostError(UserError):
    """The cost of a step cannot be measured; one line that says why."""


class Stepped(Protocol):
    """What is measured: a submission in training."""

    batch_size: int

    def seconds_of(self, num_steps: int) -> float: ...


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

    def __post_init__(self) -> None:
        if not 0 < self.low <= self.ratio <= self.high < math.inf:
            raise ValueError(f"a cost is positive and in its interval, got {self.low}, {self.ratio}, {self.high}")


def relative_cost(
    mine: Stepped,
    reference: Stepped,
    *,
    period: int = PERIOD,
    cycles: int = CYCLES,
    max_s: float = math.inf,
) -> RelativeStepCost:
    """Cost of a step of `mine` in steps of `reference`; compilation is left out.

    Args:
      mine, reference: in training; both continue from their state.
      period: steps of each in a cycle.
      cycles: how many to measure; more where they take under three seconds in all.
      max_s: seconds after which no further cycle starts, once there are two.
    """
    mine.seconds_of(_WARM_UP_STEPS)
    reference.seconds_of(_WARM_UP_STEPS)
    step_s = reference.seconds_of(_WARM_UP_STEPS) / _WARM_UP_STEPS
    slice_steps = min(period, max(1, math.ceil(_SLICE_S / step_s)))
    seconds: list[tuple[float, float]] = []
    started = time.perf_counter()
    while len(seconds) < max(cycles, _MAX_CYCLES):
        spent_s = time.perf_counter() - started
        if spent_s > (min(_MIN_S, max_s) if len(seconds) >= cycles else max_s) and len(seconds) >= 2:
            break
        seconds.append(_cycle_s(mine, reference, list(_slices(period, slice_steps))))
    ratios = sorted(own / other for own, other in seconds)
    rank, confidence = _interval_rank(len(ratios))
    return RelativeStepCost(
        ratio=statistics.median(ratios),
        low=ratios[rank],
        high=ratios[-1 - rank],
        confidence=confidence,
        cycles=len(ratios),
        period=period,
        batch_size=mine.batch_size,
        reference_batch_size=reference.batch_size,
        step_s=statistics.median(own for own, _ in seconds) / period,
        reference_step_s=statistics.median(other for _, other in seconds) / period,
    )


def _slices(period: int, slice_steps: int) -> Iterator[int]:
    for start in range(0, period, slice_steps):
        yield min(slice_steps, period - start)


def _cycle_s(mine: Stepped, reference: Stepped, slices: Sequence[int]) -> tuple[float, float]:
    """Seconds of a cycle of each; who comes first alternates, so that a drift of the machine cancels."""
    own = other = 0.0
    for number, steps in enumerate(slices):
        if number % 2:
            other += reference.seconds_of(steps)
            own += mine.seconds_of(steps)
        else:
            own += mine.seconds_of(steps)
            other += reference.seconds_of(steps)
    return own, other


def _interval_rank(count: int) -> tuple[int, float]:
    """(r, confidence): the median lies between the order statistics r and `count` - 1 - r, counted from 0.

    r is the largest that keeps 95 %, or 0. The chance of a miss on one side is that of at most r heads in `count`
    tosses of a coin.
    """
    tails = list(itertools.accumulate(math.comb(count, k) / 2**count for k in range(count)))
    rank = max((r for r in range((count - 1) // 2 + 1) if 2 * tails[r] <= _ERROR), default=0)
    return rank, max(0.0, 1 - 2 * tails[rank])


def read(path: Path) -> dict[str, RelativeStepCost]:
    """The costs in a file that this command wrote, by workload.

    Raises:
      StepCostError: the file is no such file.
    """
    content = json.read_if_intact(path) or {}
    try:
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError
        return {name: RelativeStepCost(**cost) for name, cost in content["step_costs"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise StepCostError(
            f"{path} holds no step costs of schema version {SCHEMA_VERSION}; write it with python -m algoperf.step_cost"
        ) from None
