"""Best value and first arrival at the target: the one rule for records, display, target setting and scoring."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from algoperf.definition import Direction, MetricSpec


@dataclass(frozen=True, kw_only=True)
class Best:
    """Indices into evaluations.

    Attributes:
      index: of the best value, the first of equals; None where no value is finite.
      first_reached: of the first value that meets the target; None where none does.
    """

    index: int | None
    first_reached: int | None


def best_of(values: Sequence[float] | np.ndarray, metric: MetricSpec, target: float) -> Best:
    """Finds the best evaluation and the first that meets the target, inclusively; what is not finite is neither.

    Args:
      values: of `metric`, [n] in order of evaluation.
      metric: says which way is better.
      target: value to meet.
    """
    return Best(index=best_index(values, metric), first_reached=first_reached(values, metric, target))


def best_index(values: Sequence[float] | np.ndarray, metric: MetricSpec) -> int | None:
    """Index of the best finite value of [n], the first of equals; None where there is none."""
    numbers = _finite(values)
    if np.isnan(numbers).all():
        return None
    return int(np.nanargmin(numbers) if metric.direction is Direction.MINIMIZE else np.nanargmax(numbers))


def first_reached(values: Sequence[float] | np.ndarray, metric: MetricSpec, target: float) -> int | None:
    """Index of the first finite value of [n] that meets `target`, inclusively; None where there is none."""
    hits = where_reached(values, metric, target)
    first = int(hits.argmax()) if len(hits) else 0
    return first if len(hits) and hits[first] else None


def where_reached(values: Sequence[float] | np.ndarray, metric: MetricSpec, target: float) -> np.ndarray:
    """Which of [n] values meet `target`, inclusively: booleans [n]. What is not finite never does."""
    numbers: Any = _finite(values)
    return np.asarray(metric.reached(numbers, target))


def _finite(values: Sequence[float] | np.ndarray) -> np.ndarray:
    numbers = np.asarray(values, np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)
