"""Splits are consecutive rows: train, validation, test; training metrics use the first training rows."""

from pathlib import Path

import numpy as np

from algoperf.data import ArraySource, Batch, Source, Store
from algoperf.data.places import store_dir
from algoperf.definition import Split, WorkloadDefinition


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> Source:
    sizes = definition.splits
    first = {
        Split.TRAIN: 0,
        Split.EVAL_TRAIN: 0,
        Split.VALIDATION: sizes.train,
        Split.TEST: sizes.train + sizes.validation,
    }[split]
    return ArraySource(Store(store_dir(definition, data_dir)), first=first, last=first + (sizes[split] or 0))


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    generator = np.random.default_rng(seed)
    weights = np.ones(batch_size, np.float32)
    weights[-1] = 0
    return {
        "inputs": generator.normal(size=(batch_size, definition.model.num_features)).astype(np.float32),
        "targets": (3 * generator.normal(size=batch_size)).astype(np.float32),
        "weights": weights,
    }
