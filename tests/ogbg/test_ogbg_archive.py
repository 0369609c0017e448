"""OGB's archive gives what TFDS makes of it: the same graphs in the same splits and order."""

import dataclasses
import gzip
import sys
import zipfile

import numpy as np
import pytest
from tfds_builders import build

from algoperf.data import Store, StoreError
from algoperf.data.tfds_source import TfdsSplit
from algoperf.definition import Split, SplitSizes
from algoperf.prepare import prepare_dataset
from workloads.ogbg.archive import ARCHIVE, read_archive
from workloads.ogbg.definition import OGBG
from workloads.ogbg.molecules import generate
from workloads.ogbg.sources import SOURCES

SIZES = {Split.TRAIN: 40, Split.VALIDATION: 9, Split.TEST: 11}
NUM_TASKS = 128
FILES = {
    "labels": "graph-label",
    "num_nodes": "num-node-list",
    "num_edges": "num-edge-list",
    "node_feat": "node-feat",
    "edge_feat": "edge-feat",
    "edge_index": "edge",
}


def rows_of(graph, name):
    if name == "labels":
        return [",".join("" if np.isnan(label) else str(float(label)) for label in graph[name])]
    return [",".join(str(int(value)) for value in np.atleast_1d(row)) for row in np.atleast_1d(graph[name])]


def write_archive(path, change=None):
    """As OGB lays it out. `change` takes the lines of each file by its name."""
    splits = generate(7, SIZES, NUM_TASKS)
    graphs = [graph for split in SIZES for graph in splits[split]]
    shuffled = np.random.default_rng(1).permutation(len(graphs))
    tables = {file: [line for i in shuffled for line in rows_of(graphs[i], name)] for name, file in FILES.items()}
    position = np.argsort(shuffled)
    first = 0
    for split, name in ((Split.TRAIN, "train"), (Split.VALIDATION, "valid"), (Split.TEST, "test")):
        numbers = position[first : first + SIZES[split]]
        tables[f"split/{name}"] = [str(number) for number in numbers]
        first += SIZES[split]
    if change:
        change(tables)
    with zipfile.ZipFile(path, "w") as archive:
        for name, lines in tables.items():
            folder = f"pcba/split/scaffold/{name[6:]}" if name.startswith("split/") else f"pcba/raw/{name}"
            archive.writestr(f"{folder}.csv.gz", gzip.compress(("\n".join(lines) + "\n").encode()))


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    write_archive(folder / ARCHIVE)
    return folder


@pytest.fixture(scope="module")
def built_by_tfds(archives, tmp_path_factory):
    from tensorflow_datasets.datasets.ogbg_molpcba.ogbg_molpcba_dataset_builder import Builder

    data_dir = tmp_path_factory.mktemp("tfds")
    folder = build(Builder, archives, data_dir)
    assert "tensorflow" not in sys.modules
    return data_dir, folder


@pytest.mark.parametrize("split", SIZES)
def test_graphs_and_order_are_those_of_tfds(archives, built_by_tfds, split):
    actual = read_archive(archives, NUM_TASKS)[split]
    expected = TfdsSplit(built_by_tfds[1], str(split))
    assert len(actual) == len(expected) == SIZES[split]
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for name, array in one.items():
            np.testing.assert_array_equal(array, other[name], err_msg=name)
            assert array.dtype == other[name].dtype


def definition():
    sizes = SplitSizes(train=40, eval_train=9, validation=9, test=11)
    return dataclasses.replace(OGBG, splits=sizes)


def test_stores_from_the_archive_and_from_tfds_are_equal(archives, built_by_tfds, tmp_path):
    stores = []
    for number, source_dir in enumerate((archives, built_by_tfds[0])):
        data_dir = tmp_path / str(number)
        prepare_dataset(definition(), data_dir, source_dir=source_dir, report=lambda message: None)
        stores.append(Store(data_dir / "prepared/ogbg"))
    assert stores[0].meta == stores[1].meta
    for name, array in stores[0].items():
        np.testing.assert_array_equal(array, stores[1][name], err_msg=name)


def test_what_is_downloaded_is_what_is_read():
    assert [file.name for file in SOURCES[0].files] == [ARCHIVE]


def drop_a_node(tables):
    del tables["node-feat"][3]


def lose_a_column(tables):
    tables["edge-feat"] = [line.rpartition(",")[0] for line in tables["edge-feat"]]


def name_a_graph_that_is_not_there(tables):
    tables["split/test"][0] = "60"


def write_a_word(tables):
    tables["node-feat"][5] = tables["node-feat"][5].replace("0", "carbon", 1)


def leave_labels_out(tables):
    del tables["graph-label"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop_a_node, "do not fit together"),
        (lose_a_column, "edge-feat.csv.gz has 2 columns, expected 3"),
        (name_a_graph_that_is_not_there, "test.csv.gz names graph 60, there are 60"),
        (write_a_word, "node-feat.csv.gz: could not convert"),
        (leave_labels_out, "graph-label"),
    ],
)
def test_an_archive_that_is_not_right_is_named_in_one_line(tmp_path, change, message):
    write_archive(tmp_path / ARCHIVE, change)
    with pytest.raises(StoreError, match=message) as error:
        prepare_dataset(definition(), tmp_path / "data", source_dir=tmp_path, report=lambda message: None)
    assert str(tmp_path / ARCHIVE) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "flipped", "a page"])
def test_a_damaged_archive_is_named_in_one_line(archives, tmp_path, damage):
    content = bytearray((archives / ARCHIVE).read_bytes())
    content[len(content) // 2] ^= 0x10
    broken = {"cut": content[:-100], "flipped": content, "a page": b"<html>"}[damage]
    (tmp_path / ARCHIVE).write_bytes(broken)
    with pytest.raises(StoreError, match=r"pcba\.zip is damaged .*; fetch it again") as error:
        prepare_dataset(definition(), tmp_path / "data", source_dir=tmp_path, report=lambda message: None)
    assert "\n" not in str(error.value)
