"""Ragged token sequences, and packing several sentence pairs into one row, a whole corpus at a time."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

TOKEN_DTYPE = np.uint16


@dataclass(frozen=True, kw_only=True)
class Ragged:
    """Non-empty sequences of unequal length, one after the other: `tokens` [sum of lengths], `lengths` int64 [n]."""

    tokens: np.ndarray
    lengths: np.ndarray

    @classmethod
    def from_lists(cls, sequences: Sequence[Sequence[int]]) -> Self:
        lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
        tokens = np.fromiter(itertools.chain.from_iterable(sequences), TOKEN_DTYPE, int(lengths.sum()))
        return cls(tokens=tokens, lengths=lengths)

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def starts(self) -> np.ndarray:
        starts: np.ndarray = np.cumsum(self.lengths) - self.lengths
        return starts

    def take(self, order: np.ndarray) -> "Ragged":
        """Sequences at positions `order`."""
        return self._cut(self.starts[order], self.lengths[order])

    def truncated_by_zeros(self) -> "Ragged":
        """Cuts as many tokens from the end of each sequence as it holds zeros.

        This is what AlgoPerf's packing does to sentences with unknown pieces (0), whose number of tokens it counts
        without the zeros; a sentence of zeros alone keeps one.
        """
        if len(self) == 0 or self.tokens.all():
            return self
        counts = np.add.reduceat((self.tokens != 0).astype(np.int64), self.starts)
        return self._cut(self.starts, np.maximum(counts, 1))

    def padded(self, width: int) -> np.ndarray:
        """Rows [n, width] with zeros after each sequence."""
        rows = np.zeros((len(self), width), TOKEN_DTYPE)
        row_numbers, offsets = np.repeat(np.arange(len(self)), self.lengths), _offsets(self.lengths)
        rows[row_numbers, offsets] = self.tokens
        return rows

    def _cut(self, starts: np.ndarray, lengths: np.ndarray) -> "Ragged":
        return Ragged(tokens=self.tokens[np.repeat(starts, lengths) + _offsets(lengths)], lengths=lengths)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where each pair goes: its row, the offset of source and target in it (int64 [n, 2]), its number in the row."""

    rows: np.ndarray
    offsets: np.ndarray
    segments: np.ndarray
    num_rows: int


def assign_rows(lengths: np.ndarray, capacity: int, group: int) -> Placement:
    """Puts pairs into rows in order: into the current row if source and target still fit, else into a new one.

    Every group of `group` consecutive pairs starts a new row. All groups advance together, one pair at a time.

    Args:
      lengths: int64 [n, 2], tokens of source and target, from 1 to `capacity`.

    Raises:
      ValueError: a sequence is empty or longer than a row.
    """
    if len(lengths) and not 1 <= lengths.min() <= lengths.max() <= capacity:
        raise ValueError(f"sequences must have 1 to {capacity} tokens, got {lengths.min()} to {lengths.max()}")
    num_groups = -(-len(lengths) // group)
    padded = np.zeros((num_groups * group, 2), np.int64)
    padded[: len(lengths)] = lengths
    grouped = padded.reshape(num_groups, group, 2)
    offsets = np.empty_like(grouped)
    row = np.zeros(num_groups, np.int64)
    rows = np.empty((num_groups, group), np.int64)
    used = np.zeros((num_groups, 2), np.int64)
    for number in range(group):
        added = grouped[:, number]
        full = (used + added > capacity).any(axis=1)
        row += full
        used[full] = 0
        offsets[:, number], rows[:, number] = used, row
        used += added
    rows += (np.cumsum(row + 1) - (row + 1))[:, None]
    flat_rows = rows.reshape(-1)[: len(lengths)]
    first_in_row = np.searchsorted(flat_rows, flat_rows, side="left")
    return Placement(
        rows=flat_rows,
        offsets=offsets.reshape(-1, 2)[: len(lengths)],
        segments=np.arange(len(lengths)) - first_in_row + 1,
        num_rows=int(flat_rows[-1]) + 1 if len(flat_rows) else 0,
    )


def pack(inputs: Ragged, targets: Ragged, capacity: int, group: int) -> dict[str, np.ndarray]:
    """Packs pairs into rows of `capacity` tokens.

    Returns:
      Arrays [rows, capacity]: `inputs`, `targets` (0 is padding), `*_position` (from 0 in each sequence) and
      `*_segmentation` (1, 2, ... by pair, 0 in padding).
    """
    placement = assign_rows(np.stack([inputs.lengths, targets.lengths], axis=1), capacity, group)
    arrays: dict[str, np.ndarray] = {}
    for column, (name, sequences) in enumerate((("inputs", inputs), ("targets", targets))):
        position = _offsets(sequences.lengths)
        where = (
            np.repeat(placement.rows, sequences.lengths),
            np.repeat(placement.offsets[:, column], sequences.lengths) + position,
        )
        leaves = {
            name: sequences.tokens,
            f"{name}_position": position,
            f"{name}_segmentation": np.repeat(placement.segments, sequences.lengths),
        }
        for leaf, values in leaves.items():
            arrays[leaf] = np.zeros((placement.num_rows, capacity), TOKEN_DTYPE)
            arrays[leaf][where] = values
    return arrays


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """0, 1, ... within each sequence."""
    offsets: np.ndarray = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return offsets
