"""Mean log loss."""

from pathlib import Path

from algoperf.definition import Split, WorkloadDefinition
from algoperf.metrics.base import WeightedMeans


def make_metrics(definition: WorkloadDefinition, split: Split, data_dir: Path) -> WeightedMeans:
    del definition, split, data_dir
    return WeightedMeans(("loss",))
