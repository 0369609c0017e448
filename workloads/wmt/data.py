"""Batches of the translation workloads: packed rows in training, one sentence pair per row in evaluation."""

import dataclasses
import functools
import hashlib
from pathlib import Path

import numpy as np

from algoperf.data import ArraySource, Batch, pad_batch
from algoperf.data.recipe import Recipe, open_store, plain_recipe
from algoperf.definition import Split, WorkloadDefinition
from workloads.wmt.language_pair import LanguagePair
from workloads.wmt.packing import TOKEN_DTYPE
from workloads.wmt.vocabulary import END

PACKED = (
    "inputs",
    "inputs_position",
    "inputs_segmentation",
    "targets",
    "targets_position",
    "targets_segmentation",
)
PAIRS = ("inputs", "targets")
_SHORTEST_FAKE = 3
_SAMPLED_PAIRS = 500


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> ArraySource:
    """Opens one split. Training examples are packed rows; those of the other splits are sentence pairs.

    Batches hold int32 [batch, max_length] `inputs` and `targets` (0 is padding) and float32 `weights` (1 where there is
    a target token); in training also positions within sentences and numbers of sentences within rows.

    Raises:
      StoreError: the store is missing, damaged, or was prepared with other settings.
    """
    store = open_store(definition, data_dir, recipe(definition))
    names = PACKED if split == Split.TRAIN else PAIRS
    arrays = {name: store[f"{split}_{name}"] for name in names}
    return ArraySource(arrays, transform=_as_batch, num_examples=definition.splits.train if names is PACKED else None)


def recipe(definition: WorkloadDefinition) -> Recipe:
    """Everything that the contents of the store depend on, besides a real dataset."""
    seed = definition.data.pair_seed
    settings = {
        "vocab_size": definition.model.vocab_size,
        "max_length": definition.model.max_length,
        "pairs": dataclasses.asdict(definition.splits),
        **dataclasses.asdict(definition.data),
        "language": None if seed is None else _language_digest(seed),
    }
    return plain_recipe(settings)


@functools.cache
def _language_digest(seed: int) -> str:
    """Hash of a sample, so that a changed generator is noticed."""
    sample = "\n".join(map("\t".join, LanguagePair(seed).sentences("sample", _SAMPLED_PAIRS, held_out=False)))
    return hashlib.sha256(sample.encode()).hexdigest()[:16]


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Random sentences of random lengths, one pair in a row; the last row is padding where there are several."""
    rng = np.random.default_rng(seed)
    rows = max(1, batch_size - 1)
    length = definition.model.max_length
    batch = {}
    for name in PAIRS:
        tokens = rng.integers(END + 1, definition.model.vocab_size, (rows, length), TOKEN_DTYPE)
        lengths = rng.integers(_SHORTEST_FAKE, length + 1, rows)
        tokens[np.arange(rows), lengths - 1] = END
        inside = np.arange(length) < lengths[:, None]
        batch[name] = tokens * inside
        batch[f"{name}_position"] = np.arange(length, dtype=TOKEN_DTYPE) * inside
        batch[f"{name}_segmentation"] = inside.astype(TOKEN_DTYPE)
    return pad_batch(_as_batch(batch), batch_size)


def _as_batch(rows: Batch) -> Batch:
    batch = {name: array.astype(np.int32) for name, array in rows.items()}
    batch["weights"] = (rows["targets"] > 0).astype(np.float32)
    return batch
