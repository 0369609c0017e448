"""Images normalised by constants; training metrics on the first training images."""

from pathlib import Path

import numpy as np

from algoperf.data import ArraySource, Batch, Source, Store, check_labels
from algoperf.data.places import store_dir
from algoperf.definition import Split, WorkloadDefinition


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> Source:
    """Training is the beginning of the stored training images, validation the end."""
    store = Store(store_dir(definition, data_dir))
    sizes = definition.splits
    part, first, size = {
        Split.TRAIN: ("train", 0, sizes.train),
        Split.EVAL_TRAIN: ("train", 0, sizes.eval_train),
        Split.VALIDATION: ("train", sizes.train, sizes.validation),
        Split.TEST: ("test", 0, sizes.test or 0),
    }[split]
    return ArraySource(
        {
            "inputs": store[f"{part}_images"],
            "targets": check_labels(store, f"{part}_labels", definition.model.num_classes),
        },
        first=first,
        last=first + size,
        transform=lambda batch: {**batch, "inputs": normalised(definition, batch["inputs"])},
    )


def normalised(definition: WorkloadDefinition, images: np.ndarray) -> np.ndarray:
    """uint8 images [...] to float32: (pixel - mean) / stddev."""
    inputs: np.ndarray = np.subtract(images, np.float32(definition.data.train_mean), dtype=np.float32)
    inputs /= np.float32(definition.data.train_stddev)
    return inputs


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    generator = np.random.default_rng(seed)
    size = definition.data.image_size
    images = generator.integers(0, 256 if size > 8 else 17, (batch_size, size, size, 1)).astype(np.uint8)
    weights = np.ones(batch_size, np.float32)
    weights[-1] = 0
    return {
        "inputs": normalised(definition, images),
        "targets": generator.integers(0, definition.model.num_classes, batch_size).astype(np.int32),
        "weights": weights,
    }
