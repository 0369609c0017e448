"""The metrics of a workload that has no `metrics.py`: means of the outputs that its definition names."""

from pathlib import Path

from algoperf.definition import Split, WorkloadDefinition
from algoperf.metrics.base import WeightedMeans


def make_metrics(definition: WorkloadDefinition, split: Split, data_dir: Path | None) -> WeightedMeans:
    """Returns an empty accumulator of the declared metrics; the model's `evaluate` gives each, [batch], by its name."""
    return WeightedMeans(tuple(metric.name for metric in definition.metrics))
