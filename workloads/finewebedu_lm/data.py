"""Batches of the language models: blocks of consecutive tokens, each predicted from those before it in the block."""

import dataclasses
from pathlib import Path

import numpy as np

from algoperf.data import ArraySource, Batch, pad_batch
from algoperf.data.recipe import Recipe, open_store, plain_recipe
from algoperf.definition import Split, WorkloadDefinition

TOKEN_DTYPE = np.uint16


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> ArraySource:
    """Opens one split. An example is a block of `context` + 1 tokens; `eval_train` is the first blocks of training.

    Batches hold int32 [batch, context] `inputs` and, one token further, `targets`; in evaluation also float32 [batch]
    `weights`, 0 for padding.

    Raises:
      StoreError: the store is missing, damaged, or was prepared with other settings.
    """
    store = open_store(definition, data_dir, recipe(definition))
    stored = Split.TRAIN if split == Split.EVAL_TRAIN else split
    return ArraySource({"tokens": store[stored]}, last=definition.splits.get(split), transform=_as_batch)


def recipe(definition: WorkloadDefinition) -> Recipe:
    """Everything that the contents of the store depend on, besides the documents."""
    settings = {
        "vocab_size": definition.model.vocab_size,
        "block_tokens": definition.model.context + 1,
        "blocks": dataclasses.asdict(definition.splits),
        **dataclasses.asdict(definition.data),
    }
    return plain_recipe(settings)


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Random tokens; the last row is padding where there are several."""
    rng = np.random.default_rng(seed)
    shape = (max(1, batch_size - 1), definition.model.context + 1)
    tokens = rng.integers(0, definition.model.vocab_size, shape).astype(TOKEN_DTYPE)
    return pad_batch(_as_batch({"tokens": tokens}), batch_size)


def _as_batch(rows: Batch) -> Batch:
    tokens = rows["tokens"].astype(np.int32)
    return {"inputs": tokens[:, :-1], "targets": tokens[:, 1:]}
