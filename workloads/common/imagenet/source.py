"""Batches of ImageNet, and of the minis that stand for it."""

from pathlib import Path

import numpy as np

from algoperf.data import Batch, BatchRequest, Source, Store, StoreError, check_labels, pad_batch
from algoperf.data.places import store_dir
from algoperf.definition import Split, WorkloadDefinition
from workloads.common.imagenet.augment import Augmentation, inputs_of_pixels, mixup
from workloads.common.imagenet.definition import ImageNetData
from workloads.common.imagenet.worker import Task
from workloads.common.imagenet.workers import chunks, shared_array, shared_pool

_IMAGES_PER_TASK = 16
_EVAL_TRAIN_SEED = 0


class ImageSource:
    """Images of one split. In evaluation: central crops, integer targets. In training: random crops, flips, and where
    the definition says so RandAugment and mixup (then targets are probabilities float32 [n, classes]).

    Mixup blends the examples of one `read`: with several processes, each blends its own share of a batch.

    Args:
      store: the prepared store.
      store_split: `train`, `validation` or `test`.
      data: the pipeline.
      subset: which images of the stored split belong to this one; None means all.
    """

    def __init__(self, store: Store, store_split: str, data: ImageNetData, subset: np.ndarray | None) -> None:
        labels = check_labels(store, f"{store_split}_labels", data.num_classes)
        self._subset = np.arange(len(labels)) if subset is None else subset
        self._labels = labels[self._subset]
        self._pixels = np.asarray(store[f"{store_split}_images"]) if data.decoded else None
        self._store = store
        self._store_split = store_split
        self._data = data

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, request: BatchRequest) -> Batch:
        indices = self._subset[request.indices]
        augmentation = None
        if request.seed is not None and request.epochs is not None:
            augmentation = Augmentation(seed=request.seed, epochs=request.epochs, indices=indices)
        size = self._data.image_size
        shape = (len(indices), size, size, 3)
        if self._pixels is not None:
            inputs = np.empty(shape, np.float32)
            inputs_of_pixels(self._pixels[indices], self._data, augmentation, inputs)
        else:
            inputs = self._from_workers(indices, augmentation, shape)
        targets = self._labels[request.indices]
        if augmentation is None:
            return pad_batch({"inputs": inputs, "targets": targets}, request.batch_size)
        if self._data.mixup_alpha is not None:
            targets = mixup(inputs, targets, self._data, augmentation)
        return {"inputs": inputs, "targets": targets}

    def _from_workers(
        self, indices: np.ndarray, augmentation: Augmentation | None, shape: tuple[int, ...]
    ) -> np.ndarray:
        with shared_array(shape) as (inputs, buffer):
            tasks = [
                Task(
                    store_dir=self._store.path.resolve(),
                    split=self._store_split,
                    images_per_part=self._store.meta["images_per_part"],
                    data=self._data,
                    indices=indices[rows],
                    augmentation=None if augmentation is None else augmentation[rows],
                    buffer=buffer,
                    first_row=rows.start,
                )
                for rows in chunks(len(indices), _IMAGES_PER_TASK)
            ]
            shared_pool().perform(tasks)
        return inputs


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> Source:
    """See `algoperf.data.source.DataModule`. `EVAL_TRAIN` is a fixed random part of the training images.

    Raises:
      StoreError: the store is missing, or its number of images is not the definition's.
    """
    store = Store(store_dir(definition, data_dir))
    store_split = str(Split.TRAIN if split is Split.EVAL_TRAIN else split)
    actual, expected = len(store[f"{store_split}_labels"]), definition.splits[store_split]
    if actual != expected:
        raise StoreError(
            f"{store.path} has {actual} {store_split} images, {definition.name} has {expected}; "
            f"delete it and run: python -m algoperf.prepare {definition.name}"
        )
    subset = None
    if split is Split.EVAL_TRAIN:
        chosen = np.random.default_rng(_EVAL_TRAIN_SEED).choice(actual, definition.splits.eval_train, replace=False)
        subset = np.sort(chosen)
    return ImageSource(store, store_split, definition.data, subset)


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Random normalised images, targets as in training, and weights of which the last is 0."""
    rng = np.random.default_rng(seed)
    size, num_classes = definition.data.image_size, definition.data.num_classes
    targets = rng.integers(0, num_classes, batch_size, np.int32)
    if definition.data.mixup_alpha is not None:
        one_hot = np.eye(num_classes, dtype=np.float32)[targets]
        targets = 0.75 * one_hot + 0.25 * np.roll(one_hot, 1, axis=0)
    weights = np.ones(batch_size, np.float32)
    weights[-1] = 0
    inputs = rng.standard_normal((batch_size, size, size, 3), np.float32)
    return {"inputs": inputs, "targets": targets, "weights": weights}
