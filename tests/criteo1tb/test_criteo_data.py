"""Splits are the rows that the rules say, read by index in any order."""

import dataclasses
import gzip

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from algoperf.data import BatchRequest, EvalPipeline, StoreError, TrainPipeline
from algoperf.data.shuffle import BlockShuffle
from algoperf.definition import Split
from workloads.criteo1tb.data import fake_batch, open_split
from workloads.criteo1tb.definition import BUCKET_COUNTS
from workloads.criteo1tb.parser import parse


def raw_rows(data_dir, days):
    text = b"".join(
        gzip.decompress((data_dir / "prepared" / "criteo1tb_mini_raw" / f"day_{day}.gz").read_bytes()) for day in days
    )
    rows = parse(np.frombuffer(text, np.uint8))
    return np.concatenate([rows.integers, rows.ids.astype(np.float32)], axis=1), rows.labels.astype(np.float32)


def evaluated(source, batch_size):
    batches = list(EvalPipeline(source, batch_size=batch_size))
    real = np.concatenate([batch["weights"] for batch in batches]) > 0
    return tuple(np.concatenate([batch[name] for batch in batches])[real] for name in ("inputs", "targets"))


def test_last_day_is_test_then_validation(clicks_dir, tiny_definition):
    inputs, targets = raw_rows(clicks_dir, [2])
    test = evaluated(open_split(tiny_definition, Split.TEST, clicks_dir), 32)
    validation = evaluated(open_split(tiny_definition, Split.VALIDATION, clicks_dir), 32)
    np.testing.assert_array_equal(test[0], inputs[:130])
    np.testing.assert_array_equal(validation[0], inputs[130:])
    np.testing.assert_array_equal(np.concatenate([test[1], validation[1]]), targets)


def test_training_is_the_other_days_and_rows_come_in_any_order(clicks_dir, tiny_definition):
    inputs, targets = raw_rows(clicks_dir, [0, 1])
    source = open_split(tiny_definition, Split.TRAIN, clicks_dir)
    rng = np.random.default_rng(0)
    for indices in (np.arange(700), rng.permutation(700), np.arange(300, 420), rng.integers(0, 700, 50)):
        batch = source.read(BatchRequest(indices=indices, batch_size=len(indices), seed=0))
        np.testing.assert_array_equal(batch["inputs"], inputs[indices])
        np.testing.assert_array_equal(batch["targets"], targets[indices])
        assert batch["inputs"].dtype == batch["targets"].dtype == np.float32


def test_rows_out_of_range_are_refused(clicks_dir, tiny_definition):
    source = open_split(tiny_definition, Split.TRAIN, clicks_dir)
    for bad in (-1, 700):
        with pytest.raises(IndexError, match="split of 700 rows"):
            source.read(BatchRequest(indices=np.array([0, bad]), batch_size=2, seed=0))


def test_eval_train_is_spread_over_the_training_days(clicks_dir, tiny_definition):
    inputs, _ = raw_rows(clicks_dir, [0, 1])
    found, _ = evaluated(open_split(tiny_definition, Split.EVAL_TRAIN, clicks_dir), 32)
    assert len(found) == 96
    for block, first in enumerate((0, 334, 668)):
        np.testing.assert_array_equal(found[32 * block : 32 * (block + 1)], inputs[first : first + 32])


def test_training_batches_are_consecutive_rows_of_shuffled_blocks(clicks_dir, tiny_definition):
    inputs, _ = raw_rows(clicks_dir, [0, 1])
    block_rows = tiny_definition.data.shuffle_block_rows
    source = open_split(tiny_definition, Split.TRAIN, clicks_dir)
    pipeline = TrainPipeline(source, batch_size=35, seed=4)
    epoch = np.concatenate([next(pipeline)["inputs"] for _ in range(20)])
    positions = np.array([int(np.flatnonzero((inputs == row).all(axis=1))[0]) for row in epoch])
    assert sorted(positions) == list(range(700))
    breaks = np.flatnonzero(np.diff(positions) != 1) + 1
    assert 0 < len(breaks) < 700 / block_rows + 1
    assert (positions[breaks] % block_rows == 0).all()


@given(st.integers(1, 60), st.integers(1, 20), st.integers(0, 2**32), st.integers(0, 150), st.integers(0, 80))
def test_block_shuffle_is_a_permutation_per_epoch_at_any_position(length, block_rows, seed, start, count):
    stream = BlockShuffle(length, seed, block_rows).take(0, 5 * length)
    for epoch in range(5):
        part = slice(epoch * length, (epoch + 1) * length)
        assert sorted(stream.indices[part]) == list(range(length))
        assert (stream.epochs[part] == epoch).all()
    stretch = BlockShuffle(length, seed, block_rows).take(start, start + count)
    end = min(start + count, 5 * length)
    np.testing.assert_array_equal(stretch.indices[: max(0, end - start)], stream.indices[start:end])


def test_fake_batches_have_ids_within_the_buckets(tiny_definition):
    batch = fake_batch(tiny_definition, 9, seed=0)
    assert batch["inputs"].shape == (9, 39)
    assert (batch["inputs"][:, 13:] <= np.array(BUCKET_COUNTS, np.float32)).all()
    assert batch["weights"].tolist() == [1] * 8 + [0]


def test_a_store_of_another_generator_is_refused(clicks_dir, tiny_definition):
    other = dataclasses.replace(tiny_definition, data=dataclasses.replace(tiny_definition.data, click_seed=1))
    with pytest.raises(StoreError, match=r"other generated clicks .* delete it"):
        open_split(other, Split.TRAIN, clicks_dir)
