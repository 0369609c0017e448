"""Host batches of a split: endless and shuffled in training, each example once in evaluation."""

import math
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

from algoperf.data.shuffle import BlockShuffle, EpochShuffle
from algoperf.data.source import BatchRequest, Source
from algoperf.errors import DataError, UserError
from algoperf.spec import Batch

_MAX_BATCHES_TOGETHER = 64  # by then the cost of a read is spread thin, and the first batch should not wait long


class DataReadError(DataError):
    """A batch could not be read: the prepared data are damaged or the workload is at fault, not the submission."""


class TrainPipeline:
    """Endless iterator over this rank's share of the training batches.

    Global batch n holds the examples at positions n * batch_size, ... of the seeded stream (`EpochShuffle`): a function
    of (seed, n) alone, whatever the number of ranks or the batch that reading started from. Batches run across the ends
    of epochs, so that every example is seen equally often. Rank r reads the r-th of `world_size` equal parts.

    A source that declares `rows_per_read` (its rows do not depend on the batch they are in) is read several batches at
    a time; the batches are views into what was read.

    Args:
      source: the training split.
      batch_size: examples of a global batch; divisible by world_size * num_shards.
      seed: of the order and of the augmentations.
      rank, world_size: this process and the number of processes.
      num_shards: local devices that a batch is split over.
      start_batch: number of the first batch to give, for a resumed run.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        num_shards: int = 1,
        start_batch: int = 0,
    ) -> None:
        self._local_size = share_of_batch(batch_size, world_size, num_shards)
        self._source = source
        self._batch_size = batch_size
        self._seed = seed
        self._rank = rank
        self._num_shards = num_shards
        block_rows = getattr(source, "shuffle_block_rows", 1)
        self._shuffle: BlockShuffle | EpochShuffle = (
            BlockShuffle(len(source), seed, block_rows) if block_rows > 1 else EpochShuffle(len(source), seed)
        )
        self._batches = self._generate(start_batch)

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._batches)

    def _generate(self, start_batch: int) -> Iterator[Batch]:
        readable = getattr(self._source, "rows_per_read", 1) // self._local_size
        together = min(max(1, readable), _MAX_BATCHES_TOGETHER)
        number = start_batch
        while True:
            rows = self._read(number, together)
            if together == 1:
                yield rows
            else:
                for start in range(0, together * self._local_size, self._local_size):
                    yield _slice_rows(rows, start, start + self._local_size)
            number += together

    def _read(self, number: int, together: int) -> Batch:
        stream_slice = self._shuffle.take(number * self._batch_size, (number + together) * self._batch_size)
        first = self._rank * self._local_size
        mine = (slice(None), slice(first, first + self._local_size))
        return _read_source(
            self._source,
            BatchRequest(
                indices=stream_slice.indices.reshape(together, -1)[mine].reshape(-1),
                batch_size=together * self._local_size,
                num_shards=self._num_shards,
                seed=self._seed,
                epochs=stream_slice.epochs.reshape(together, -1)[mine].reshape(-1),
            ),
        )


class EvalPipeline:
    """This rank's share of one pass over a split, in stored order; every example is in one batch of one rank.

    The last global batch is padded, and masked by `weights`. All ranks give the same number of batches, so that they
    can take part in collectives together.

    Args:
      source: the split.
      batch_size: examples of a global batch; divisible by world_size * num_shards.
      limit: evaluate the first `limit` examples only.
    """

    def __init__(
        self,
        source: Source,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        num_shards: int = 1,
        limit: int | None = None,
    ) -> None:
        self._local_size = share_of_batch(batch_size, world_size, num_shards)
        self._source = source
        self._batch_size = batch_size
        self._rank = rank
        self._num_shards = num_shards
        self._num_examples = len(source) if limit is None else min(limit, len(source))

    def __len__(self) -> int:
        """Number of batches."""
        return math.ceil(self._num_examples / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for number in range(len(self)):
            start = number * self._batch_size + self._rank * self._local_size
            stop = min(start + self._local_size, self._num_examples)
            if start < stop:
                yield self._read(np.arange(start, stop))
            else:
                yield self._padding_only()

    def _read(self, indices: np.ndarray) -> Batch:
        batch = _read_source(
            self._source,
            BatchRequest(
                indices=indices,
                batch_size=self._local_size,
                num_shards=self._num_shards,
                epochs=np.zeros_like(indices),
            ),
        )
        if "weights" not in batch:
            raise ValueError(f"{type(self._source).__name__}.read must give `weights` in evaluation, got {list(batch)}")
        return batch

    def _padding_only(self) -> Batch:
        """A batch of the right shapes in which nothing counts, so that no source has to read zero examples."""
        batch = self._read(np.zeros(1, np.int64))
        return {**batch, "weights": np.zeros_like(batch["weights"])}


def _read_source(source: Source, request: BatchRequest) -> Batch:
    try:
        return source.read(request)
    except (UserError, MemoryError):
        raise
    except Exception as error:
        frame, text = traceback.extract_tb(error.__traceback__)[-1], " ".join(str(error).split())
        raise DataReadError(
            f"reading the data failed: {type(error).__name__}: {text} ({frame.filename}:{frame.lineno}); "
            "if `python -m algoperf.prepare WORKLOAD --verify` finds no damage, the workload is at fault"
        ) from error


def share_of_batch(batch_size: int, world_size: int, num_shards: int) -> int:
    """Returns the examples per process; raises ValueError where they do not divide equally over the devices."""
    num_devices = world_size * num_shards
    if batch_size < 1 or batch_size % num_devices:
        lower = batch_size // num_devices * num_devices
        works = " or ".join(str(size) for size in (lower, lower + num_devices) if size > 0)
        raise ValueError(f"batch size {batch_size} does not divide over {num_devices} devices; {works} would")
    return batch_size // world_size


def _slice_rows(tree: Any, start: int, stop: int) -> Any:
    if isinstance(tree, np.ndarray):
        return tree[start:stop]
    if isinstance(tree, dict):
        return {name: _slice_rows(leaf, start, stop) for name, leaf in tree.items()}
    return type(tree)(_slice_rows(leaf, start, stop) for leaf in tree)
