"""Laws of the training and evaluation pipelines."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algoperf.data import ArraySource, EvalPipeline, TrainPipeline
from algoperf.data.shuffle import BlockShuffle, EpochShuffle, keyed_permutation


class RecordingSource:
    """Gives each example's index and epoch as its input; no grouping of batches."""

    def __init__(self, length):
        self.length = length

    def __len__(self):
        return self.length

    def read(self, request):
        batch = {"inputs": request.indices.copy(), "epochs": request.epochs.copy()}
        if request.seed is not None:
            return batch
        padding = request.batch_size - len(request.indices)
        weights = np.concatenate([np.ones(len(request.indices), np.float32), np.zeros(padding, np.float32)])
        return {"inputs": np.pad(batch["inputs"], (0, padding)), "weights": weights}


def first_inputs(pipeline, num_batches):
    return [batch["inputs"] for batch in itertools.islice(pipeline, num_batches)]


lengths = st.integers(1, 40)
seeds = st.integers(0, 2**63)


def single_rows(length, seed):
    return EpochShuffle(length, seed)


def computed(length, seed):
    return EpochShuffle(length, seed, max_stored=0)


def blocks_of_three(length, seed):
    return BlockShuffle(length, seed, 3)


shuffles = st.sampled_from([single_rows, computed, blocks_of_three])


@given(lengths, seeds, st.integers(1, 12), shuffles)
def test_every_epoch_of_the_stream_holds_every_example_once(length, seed, batch_size, make_shuffle):
    shuffle = make_shuffle(length, seed)
    stretches = [shuffle.take(start, start + batch_size) for start in range(0, 3 * length, batch_size)]
    indices = np.concatenate([stretch.indices for stretch in stretches])
    epochs = np.concatenate([stretch.epochs for stretch in stretches])
    for epoch in range(3):
        assert sorted(indices[epochs == epoch]) == list(range(length))
        assert np.array_equal(np.flatnonzero(epochs == epoch), np.arange(epoch * length, (epoch + 1) * length))


@given(lengths, seeds, st.integers(0, 100), st.integers(0, 50), shuffles)
def test_stream_is_a_function_of_the_position(length, seed, start, count, make_shuffle):
    whole = make_shuffle(length, seed).take(0, start + count)
    part = make_shuffle(length, seed).take(start, start + count)
    assert np.array_equal(part.indices, whole.indices[start:])
    assert np.array_equal(part.epochs, whole.epochs[start:])


@pytest.mark.parametrize("make_shuffle", [single_rows, computed, blocks_of_three])
def test_epochs_and_seeds_differ(make_shuffle):
    def order(seed, epoch):
        return tuple(make_shuffle(50, seed).take(50 * epoch, 50 * epoch + 50).indices)

    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


@given(lengths, seeds, st.integers(1, 9))
def test_blocks_stay_together_and_in_order(length, seed, block_rows):
    indices = BlockShuffle(length, seed, block_rows).take(0, length).indices
    starts = [position for position, index in enumerate(indices) if index % block_rows == 0]
    for start, stop in itertools.pairwise([*starts, length]):
        expected = range(indices[start], min(indices[start] + block_rows, length))
        assert indices[start:stop].tolist() == list(expected)


@given(st.integers(1, 5000), st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6))
def test_keyed_permutation_is_a_bijection(length, keys):
    mapped = keyed_permutation(np.arange(length, dtype=np.uint64), length, np.array(keys, np.uint64))
    assert np.array_equal(np.sort(mapped), np.arange(length))


def test_keyed_permutation_of_billions_needs_only_the_positions_asked_for():
    length = 4_195_197_692
    indices = EpochShuffle(length, 7).take(length - 50_000, length + 50_000).indices
    assert indices.min() >= 0
    assert indices.max() < length
    assert len(np.unique(indices[:50_000])) == len(np.unique(indices[50_000:])) == 50_000
    counts, _ = np.histogram(indices, bins=100, range=(0, length))
    assert np.sum((counts - 1000) ** 2 / 1000) < 160  # chi-square, 99 degrees of freedom, p < 1e-4


def test_keyed_permutation_looks_uniform_on_few_examples():
    counts = np.zeros((7, 7))
    pairs = 0
    for seed in range(4000):
        order = EpochShuffle(7, seed, max_stored=0).take(0, 7).indices
        counts[np.arange(7), order] += 1
        pairs += np.sum(np.diff(order) == 1)
    expected = 4000 / 7
    assert np.sum((counts - expected) ** 2 / expected) < 80  # 36 degrees of freedom, p < 1e-4
    assert abs(pairs / 4000 - 6 / 7) < 0.06  # expected number of ascents by one: (n - 1) / n


