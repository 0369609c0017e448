"""Graph batches: nothing lost, nothing mixed up, fixed shapes, the same graphs however many shards."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from algoperf.data import BatchRequest, EvalPipeline, StoreError, TrainPipeline
from algoperf.data.tfds_source import TfdsSplit, find_tfds_dataset
from algoperf.definition import Split
from workloads.ogbg.data import consecutive_capacity, fake_batch, open_split, random_capacity


def graphs_of(batch):
    """Takes a batch apart: (nodes, edges, senders, receivers, targets, weights) of every graph, indices from 0."""
    inputs = batch["inputs"]
    num_shards, per_shard = inputs["n_node"].shape
    for shard in range(num_shards):
        node = edge = 0
        for place in range(per_shard):
            nodes, edges = int(inputs["n_node"][shard, place]), int(inputs["n_edge"][shard, place])
            row = shard * per_shard + place
            yield (
                inputs["nodes"][shard, node : node + nodes],
                inputs["edges"][shard, edge : edge + edges],
                inputs["senders"][shard, edge : edge + edges] - node,
                inputs["receivers"][shard, edge : edge + edges] - node,
                batch["targets"][row],
                batch["weights"][row],
            )
            node, edge = node + nodes, edge + edges
        assert node < inputs["nodes"].shape[1]  # at least one padding node
        assert not inputs["nodes"][shard, node:].any()
        assert not inputs["edges"][shard, edge:].any()
        assert (inputs["senders"][shard, edge:] == node).all()
        assert (inputs["receivers"][shard, edge:] == node).all()


@pytest.fixture(scope="module")
def raw_validation(molecule_dir, tiny_definition):
    folder = find_tfds_dataset(molecule_dir / "prepared" / "ogbg_mini_raw", tiny_definition.data.builder)
    return list(TfdsSplit(folder, "validation"))


@pytest.mark.parametrize("num_shards", [1, 2, 4])
def test_evaluation_gives_every_raw_graph_once(molecule_dir, tiny_definition, raw_validation, num_shards):
    source = open_split(tiny_definition, Split.VALIDATION, molecule_dir)
    found = [g for batch in EvalPipeline(source, batch_size=8, num_shards=num_shards) for g in graphs_of(batch)]
    real, padding = found[: len(raw_validation)], found[len(raw_validation) :]
    assert len(source) == len(raw_validation) == 30
    for (nodes, edges, senders, receivers, targets, weights), raw in zip(real, raw_validation, strict=True):
        np.testing.assert_array_equal(nodes, raw["node_feat"])
        np.testing.assert_array_equal(edges, np.concatenate([raw["edge_feat"]] * 2))
        start, end = raw["edge_index"].T
        np.testing.assert_array_equal(senders, np.concatenate([start, end]))
        np.testing.assert_array_equal(receivers, np.concatenate([end, start]))
        np.testing.assert_array_equal(weights, ~np.isnan(raw["labels"]))
        np.testing.assert_array_equal(targets, np.nan_to_num(raw["labels"]))
    for nodes, edges, _, _, targets, weights in padding:
        assert len(nodes) == len(edges) == 0
        assert not targets.any()
        assert not weights.any()


def test_all_evaluation_batches_have_one_shape(molecule_dir, tiny_definition):
    source = open_split(tiny_definition, Split.TEST, molecule_dir)
    shapes = {batch["inputs"]["nodes"].shape for batch in EvalPipeline(source, batch_size=4)}
    assert len(shapes) == 1


def test_training_batches_depend_on_seed_and_number_alone(molecule_dir, tiny_definition):
    source = open_split(tiny_definition, Split.TRAIN, molecule_dir)
    straight = TrainPipeline(source, batch_size=12, seed=3)
    batches = [next(straight) for _ in range(9)]  # more than one epoch
    resumed = next(TrainPipeline(source, batch_size=12, seed=3, start_batch=8))
    for name, array in batches[8]["inputs"].items():
        np.testing.assert_array_equal(resumed["inputs"][name], array)
    # The same graphs in the same order over two shards.
    halves = next(TrainPipeline(source, batch_size=12, seed=3, num_shards=2))
    for whole, half in zip(graphs_of(batches[0]), graphs_of(halves), strict=True):
        for a, b in zip(whole, half, strict=True):
            np.testing.assert_array_equal(a, b)


def test_eval_train_is_the_first_training_graphs(molecule_dir, tiny_definition):
    part = open_split(tiny_definition, Split.EVAL_TRAIN, molecule_dir)
    whole = open_split(tiny_definition, Split.TRAIN, molecule_dir)
    request = BatchRequest(indices=np.arange(20), batch_size=20)
    assert len(part) == 20
    for found, expected in zip(graphs_of(part.read(request)), graphs_of(whole.read(request)), strict=True):
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[4], expected[4])


def test_a_draw_over_the_budget_gets_a_larger_shape_and_keeps_every_graph(molecule_dir, tiny_definition):
    source = open_split(tiny_definition, Split.TRAIN, molecule_dir)
    sizes = np.array([len(g[0]) for g in graphs_of(source.read(BatchRequest(indices=np.arange(80), batch_size=80)))])
    largest = np.full(40, int(np.argmax(sizes)))  # no permutation draws this
    batch = source.read(BatchRequest(indices=largest, batch_size=40, seed=0, epochs=np.zeros(40, np.int64)))
    assert batch["inputs"]["n_node"].sum() == 40 * sizes.max()
    assert batch["inputs"]["nodes"].shape[1] > random_capacity(sizes, 40) + 1
    assert all(len(graph[0]) == sizes.max() for graph in graphs_of(batch))


@given(st.lists(st.integers(1, 300), min_size=1, max_size=60), st.integers(1, 70))
def test_consecutive_budget_holds_every_window(sizes, num_graphs):
    budget = consecutive_capacity(np.array(sizes), num_graphs)
    assert all(sum(sizes[start : start + num_graphs]) <= budget for start in range(len(sizes)))


@settings(max_examples=30)
@given(st.integers(0, 2**32), st.integers(1, 64))
def test_random_budget_holds_the_largest_graph_among_others(seed, num_graphs):
    rng = np.random.default_rng(seed)
    sizes = rng.poisson(25, 2_000) + 1
    sizes[0] = 332
    budget = random_capacity(sizes, num_graphs)
    others = rng.choice(sizes[1:], num_graphs - 1, replace=False).sum()
    assert budget >= 332
    assert others + 332 <= budget + 5 * 5 * num_graphs**0.5 + 8
    assert budget <= 332 * num_graphs + 8


def test_fake_batches_are_valid_graphs(tiny_definition):
    batch = fake_batch(tiny_definition, 5, seed=1)
    found = list(graphs_of(batch))
    assert len(found) == 5
    assert len(found[-1][0]) == 0
    assert not batch["weights"][-1].any()
    for nodes, _, senders, receivers, _, _ in found:
        for ends in (senders, receivers):
            assert ((ends >= 0) & (ends < len(nodes))).all()


def test_a_store_of_another_generator_is_refused(molecule_dir, tiny_definition):
    other = dataclasses.replace(tiny_definition, data=dataclasses.replace(tiny_definition.data, molecule_seed=1))
    with pytest.raises(StoreError, match=r"other generated molecules .* delete it"):
        open_split(other, Split.TRAIN, molecule_dir)
