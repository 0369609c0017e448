"""Preparation refuses graphs that it cannot use and says which; unusual but valid graphs pass."""

import dataclasses

import numpy as np
import pytest

from algoperf.data import BatchRequest, Store, StoreError
from algoperf.definition import Split, SplitSizes
from workloads.ogbg import prepare
from workloads.ogbg.data import open_split
from workloads.ogbg.definition import OGBG, MoleculeData


def graph(num_nodes=3, bonds=((0, 1), (1, 2)), **changes):
    bonds = np.array(bonds, np.int64).reshape(-1, 2)
    example = {
        "num_nodes": np.array([num_nodes]),
        "node_feat": np.ones((num_nodes, 9), np.float32),
        "num_edges": np.array([len(bonds)]),
        "edge_feat": np.ones((len(bonds), 3), np.float32),
        "edge_index": bonds,
        "labels": np.full(128, np.nan, np.float32),
    }
    return {**example, **changes}


def definition_for(train, validation=1, test=1):
    return dataclasses.replace(
        OGBG,
        splits=SplitSizes(train=train, eval_train=1, validation=validation, test=test),
        data=MoleculeData(max_nodes=10, max_edges=20),
    )


def write(tmp_path, examples, **sizes):
    splits = {Split.TRAIN: examples, Split.VALIDATION: [graph()], Split.TEST: [graph()]}
    definition = definition_for(len(examples), **sizes)
    prepare.write_store(definition, tmp_path / "prepared" / "ogbg", splits, lambda message: None)
    return definition


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (graph(num_nodes=11), "11 atoms, the limit is 10"),
        (graph(bonds=[(0, 1)] * 11), "22 directed edges, the limit is 20"),
        (graph(bonds=[(0, 3)]), r"bond \[0, 3\] names an atom that is not there"),
        (graph(bonds=[(-1, 0)]), r"bond \[-1, 0\]"),
        (graph(num_nodes=0, bonds=()), "no atoms"),
        (
            graph(num_nodes=2, bonds=(), node_feat=np.ones((3, 9), np.float32)),
            "num_nodes is 2, but node_feat has 3 rows",
        ),
        (graph(edge_feat=np.ones((1, 3), np.float32)), "edge_index has 2 rows, but edge_feat has 1"),
        (graph(node_feat=np.full((3, 9), 0.5, np.float32)), "node_feat .* whole numbers"),
        (graph(node_feat=np.full((3, 9), np.nan, np.float32)), "node_feat .* whole numbers"),
        (graph(edge_feat=np.full((2, 3), 300, np.float32)), "edge_feat .* from 0 to 255"),
        (graph(labels=np.full(128, 2, np.float32)), "label 2.0, expected 0, 1 or NaN"),
        (graph(labels=np.zeros(5, np.float32)), r"labels of shape \(5,\), expected \(128,\)"),
    ],
)
def test_a_bad_graph_is_named(tmp_path, bad, message):
    with pytest.raises(prepare.BadGraphError, match=f"split train, graph 2: .*{message}"):
        write(tmp_path, [graph(), graph(bonds=()), bad, graph()])
    assert not (tmp_path / "prepared" / "ogbg").exists()


def test_graphs_without_edges_and_with_a_single_atom_are_kept(tmp_path):
    definition = write(tmp_path, [graph(bonds=()), graph(num_nodes=1, bonds=()), graph()])
    source = open_split(definition, Split.TRAIN, tmp_path)
    batch = source.read(BatchRequest(indices=np.array([1, 0]), batch_size=2))
    assert batch["inputs"]["n_node"].tolist() == [[1, 3]]
    assert batch["inputs"]["n_edge"].tolist() == [[0, 0]]


def test_labels_keep_what_is_missing(tmp_path):
    labels = np.array([1, 0, np.nan] + [0] * 125, np.float32)
    write(tmp_path, [graph(labels=labels)])
    assert Store(tmp_path / "prepared" / "ogbg")["labels"][0, :3].tolist() == [1, 0, -1]


def test_a_split_of_another_size_is_an_error(tmp_path, molecule_dir, tiny_definition):
    larger = dataclasses.replace(
        OGBG, data=tiny_definition.data, splits=dataclasses.replace(tiny_definition.splits, validation=31)
    )
    with pytest.raises(StoreError, match="split validation has 30 graphs, expected 31"):
        prepare.prepare(
            larger,
            tmp_path,
            source_dir=molecule_dir / "prepared" / "ogbg_mini_raw",
            num_workers=1,
            report=lambda message: None,
        )


def test_without_a_source_the_error_tells_how_to_get_it(tmp_path):
    with pytest.raises(StoreError, match="prepare ogbg --download"):
        prepare.prepare(OGBG, tmp_path, source_dir=None, num_workers=1, report=lambda message: None)
