"""A split that is rows of arrays: gathered by index, transformed a batch at a time."""

from collections.abc import Callable, Mapping

import numpy as np

from algoperf.data.padding import pad_batch
from algoperf.data.source import BatchRequest
from algoperf.spec import Batch

_READ_BYTES = 1 << 22  # large enough that the cost per batch of the reading is small, small enough for the cache


class ArraySource:
    """Rows of equally long arrays, for workloads whose example is one row of each.

    Args:
      arrays: leaves of a batch by name, each [rows, ...]; memory maps are fine.
      first, last: the split is rows first, ..., last - 1 of the arrays; None means up to the end.
      transform: maps the gathered rows of one batch to the batch; row i of the result may depend on row i alone.
      num_examples: examples that the rows hold, where several are packed into one.
    """

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        first: int = 0,
        last: int | None = None,
        transform: Callable[[Batch], Batch] | None = None,
        num_examples: int | None = None,
    ) -> None:
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"the arrays of a split must be equally long, got {lengths}")
        num_rows = next(iter(lengths.values()))
        last = num_rows if last is None else last
        if not 0 <= first < last <= num_rows:
            raise ValueError(f"rows {first} to {last} are not a part of {num_rows} rows")
        # Plain views: indexing a memmap object costs microseconds more.
        self._arrays = {name: np.asarray(array)[first:last] for name, array in arrays.items()}
        self._transform = transform
        self._length = last - first
        self.num_examples = self._length if num_examples is None else num_examples
        bytes_per_row = sum(array[:1].nbytes for array in self._arrays.values())
        self.rows_per_read = max(1, _READ_BYTES // max(1, bytes_per_row))

    def __len__(self) -> int:
        return self._length

    def read(self, request: BatchRequest) -> Batch:
        batch: Batch = {name: np.take(array, request.indices, axis=0) for name, array in self._arrays.items()}
        if self._transform is not None:
            batch = self._transform(batch)
        return batch if request.seed is not None else pad_batch(batch, request.batch_size)
