"""What a workload's prepared data must satisfy; run on minis, whose data can be generated anywhere."""

from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from algoperf.data import EvalPipeline, TrainPipeline
from algoperf.definition import EVAL_SPLITS, Split, WorkloadDefinition
from algoperf.prepare import ensure_prepared
from algoperf.registry import Registry
from algoperf.spec import Batch
from algoperf.testing.conformance.adapter import map_arrays

_RANKS = 2
_TRAIN_BATCH_SIZE = 8


def prepared_data(registry: Registry, name: str, data_dir: Path) -> None:
    """Splits have the declared sizes, evaluation counts each example once, batches look like `fake_batch`."""
    definition = registry.get(name)
    ensure_prepared(definition, data_dir, report=lambda message: None, registry=registry)
    data = registry.module(name, "data")
    for split in Split:
        if definition.splits[split] is None:
            continue
        source = data.open_split(definition, split, data_dir)
        if split in EVAL_SPLITS:
            _check_evaluation_split(definition, split, source)
        else:
            _check_training(definition, data, source)


def _check_evaluation_split(definition: WorkloadDefinition, split: Split, source: Any) -> None:
    assert len(source) == definition.splits[split], (
        f"{split}: {len(source)} examples, declared {definition.splits[split]}"
    )
    batch_size = definition.eval_batch_size + definition.eval_batch_size % _RANKS
    structures, counted = set(), 0
    for rank in range(_RANKS):
        for batch in EvalPipeline(source, batch_size=batch_size, rank=rank, world_size=_RANKS):
            structures.add(repr(map_arrays(lambda array: (str(array.dtype), array.shape), batch)))
            weights = batch["weights"]
            counted += int(weights.reshape(len(weights), -1).any(axis=1).sum())
    assert counted == len(source), f"{split}: {counted} examples with weight in {len(source)}"
    assert len(structures) == 1, f"{split}: batches of different shapes: {structures}"


def _check_training(definition: WorkloadDefinition, data: ModuleType, source: Any) -> None:
    """Batches repeat exactly, differ from one another, and have the leaves, dtypes and shapes of `fake_batch`."""
    num_examples = getattr(source, "num_examples", len(source))  # several may be packed into a row
    assert num_examples >= definition.splits.train, (
        f"{num_examples} training examples, declared {definition.splits.train}"
    )
    first, again = (
        [next(batches) for _ in range(2)]
        for batches in (TrainPipeline(source, batch_size=_TRAIN_BATCH_SIZE, seed=1) for _ in range(2))
    )
    resumed = next(TrainPipeline(source, batch_size=_TRAIN_BATCH_SIZE, seed=1, start_batch=1))
    for expected, actual in ((first[0], again[0]), (first[1], again[1]), (first[1], resumed)):
        assert equal(expected, actual), "the same batch was read twice and differs"
    assert not equal(first[0], first[1]), "two training batches are the same"
    ragged = definition.checks.ragged_leaves
    fake = structure(data.fake_batch(definition, _TRAIN_BATCH_SIZE, 0), ragged=ragged)
    real = structure(first[0], ragged=ragged)
    different = {name for name in real if name not in fake or real[name] != fake[name]}
    assert not different, f"training batches and fake_batch differ in {different}: {real} and {fake}"


def structure(tree: Any, *, ragged: Collection[str] = ()) -> Any:
    """Dtype and shape of every array without the first axis, which packed batches size as they need.

    Args:
      ragged: names of entries of which only the number of axes is given.
    """
    if isinstance(tree, dict):
        return {
            name: map_arrays(_dtype_and_axes, leaf) if name in ragged else structure(leaf, ragged=ragged)
            for name, leaf in sorted(tree.items())
        }
    return map_arrays(lambda array: (str(array.dtype), array.shape[1:]), tree)


def _dtype_and_axes(array: np.ndarray) -> tuple[str, int]:
    return str(array.dtype), array.ndim


def equal(first: Batch, second: Batch) -> bool:
    """Whether two batches hold the same values."""
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(first[name], second[name]) for name in first)
    if isinstance(first, (tuple, list)):
        return all(equal(a, b) for a, b in zip(first, second, strict=True))
    return bool(np.array_equal(first, second))
