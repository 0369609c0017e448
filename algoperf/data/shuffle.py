"""The order of training examples: a seeded permutation per epoch, computed for any stretch of positions.

Position p of the training stream is example `permutation(seed, p // length)[p % length]`. Up to
`MAX_STORED_PERMUTATION` examples the permutation is NumPy's, kept for the latest epochs. Above, where an array of
indices would be gigabytes, it is a keyed bijection that is computed for the wanted positions alone.
"""

from collections import OrderedDict
from typing import NamedTuple

import numpy as np

MAX_STORED_PERMUTATION = 1 << 24  # 64 MiB of uint32 for each kept epoch
_KEPT_EPOCHS = 2
_ROUNDS = 6


class StreamSlice(NamedTuple):
    """Examples at consecutive positions: `indices` int64 [n] and the `epochs` int64 [n] they belong to."""

    indices: np.ndarray
    epochs: np.ndarray


class EpochShuffle:
    """Endless seeded stream of example indices, each epoch a new permutation; random access by position.

    Args:
      length: number of examples, at least 1.
      seed: non-negative; the stream is a function of (length, seed) alone.
      max_stored: longest permutation that is kept as an array.
    """

    def __init__(self, length: int, seed: int, *, max_stored: int = MAX_STORED_PERMUTATION) -> None:
        if length < 1:
            raise ValueError(f"cannot shuffle a dataset of {length} examples")
        if seed < 0:
            raise ValueError(f"the seed of a shuffle must not be negative, got {seed}")
        self._length = length
        self._seed = seed
        self._max_stored = max_stored
        self._epochs: OrderedDict[int, np.ndarray] = OrderedDict()

    def take(self, start: int, stop: int) -> StreamSlice:
        """Returns the examples at positions start, ..., stop - 1 of the stream."""
        indices = np.empty(stop - start, np.int64)
        epochs = np.empty(stop - start, np.int64)
        filled = 0
        while filled < len(indices):
            epoch, offset = divmod(start + filled, self._length)
            count = min(len(indices) - filled, self._length - offset)
            indices[filled : filled + count] = self._part_of_epoch(epoch, offset, offset + count)
            epochs[filled : filled + count] = epoch
            filled += count
        return StreamSlice(indices, epochs)

    def _part_of_epoch(self, epoch: int, start: int, stop: int) -> np.ndarray:
        if self._length > self._max_stored:
            keys = np.random.SeedSequence([self._seed, epoch]).generate_state(_ROUNDS, np.uint64)
            return keyed_permutation(np.arange(start, stop, dtype=np.uint64), self._length, keys)
        if epoch not in self._epochs:
            while len(self._epochs) >= _KEPT_EPOCHS:
                self._epochs.popitem(last=False)
            order = np.arange(self._length, dtype=np.uint32 if self._length <= 1 << 32 else np.uint64)
            np.random.default_rng([self._seed, epoch]).shuffle(order)
            self._epochs[epoch] = order
        return self._epochs[epoch][start:stop]


class BlockShuffle:
    """Endless stream like `EpochShuffle` that permutes blocks of consecutive examples and keeps the order inside each.

    For datasets far larger than memory, where single rows in random order would read the disk a page at a time.

    Args:
      length: number of examples, at least 1; the last block may be shorter.
      block_rows: examples of a block.
    """

    def __init__(self, length: int, seed: int, block_rows: int) -> None:
        if block_rows < 1:
            raise ValueError(f"a block has at least one row, got {block_rows}")
        self._length = length
        self._block_rows = block_rows
        self._num_blocks = -(-length // block_rows)
        self._blocks = EpochShuffle(self._num_blocks, seed)

    def take(self, start: int, stop: int) -> StreamSlice:
        """Returns the examples at positions start, ..., stop - 1 of the stream."""
        indices: list[np.ndarray] = []
        epochs: list[np.ndarray] = []
        while start < stop:
            epoch, offset = divmod(start, self._length)
            count = min(stop - start, self._length - offset)
            indices += self._part_of_epoch(epoch, offset, offset + count)
            epochs.append(np.full(count, epoch, np.int64))
            start += count
        if not indices:
            return StreamSlice(np.empty(0, np.int64), np.empty(0, np.int64))
        return StreamSlice(np.concatenate(indices), np.concatenate(epochs))

    def _part_of_epoch(self, epoch: int, start: int, stop: int) -> list[np.ndarray]:
        blocks = self._blocks.take(epoch * self._num_blocks, (epoch + 1) * self._num_blocks).indices
        firsts = blocks * self._block_rows
        ends = np.cumsum(np.minimum(firsts + self._block_rows, self._length) - firsts)
        parts = []
        while start < stop:
            slot = int(np.searchsorted(ends, start, side="right"))
            begin = int(ends[slot - 1]) if slot else 0
            end = min(stop, int(ends[slot]))
            parts.append(np.arange(firsts[slot] + start - begin, firsts[slot] + end - begin, dtype=np.int64))
            start = end
        return parts


def keyed_permutation(positions: np.ndarray, length: int, keys: np.ndarray) -> np.ndarray:
    """Applies a pseudo-random bijection of 0 ... length - 1 to each position.

    A Feistel network over Z_a x Z_b, with a * b just above `length`: every round adds a keyed hash of one coordinate to
    the other, which is invertible whatever the hash is. Results past `length` (fewer than one in sqrt(length)) are
    mapped again until they fall inside (cycle walking).

    Args:
      positions: uint64 [n], each below `length`, which is at most 2**62.
      keys: uint64 [rounds].

    Returns:
      int64 [n].
    """
    width = int(np.ceil(np.sqrt(length)))
    height = -(-length // width)
    mapped = _rounds(positions, width, height, keys)
    outside = np.flatnonzero(mapped >= length)
    while len(outside):
        mapped[outside] = _rounds(mapped[outside], width, height, keys)
        outside = outside[mapped[outside] >= length]
    return mapped.astype(np.int64)


def _rounds(positions: np.ndarray, width: int, height: int, keys: np.ndarray) -> np.ndarray:
    row, column = np.divmod(positions, np.uint64(width))
    sizes = (np.uint64(height), np.uint64(width))
    coordinates = [row, column]
    for number, key in enumerate(keys):
        changed, other = coordinates[number % 2], coordinates[(number + 1) % 2]
        size = sizes[number % 2]
        changed += _hash_below(other, key, size)
        changed -= np.where(changed >= size, size, np.uint64(0))
    return coordinates[0] * np.uint64(width) + coordinates[1]


def _hash_below(values: np.ndarray, key: np.uint64, size: np.uint64) -> np.ndarray:
    """Hashes uint64 `values` to 0 ... size - 1, size at most 2**32 (multiply and xor-shift, as in SplitMix64)."""
    mixed = values + key
    mixed *= np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed >>= np.uint64(32)
    mixed *= size
    mixed >>= np.uint64(32)
    return mixed
