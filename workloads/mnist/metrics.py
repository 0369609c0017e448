"""Accuracy and cross-entropy, averaged over examples."""

from pathlib import Path

from algoperf.definition import Split, WorkloadDefinition
from algoperf.metrics import Metrics, WeightedMeans


def make_metrics(definition: WorkloadDefinition, split: Split, data_dir: Path) -> Metrics:
    return WeightedMeans(("accuracy", "loss"))
