"""The accumulator that an evaluation fills, and the commonest one."""

from collections.abc import Mapping
from typing import Any, Protocol, Self

import numpy as np


class Metrics(Protocol):
    """Accumulates one split's evaluation. Picklable: ranks exchange it.

    Law: updating one accumulator with all batches equals updating several with parts and merging them, in any order.
    """

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        """Adds one batch: the model's per-example outputs and the host batch (padding has weight 0)."""
        ...

    def merge(self, other: Self) -> None: ...

    def compute(self) -> dict[str, float]:
        """Returns the value of every metric of the workload's definition, by name."""
        ...


class WeightedMeans:
    """Means of per-example values over the examples with weight: sum(weight * value) / sum(weight), in float64.

    Args:
      names: outputs of `Model.evaluate` to average; each an array [batch].
    """

    def __init__(self, names: tuple[str, ...]) -> None:
        self._sums = dict.fromkeys(names, 0.0)
        self._weight = 0.0

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        missing = sorted(self._sums.keys() - outputs.keys())
        if missing:
            raise ValueError(f"the model's evaluate must return {missing}, got {sorted(outputs)}")
        weights = np.asarray(batch["weights"], np.float64)
        self._weight += float(weights.sum())
        real = weights > 0
        for name in self._sums:
            values = np.asarray(outputs[name], np.float64)
            self._sums[name] += float(values[real] @ weights[real])

    def merge(self, other: "WeightedMeans") -> None:
        self._weight += other._weight
        for name, value in other._sums.items():
            self._sums[name] += value

    def compute(self) -> dict[str, float]:
        if self._weight == 0:
            raise ValueError("no example with weight was evaluated")
        return {name: value / self._weight for name, value in self._sums.items()}
