"""What a step of one submission costs in steps of another, measured in slices that alternate."""

import itertools
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from typing import Protocol

from algoperf.errors import UserError
from algoperf.records.step_costs import RelativeStepCost

PERIOD = 100  # steps; the longest interval between roots among the reference algorithms (Shampoo)
CYCLES = 6  # the least that gives an interval of 95 % from order statistics
_SLICE_S = 0.03  # long against a fence and short against changes of a machine's load
_MIN_S, _MAX_CYCLES = 3.0, 40  # cheap steps get more cycles, for a narrower interval
_WARM_UP_STEPS = 5
_PREPARATIONS = 3
_ERROR = 0.05


class StepCostError(UserError):
    """The cost of a step cannot be measured; one line that says why."""


class Stepped(Protocol):
    """What is measured: a submission in training."""

    batch_size: int

    def seconds_of(self, num_steps: int) -> float: ...

    def seconds_of_prepare_for_eval(self) -> float: ...


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
        prepare_for_eval=statistics.median(
            mine.seconds_of_prepare_for_eval() / (reference.seconds_of(slice_steps) / slice_steps)
            for _ in range(_PREPARATIONS)
        ),
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
