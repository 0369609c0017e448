"""Batches of undersampled slices and what they should look like."""

import functools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from algoperf.background import THREAD_PREFIX
from algoperf.cores import usable_cores
from algoperf.data import Batch, BatchRequest, Source, Store, StoreError, pad_batch
from algoperf.data.places import store_dir
from algoperf.data.shards import part_name
from algoperf.definition import Split, WorkloadDefinition
from workloads.common.random_numbers import example_seeds
from workloads.fastmri.definition import FastMRIData
from workloads.fastmri.kspace import column_masks, evaluation_columns, image_of, normalised

_EVAL_TRAIN_SEED = 0
_LARGE_IMAGE = 128
_MAX_THREADS = 8


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(min(_MAX_THREADS, len(usable_cores())), thread_name_prefix=f"{THREAD_PREFIX}slices")


class SliceSource:
    """Slices of one split.

    Validation and test slices of equal width are undersampled alike. A training slice keeps the same columns for a
    whole run, whatever the epoch: its mask is a function of the seed and the slice.

    Batches have `inputs` and `targets` float32 [n, size, size] and `mean`, `std` and `volume_max` float32 [n].

    Args:
      parts: stores with the slices, in order.
      data: the pipeline.
      subset: which slices belong to the split; None means all.
      mask_seed: seed of the masks outside training; None means the fixed evaluation masks.
    """

    def __init__(
        self,
        parts: list[Store],
        data: FastMRIData,
        *,
        subset: np.ndarray | None = None,
        mask_seed: int | None = None,
    ) -> None:
        self._parts = [{name: np.asarray(part[name]) for name in part} for part in parts]
        self._ends = np.cumsum([len(part["volume_max"]) for part in self._parts])
        self._subset = np.arange(self._ends[-1]) if subset is None else subset
        self._data = data
        self._mask_seed = mask_seed

    def __len__(self) -> int:
        return len(self._subset)

    def read(self, request: BatchRequest) -> Batch:
        size = self._data.image_size
        num_slices = len(request.indices)
        batch: Batch = {name: np.empty((num_slices, size, size), np.float32) for name in ("inputs", "targets")}
        batch |= {name: np.empty(num_slices, np.float32) for name in ("mean", "std", "volume_max")}
        mask_seed = self._mask_seed if request.seed is None else request.seed
        rows = list(enumerate(self._subset[request.indices].tolist()))
        if size < _LARGE_IMAGE:
            for row, index in rows:
                self._fill(batch, row, index, mask_seed)
        else:
            # Transforms of large slices run without the interpreter lock.
            list(_threads().map(lambda item: self._fill(batch, item[0], item[1], mask_seed), rows))
        return batch if request.seed is not None else pad_batch(batch, request.batch_size)

    def _fill(self, batch: Batch, row: int, index: int, mask_seed: int | None) -> None:
        """Writes slice `index` into row `row` of the batch."""
        number = int(np.searchsorted(self._ends, index, side="right"))
        part = self._parts[number]
        offset = index - (int(self._ends[number - 1]) if number else 0)
        first, last = (int(column) for column in part["first_column"][offset : offset + 2])
        positions = self._kept_columns(mask_seed, index, last - first)
        image = image_of(part["columns"][first + positions], positions, last - first)
        values = normalised(image, part["targets"][offset], self._data.clip)
        batch["inputs"][row], batch["targets"][row], batch["mean"][row], batch["std"][row] = values
        batch["volume_max"][row] = part["volume_max"][offset]

    def _kept_columns(self, mask_seed: int | None, index: int, num_columns: int) -> np.ndarray:
        if mask_seed is None:
            return evaluation_columns(num_columns, self._data)
        seeds = example_seeds(mask_seed, np.zeros(1, np.int64), np.array([index]))
        return np.flatnonzero(column_masks(seeds, num_columns, self._data)[0])


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> Source:
    """See `algoperf.data.source.DataModule`.

    `EVAL_TRAIN` is a fixed random part of the training slices, each with a random mask of its own.

    Raises:
      StoreError: the store is missing, or its number of slices is not the definition's.
    """
    store = Store(store_dir(definition, data_dir))
    stored = str(Split.TRAIN if split is Split.EVAL_TRAIN else split)
    parts = [Store(store.path / part_name(stored, number)) for number in range(store.meta["num_parts"][stored])]
    actual, expected = sum(len(part["volume_max"]) for part in parts), definition.splits[stored]
    if actual != expected:
        raise StoreError(
            f"{store.path} has {actual} {stored} slices, {definition.name} has {expected}; "
            f"delete it and run: python -m algoperf.prepare {definition.name}"
        )
    if split is not Split.EVAL_TRAIN:
        return SliceSource(parts, definition.data)
    chosen = np.random.default_rng(_EVAL_TRAIN_SEED).choice(actual, definition.splits.eval_train, replace=False)
    return SliceSource(parts, definition.data, subset=np.sort(chosen), mask_seed=_EVAL_TRAIN_SEED)


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Random images, and weights of which the last is 0."""
    rng = np.random.default_rng(seed)
    size = definition.data.image_size
    weights = np.ones(batch_size, np.float32)
    weights[-1] = 0
    return {
        "inputs": rng.standard_normal((batch_size, size, size), np.float32),
        "targets": rng.standard_normal((batch_size, size, size), np.float32),
        "mean": rng.uniform(0.5, 1.0, batch_size).astype(np.float32),
        "std": rng.uniform(0.5, 1.0, batch_size).astype(np.float32),
        "volume_max": rng.uniform(2.0, 4.0, batch_size).astype(np.float32),
        "weights": weights,
    }
