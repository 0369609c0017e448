"""Batches of click logs, read by index from the parts of a prepared store.

`inputs` float32 [B, 39]: 13 numbers log(max(v, 0) + 1), then 26 hash buckets as floats. The buckets are rounded to
float32 as in AlgoPerf, where some are larger than 2**24. `targets` float32 [B] are the clicks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.data import Batch, BatchRequest, Store, StoreError, pad_batch
from algoperf.data.places import store_dir
from algoperf.definition import Split, WorkloadDefinition
from workloads.criteo1tb.definition import BUCKET_COUNTS, NUM_CATEGORIES, NUM_INTEGERS

# Runs of consecutive rows at least this long on average are copied run by run; shorter ones are gathered.
_MIN_RUN = 64
_READ_ROWS = 1 << 15


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Rows first, ..., last - 1 of one part of the store."""

    part: Store
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first


class ClickSource:
    """One split: segments of parts, one after the other.

    Args:
      segments: not empty.
      shuffle_block_rows: training visits blocks of so many consecutive rows in random order.
    """

    def __init__(self, segments: Sequence[Segment], *, shuffle_block_rows: int = 1) -> None:
        self.shuffle_block_rows = shuffle_block_rows
        self.rows_per_read = _READ_ROWS
        self._ends = np.cumsum([len(segment) for segment in segments])
        self._columns = [
            tuple(
                np.asarray(segment.part[name])[segment.first : segment.last] for name in ("labels", "integers", "ids")
            )
            for segment in segments
        ]

    def __len__(self) -> int:
        return int(self._ends[-1])

    def read(self, request: BatchRequest) -> Batch:
        indices = request.indices
        inputs = np.empty((len(indices), NUM_INTEGERS + NUM_CATEGORIES), np.float32)
        targets = np.empty(len(indices), np.float32)
        for rows, number, chosen in self._pieces(indices):
            labels, integers, ids = self._columns[number]
            targets[rows] = labels[chosen]
            inputs[rows, :NUM_INTEGERS] = integers[chosen]
            inputs[rows, NUM_INTEGERS:] = ids[chosen]
        batch: Batch = {"inputs": inputs, "targets": targets}
        return batch if request.seed is not None else pad_batch(batch, request.batch_size)

    def _pieces(self, indices: np.ndarray) -> list[tuple[slice | np.ndarray, int, slice | np.ndarray]]:
        """Splits a request into (rows of the batch, segment, rows of the segment); consecutive rows as slices."""
        if (indices < 0).any() or (indices >= len(self)).any():
            raise IndexError(f"rows {indices.min()} to {indices.max()} are not all in a split of {len(self)} rows")
        segment_of = np.searchsorted(self._ends, indices, side="right")
        breaks = np.flatnonzero((np.diff(indices) != 1) | (np.diff(segment_of) != 0)) + 1
        if len(breaks) * _MIN_RUN > len(indices):
            return [
                (rows, int(number), indices[rows] - self._first(number))
                for number in np.unique(segment_of)
                for rows in [np.flatnonzero(segment_of == number)]
            ]
        pieces: list[tuple[slice | np.ndarray, int, slice | np.ndarray]] = []
        for start, stop in zip([0, *breaks], [*breaks, len(indices)], strict=True):
            number = int(segment_of[start])
            first = int(indices[start]) - self._first(number)
            pieces.append((slice(start, stop), number, slice(first, first + stop - start)))
        return pieces

    def _first(self, number: int) -> int:
        return int(self._ends[number - 1]) if number else 0


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> ClickSource:
    """Opens a split of the store that `workloads.criteo1tb.prepare` wrote.

    Training is all days but the last. The last day begins with the test split and continues with the validation split.
    `eval_train` is whole evaluation batches, evenly spread over the training days.
    """
    root = store_dir(definition, data_dir)
    index = Store(root)
    if index.meta["generator"] != generator_facts(definition):
        raise StoreError(
            f"{root} holds other generated clicks than {definition.name} has now; delete it, it is generated anew"
        )
    last_day = definition.data.num_days - 1
    try:
        days = [[Store(root / name) for name in index.meta["parts"][str(day)]] for day in range(last_day + 1)]
    except KeyError as error:
        raise StoreError(f"{root} lacks day {error}; delete it and prepare it again") from error
    sizes = definition.splits
    if split in (Split.TRAIN, Split.EVAL_TRAIN):
        segments = _range_of([part for parts in days[:last_day] for part in parts], 0, sizes.train)
        if split is Split.EVAL_TRAIN:
            segments = _spread(segments, sizes.train, sizes.eval_train, definition.eval_batch_size)
    else:
        num_test = sizes.test or 0
        first, count = (0, num_test) if split is Split.TEST else (num_test, sizes.validation)
        segments = _range_of(days[last_day], first, first + count)
    return ClickSource(segments, shuffle_block_rows=definition.data.shuffle_block_rows)


def generator_facts(definition: WorkloadDefinition) -> dict[str, Any] | None:
    """What the contents of a generated store depend on; None for the real dataset."""
    seed = definition.data.click_seed
    if seed is None:
        return None
    from workloads.criteo1tb.click_log import sample_digest

    sizes = definition.splits
    rows = [sizes.train, sizes.validation, sizes.test]
    return {"sample": sample_digest(seed), "rows": rows, "days": definition.data.num_days}


def _range_of(parts: Sequence[Store], first: int, last: int) -> list[Segment]:
    """Returns rows first, ..., last - 1 of the concatenated parts."""
    segments, start = [], 0
    for part in parts:
        rows = len(part["labels"])
        begin, end = max(first - start, 0), min(last - start, rows)
        if begin < end:
            segments.append(Segment(part=part, first=begin, last=end))
        start += rows
    if start < last:
        raise StoreError(f"the store has {start} rows for a split that needs {last}; prepare it again")
    return segments


def _spread(segments: Sequence[Segment], num_rows: int, num_wanted: int, block: int) -> list[Segment]:
    """Returns blocks of consecutive rows at equal distances, `num_wanted` rows in all."""
    num_blocks = -(-num_wanted // block)
    chosen: list[Segment] = []
    for number in range(num_blocks):
        first = (num_rows - block) * number // max(1, num_blocks - 1)
        count = min(block, num_wanted - number * block)
        chosen += _slice_segments(segments, first, first + count)
    return chosen


def _slice_segments(segments: Sequence[Segment], first: int, last: int) -> list[Segment]:
    selected, start = [], 0
    for segment in segments:
        begin, end = max(first - start, 0), min(last - start, len(segment))
        if begin < end:
            selected.append(Segment(part=segment.part, first=segment.first + begin, last=segment.first + end))
        start += len(segment)
    return selected


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Random numbers, ids and clicks; the last example is padding."""
    del definition
    rng = np.random.default_rng(seed)
    integers = np.log1p(rng.integers(0, 1_000, (batch_size, NUM_INTEGERS)))
    ids = rng.integers(0, BUCKET_COUNTS, (batch_size, NUM_CATEGORIES))
    weights = np.ones(batch_size, np.float32)
    weights[max(1, batch_size - 1) :] = 0
    return {
        "inputs": np.concatenate([integers, ids], axis=1).astype(np.float32),
        "targets": (rng.random(batch_size) < 0.3).astype(np.float32),
        "weights": weights,
    }
