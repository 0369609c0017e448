"""Metrics of an evaluation: accumulate per-example outputs on the host, merge over ranks, compute once."""

from algoperf.metrics.base import Metrics, WeightedMeans

__all__ = ["Metrics", "WeightedMeans"]