@pytest.mark.parametrize("source_kind", ["one batch at a time", "several batches at a time", "blocks of rows"])
@given(
    lengths, seeds, st.integers(1, 4), st.sampled_from([(1, 1), (2, 1), (3, 2)]), st.integers(0, 9), st.integers(0, 9)
)
@settings(max_examples=50)
def test_ranks_partition_the_batches_and_any_start_gives_the_same_remainder(
    source_kind, length, seed, size, topology, start, more
):
    world_size, num_shards = topology
    batch_size = size * world_size * num_shards
    whole_source = source = RecordingSource(length)
    if source_kind == "several batches at a time":
        source = ArraySource({"inputs": np.arange(length)})
        assert source.rows_per_read > batch_size
    elif source_kind == "blocks of rows":
        source.shuffle_block_rows = 4
    stop = start + more
    whole = first_inputs(TrainPipeline(whole_source, batch_size=batch_size, seed=seed), stop)
    shares = [
        first_inputs(
            TrainPipeline(
                source,
                batch_size=batch_size,
                seed=seed,
                rank=rank,
                world_size=world_size,
                num_shards=num_shards,
                start_batch=start,
            ),
            more,
        )
        for rank in range(world_size)
    ]
    for number in range(start, stop):
        joined = np.concatenate([share[number - start] for share in shares])
        assert np.array_equal(joined, whole[number])


def test_resume_at_every_batch_gives_the_same_remainder():
    source = RecordingSource(23)
    whole = list(itertools.islice(TrainPipeline(source, batch_size=4, seed=3), 20))
    for start in range(20):
        resumed = itertools.islice(TrainPipeline(source, batch_size=4, seed=3, start_batch=start), 20 - start)
        for expected, batch in zip(whole[start:], resumed, strict=True):
            assert np.array_equal(batch["inputs"], expected["inputs"])
            assert np.array_equal(batch["epochs"], expected["epochs"])


@given(
    lengths,
    st.integers(1, 5),
    st.sampled_from([(1, 1), (2, 1), (4, 1), (2, 3)]),
    st.none() | st.integers(1, 50),
)
def test_evaluation_covers_every_example_once_over_the_ranks(length, size, topology, limit):
    world_size, num_shards = topology
    pipelines = [
        EvalPipeline(
            RecordingSource(length),
            batch_size=size * world_size * num_shards,
            rank=rank,
            world_size=world_size,
            num_shards=num_shards,
            limit=limit,
        )
        for rank in range(world_size)
    ]
    batches = [list(pipeline) for pipeline in pipelines]
    assert {len(of_rank) for of_rank in batches} == {len(pipelines[0])}
    assert all(len(batch["inputs"]) == size * num_shards for of_rank in batches for batch in of_rank)
    seen = [
        index
        for of_step in zip(*batches, strict=True)
        for batch in of_step
        for index in batch["inputs"][batch["weights"] > 0]
    ]
    assert seen == list(range(min(length, limit or length)))


def test_a_batch_that_does_not_divide_names_sizes_that_do():
    with pytest.raises(ValueError, match=r"batch size 10 does not divide over 4 devices; 8 or 12 would"):
        TrainPipeline(RecordingSource(5), batch_size=10, seed=0, world_size=2, num_shards=2)
    with pytest.raises(ValueError, match=r"batch size 1 does not divide over 4 devices; 4 would"):
        EvalPipeline(RecordingSource(5), batch_size=1, num_shards=4)


def test_evaluation_demands_weights():
    class NoWeights(RecordingSource):
        def read(self, request):
            return {"inputs": request.indices}

    with pytest.raises(ValueError, match="must give `weights`"):
        list(EvalPipeline(NoWeights(3), batch_size=3))


def test_array_source_gathers_transforms_and_pads():
    source = ArraySource(
        {"inputs": np.arange(10).reshape(10, 1), "targets": np.arange(10)},
        first=4,
        transform=lambda batch: {**batch, "inputs": batch["inputs"] / 2},
    )
    assert len(source) == 6
    (batch,) = EvalPipeline(source, batch_size=8)
    assert batch["targets"].tolist() == [4, 5, 6, 7, 8, 9, 0, 0]
    assert batch["inputs"][:, 0].tolist() == [2, 2.5, 3, 3.5, 4, 4.5, 0, 0]
    assert batch["weights"].tolist() == [1] * 6 + [0] * 2
    with pytest.raises(ValueError, match="equally long"):
        ArraySource({"inputs": np.zeros(3), "targets": np.zeros(4)})


def test_nested_inputs_are_padded_and_sliced():
    rows = np.arange(6)
    source = ArraySource(
        {"a": rows, "b": rows},
        transform=lambda batch: {"inputs": {"a": batch["a"], "pair": (batch["a"], batch["b"])}},
    )
    (batch,) = EvalPipeline(source, batch_size=8)
    assert batch["inputs"]["pair"][1].tolist() == [0, 1, 2, 3, 4, 5, 0, 0]
    first, second = itertools.islice(TrainPipeline(source, batch_size=3, seed=0), 2)
    seen = np.concatenate([first["inputs"]["pair"][1], second["inputs"]["pair"][1]])
    assert sorted(seen) == list(range(6))
