"""How long each process of a run takes for its share of the evaluations, which shows a slow node.

In a training step all wait for the slowest, so that steps take equally long everywhere. In an evaluation, off the
clock, a process works through its share by itself, and its time is its own.
"""

import statistics
from collections.abc import Sequence
from typing import Any

from algoperf.node import node_name

SLOW_FACTOR = 1.5  # more than that of the median is slow
_LEAST_S = 1.0  # less says nothing


class RankTimes:
    """Seconds in evaluations by rank, and the node of each rank; empty where there is one process.

    Attributes:
      nodes: names in rank order.
      seconds: in the same order, of this process's life.
    """

    def __init__(self) -> None:
        self.nodes: list[str] = []
        self.seconds: list[float] = []

    def add(self, shares: Sequence[tuple[str, float]]) -> None:
        """Adds the node and the seconds of each rank for one split, in rank order."""
        if len(shares) > 1:
            before = self.seconds or [0.0] * len(shares)
            self.nodes = [node for node, _ in shares]
            self.seconds = [total + seconds for total, (_, seconds) in zip(before, shares, strict=True)]

    def slow(self) -> list[str]:
        """A phrase for each rank that is slow: its node, and how many times as long as the median rank it takes."""
        if not self.seconds:
            return []
        usual_s = statistics.median_low(self.seconds)
        return [
            f"rank {rank} on {node} took {seconds / max(usual_s, 1e-9):.1f} times as long as the median for its share "
            "of the evaluations"
            for rank, (node, seconds) in enumerate(zip(self.nodes, self.seconds, strict=True))
            if seconds > SLOW_FACTOR * usual_s and seconds - usual_s > _LEAST_S
        ]

    def record(self) -> dict[str, Any] | None:
        """For `trial.json`; None where there is one process."""
        if not self.seconds:
            return None
        return {"nodes": self.nodes, "evaluation_seconds": self.seconds, "slow": self.slow()}


def share(seconds: float) -> tuple[str, float]:
    """What this rank tells the others."""
    return node_name(), seconds
