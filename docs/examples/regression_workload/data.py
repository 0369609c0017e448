"""Splits are consecutive rows: train, validation, test; training metrics use the first training rows."""

from pathlib import Path

import numpy as np

from algoperf.data import ArraySource, Batch, Source, Store
from algoperf.data.places import store_dir
from algoperf.definition import Split, WorkloadDefinition


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> Source:
    sizes = definition.splits
    first = {Split.VALIDATION: sizes.train, Split.TEST: sizes.train + sizes.validation}.get(split, 0)
    return ArraySource(Store(store_dir(definition, data_dir)), first=first, last=first + (sizes[split] or 0))


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    generator = np.random.default_rng(seed)
    inputs = generator.normal(size=(batch_size, definition.model.num_features)).astype(np.float32)
    weights = np.ones(batch_size, np.float32)
    weights[-1] = 0
    return {"inputs": inputs, "targets": np.sin(inputs.sum(axis=1)), "weights": weights}
