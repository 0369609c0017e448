"""Normalised images; random crops and flips in training."""

from pathlib import Path

import numpy as np

from algoperf.data import Batch, BatchRequest, Source, Store, check_labels, pad_batch
from algoperf.data.places import store_dir
from algoperf.definition import Split, WorkloadDefinition
from workloads.cifar.definition import CifarData
from workloads.common.random_numbers import example_seeds, uniforms


class CifarSource:
    """Rows of the stored images. The crop and the flip of a training image are functions of (seed, epoch, index)."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, data: CifarData) -> None:
        self._images, self._labels, self._data = images, labels, data

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, request: BatchRequest) -> Batch:
        images, targets = self._images[request.indices], self._labels[request.indices]
        if request.seed is not None and request.epochs is not None:
            draws = uniforms(example_seeds(request.seed, request.epochs, request.indices), 3)
            images = augmented(images, draws, self._data.padding_size)
        batch = {"inputs": normalised(images, self._data), "targets": targets}
        return batch if request.seed is not None else pad_batch(batch, request.batch_size)


def augmented(images: np.ndarray, draws: np.ndarray, padding_size: int) -> np.ndarray:
    """Pads with black by `padding_size` in all along each axis, crops to the old size, and flips half of the images.

    Args:
      images: uint8 [n, height, width, 3].
      draws: uniform numbers [n, 3] for row, column and flip.
    """
    num, height, width = images.shape[:3]
    before = padding_size // 2
    after = padding_size - before
    padded = np.pad(images, ((0, 0), (before, after), (before, after), (0, 0)))
    top, left = (draws[:, :2] * (padding_size + 1)).astype(np.int64).T
    columns = left[:, None] + np.arange(width)
    columns = np.where(draws[:, 2:] < 0.5, columns[:, ::-1], columns)
    rows = top[:, None] + np.arange(height)
    crops: np.ndarray = padded[np.arange(num)[:, None, None], rows[:, :, None], columns[:, None, :]]
    return crops


def normalised(images: np.ndarray, data: CifarData) -> np.ndarray:
    """uint8 [..., 3] to float32: (pixel / 255 - mean) / stddev."""
    mean, stddev = np.array(data.train_mean, np.float32), np.array(data.train_stddev, np.float32)
    return images * (1 / (255 * stddev)) - mean / stddev


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> Source:
    """Training is the beginning of the stored training images, validation the end; `EVAL_TRAIN` its first images."""
    store = Store(store_dir(definition, data_dir))
    stored = "test" if split is Split.TEST else "train"
    first = definition.splits.train if split is Split.VALIDATION else 0
    rows = slice(first, first + definition.splits.get(split))
    images = np.asarray(store[f"{stored}_images"])[rows]
    labels = check_labels(store, f"{stored}_labels", definition.data.num_classes)[rows]
    return CifarSource(images, labels, definition.data)


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Random normalised images, integer targets, and weights of which the last is 0."""
    rng = np.random.default_rng(seed)
    size = definition.data.image_size
    weights = np.ones(batch_size, np.float32)
    weights[-1] = 0
    return {
        "inputs": normalised(rng.integers(0, 256, (batch_size, size, size, 3)).astype(np.uint8), definition.data),
        "targets": rng.integers(0, definition.data.num_classes, batch_size, np.int32),
        "weights": weights,
    }
