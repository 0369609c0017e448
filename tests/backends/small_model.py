"""A classifier with batch norm and dropout, small enough for every backend test: its definition and batches."""

import numpy as np

from algoperf.definition import (
    Budget,
    ConformanceSpec,
    Direction,
    LossType,
    MetricSpec,
    SplitSizes,
    Tier,
    WorkloadDefinition,
)

NUM_FEATURES, NUM_HIDDEN, NUM_CLASSES = 6, 8, 4

DEFINITION = WorkloadDefinition(
    name="small",
    base="small",
    tier=Tier.DEVELOPMENT,
    title="Small classifier",
    dataset="none",
    loss_type=LossType.SOFTMAX_CROSS_ENTROPY,
    metric=MetricSpec(name="accuracy", direction=Direction.MAXIMIZE),
    validation_target=0.9,
    test_target=None,
    splits=SplitSizes(train=100, eval_train=10, validation=10, test=None),
    budget=Budget(max_runtime_s=10.0, eval_period_s=1.0, step_hint=100),
    eval_batch_size=4,
    default_dropout=0.25,
    model=None,
    checks=ConformanceSpec(
        parameter_count=NUM_FEATURES * NUM_HIDDEN + 2 * NUM_HIDDEN + NUM_HIDDEN * NUM_CLASSES + NUM_CLASSES,
        parameter_kinds={},
        initial_loss=(0.5, 5.0),
    ),
    reference_batch_size=8,
)


def make_batch(num_examples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs [n, features], targets [n] and weights [n], the last of which is 0."""
    rng = np.random.default_rng(seed)
    weights = np.ones(num_examples, np.float32)
    weights[-1] = 0
    return {
        "inputs": rng.normal(1, 2, size=(num_examples, NUM_FEATURES)).astype(np.float32),
        "targets": rng.integers(NUM_CLASSES, size=num_examples).astype(np.int32),
        "weights": weights,
    }


def rows(batch: dict[str, np.ndarray], part: int, num_parts: int) -> dict[str, np.ndarray]:
    """One of `num_parts` equal shares of a batch."""
    size = len(batch["inputs"]) // num_parts
    return {name: leaf[part * size : (part + 1) * size] for name, leaf in batch.items()}
