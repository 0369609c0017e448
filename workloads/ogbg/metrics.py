"""Mean average precision over tasks with missing labels, accuracy and loss."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np

from algoperf.definition import Split, WorkloadDefinition


def average_precisions(scores: np.ndarray, labels: np.ndarray, labelled: np.ndarray) -> np.ndarray:
    """Average precision of every task, over its labelled examples.

    sum over distinct thresholds of (recall_n - recall_(n-1)) * precision_n, as scikit-learn defines it; equal scores
    share a threshold.

    Args:
      scores: [examples, tasks], higher is more positive.
      labels: [examples, tasks], positive where > 0.
      labelled: [examples, tasks], 0 or False where a label is missing.

    Returns:
      float64 [tasks]; NaN for a task without a labelled positive or without a labelled negative, which the evaluator of
      the Open Graph Benchmark leaves out.
    """
    if not scores.shape == labels.shape == labelled.shape or scores.ndim != 2:
        raise ValueError(
            f"scores, labels and labelled must have one shape [examples, tasks], "
            f"got {scores.shape}, {labels.shape} and {labelled.shape}"
        )
    scores, labels, labelled = (np.ascontiguousarray(array.T) for array in (scores, labels > 0, labelled > 0))
    if np.isnan(scores[labelled]).any():
        return np.full(len(scores), np.nan)
    # Missing labels go to the end of the order and count neither as positive nor as negative.
    keys = np.where(labelled, -scores, np.inf)
    order = np.argsort(keys, axis=1)
    keys = np.take_along_axis(keys, order, 1)
    positives = np.cumsum(np.take_along_axis(labels & labelled, order, 1), axis=1)
    counted = np.cumsum(np.take_along_axis(labelled, order, 1), axis=1)
    closes_threshold = np.ones(keys.shape, bool)
    closes_threshold[:, :-1] = keys[:, 1:] != keys[:, :-1]

    task, example = np.nonzero(closes_threshold)
    true_positives = positives[task, example]
    first_of_task = np.concatenate([[True], task[1:] != task[:-1]])
    gained = np.diff(true_positives, prepend=0)
    gained[first_of_task] = true_positives[first_of_task]
    areas = np.bincount(task, gained * true_positives / np.maximum(counted[task, example], 1), minlength=len(keys))
    num_positives, num_labelled = positives[:, -1], counted[:, -1]
    defined = (num_positives > 0) & (num_positives < num_labelled)
    return np.where(defined, areas / np.maximum(num_positives, 1), np.nan)


def mean_average_precision(scores: np.ndarray, labels: np.ndarray, labelled: np.ndarray) -> float:
    """Mean of `average_precisions` over the tasks that have one; NaN where none has."""
    values = average_precisions(scores, labels, labelled)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


class GraphMetrics:
    """Keeps the logits and labels of a split, because average precision needs all of them at once."""

    def __init__(self) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._loss = 0.0

    def update(self, outputs: Mapping[str, np.ndarray], batch: Mapping[str, Any]) -> None:
        weights = np.asarray(batch["weights"])
        real = weights.any(axis=1)
        logits = np.asarray(outputs["logits"], np.float32)[real]
        self._parts.append((logits, np.asarray(batch["targets"])[real] > 0, weights[real] > 0))
        self._loss += float(np.asarray(outputs["loss"])[real].sum(dtype=np.float64))

    def merge(self, other: Self) -> None:
        self._parts += other._parts
        self._loss += other._loss

    def compute(self) -> dict[str, float]:
        if not self._parts:
            raise ValueError("no graph with labels was evaluated")
        logits, labels, labelled = (np.concatenate(arrays) for arrays in zip(*self._parts, strict=True))
        num_labels = int(labelled.sum())
        if num_labels == 0:
            raise ValueError("no graph with labels was evaluated")
        hits = np.nan if np.isnan(logits[labelled]).any() else int((((logits > 0) == labels) & labelled).sum())
        return {
            "mean_average_precision": mean_average_precision(logits, labels, labelled),
            "loss": self._loss / num_labels,
            "accuracy": hits / num_labels,
        }


def make_metrics(definition: WorkloadDefinition, split: Split, data_dir: Path) -> GraphMetrics:
    del definition, split, data_dir
    return GraphMetrics()
