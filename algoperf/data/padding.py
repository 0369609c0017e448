"""Padding of the last evaluation batch, and the mask that goes with it."""

from typing import Any

import numpy as np

from algoperf.spec import Batch


def pad_batch(batch: Batch, batch_size: int, *, weights_like: str | None = None) -> Batch:
    """Pads every leaf on axis 0 with zeros to `batch_size` and gives `weights`: the given ones or ones, then zeros.

    Args:
      batch: NumPy leaves, or tuples, lists and dicts of them, with n <= batch_size rows; may already hold `weights`.
      batch_size: rows after padding.
      weights_like: name of the leaf whose shape new weights take; None means one weight per example.

    Returns:
      A new dict; float32 `weights` [batch_size, ...] are always present.
    """
    num_rows = _num_rows(batch)
    if num_rows > batch_size:
        raise ValueError(f"a batch of {num_rows} examples does not fit into {batch_size}")
    if "weights" not in batch:
        shape = (num_rows,) if weights_like is None else batch[weights_like].shape
        batch = {**batch, "weights": np.ones(shape, np.float32)}
    return {name: _pad_tree(leaf, batch_size) for name, leaf in batch.items()}


def pad_rows(array: np.ndarray, num_rows: int) -> np.ndarray:
    """Appends zero rows up to `num_rows`; returns the array itself where nothing is missing."""
    if len(array) == num_rows:
        return array
    padded = np.zeros((num_rows, *array.shape[1:]), array.dtype)
    padded[: len(array)] = array
    return padded


def _num_rows(tree: Any) -> int:
    while not isinstance(tree, np.ndarray):
        tree = next(iter(tree.values() if isinstance(tree, dict) else tree))
    return len(tree)


def _pad_tree(tree: Any, num_rows: int) -> Any:
    if isinstance(tree, dict):
        return {name: _pad_tree(leaf, num_rows) for name, leaf in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(_pad_tree(leaf, num_rows) for leaf in tree)
    return pad_rows(tree, num_rows)
