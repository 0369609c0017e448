"""OGB's archive of molpcba, read as it is: the graphs, in the splits and the order, that TFDS makes of them.

As `datasets/ogbg_molpcba` of tensorflow-datasets 4.9.10: the scaffold split of the archive, each part sorted by the
hash of the number of the graph.
"""

import contextlib
import gzip
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.data.store import StoreError
from algoperf.data.tfds_order import tfds_order
from algoperf.definition import Split
from workloads.ogbg.definition import NUM_EDGE_FEATURES, NUM_NODE_FEATURES

ARCHIVE = "pcba.zip"
_RAW, _SPLITS = "pcba/raw", "pcba/split/scaffold"
_SPLIT_FILES = {Split.TRAIN: "train", Split.VALIDATION: "valid", Split.TEST: "test"}


def has_archive(folder: Path) -> bool:
    return (folder / ARCHIVE).is_file()


def read_archive(folder: Path, num_tasks: int) -> dict[Split, "GraphSplit"]:
    """Reads all graphs into memory (1.5 GB).

    Raises:
      StoreError: the archive or a file in it is missing or damaged, or two of its files do not fit together.
    """
    path = folder / ARCHIVE
    try:
        with zipfile.ZipFile(path) as archive:
            graphs = Graphs(path, archive, num_tasks)
            return {split: GraphSplit(graphs, split, _rows(archive, graphs, name)) for split, name in _split_files()}
    except (zipfile.BadZipFile, KeyError, gzip.BadGzipFile, zlib.error, EOFError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise StoreError(f"{path} is damaged ({reason}); fetch it again") from error


def _split_files() -> Iterator[tuple[Split, str]]:
    return ((split, f"{_SPLITS}/{name}.csv.gz") for split, name in _SPLIT_FILES.items())


def _rows(archive: zipfile.ZipFile, graphs: "Graphs", name: str) -> np.ndarray:
    rows = np.unique(_table(archive, name, np.int64, 1)[:, 0])
    if len(rows) and not 0 <= rows[0] <= rows[-1] < len(graphs):
        raise ValueError(f"{name} names graph {rows[-1]}, there are {len(graphs)}")
    return rows


class Graphs:
    """All graphs, by number. Nodes and bonds of all are one after the other."""

    def __init__(self, path: Path, archive: zipfile.ZipFile, num_tasks: int) -> None:
        def table(name: str, dtype: Any, columns: int) -> np.ndarray:
            return _table(archive, f"{_RAW}/{name}.csv.gz", dtype, columns)

        self.path = path
        self._labels = table("graph-label", np.float32, num_tasks)
        self._num_nodes, self._num_edges = (table(f"num-{kind}-list", np.int64, 1)[:, 0] for kind in ("node", "edge"))
        self._node_feat = table("node-feat", np.float32, NUM_NODE_FEATURES)
        self._edge_feat = table("edge-feat", np.float32, NUM_EDGE_FEATURES)
        self._edge_index = table("edge", np.int64, 2)
        self._node_starts, self._edge_starts = (
            np.append(0, np.cumsum(sizes)) for sizes in (self._num_nodes, self._num_edges)
        )
        rows = [len(self._num_nodes), len(self._num_edges), *map(len, (self._node_feat, self._edge_feat))]
        needed = [len(self), len(self), self._node_starts[-1], self._edge_starts[-1]]
        if rows != needed or len(self._edge_index) != len(self._edge_feat):
            raise ValueError(f"its tables do not fit together: rows {rows}, expected {[int(n) for n in needed]}")

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, number: int) -> Mapping[str, np.ndarray]:
        nodes = slice(self._node_starts[number], self._node_starts[number + 1])
        edges = slice(self._edge_starts[number], self._edge_starts[number + 1])
        return {
            "num_nodes": self._num_nodes[number : number + 1],
            "node_feat": self._node_feat[nodes],
            "num_edges": self._num_edges[number : number + 1],
            "edge_feat": self._edge_feat[edges],
            "edge_index": self._edge_index[edges],
            "labels": self._labels[number],
        }


class GraphSplit(Sequence[Mapping[str, np.ndarray]]):
    """The graphs of one split, in TFDS's order; `numbers` are theirs in the archive, ascending."""

    def __init__(self, graphs: Graphs, split: Split, numbers: np.ndarray) -> None:
        self._graphs = graphs
        self._numbers = numbers[tfds_order(str(split), numbers.tolist())]

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, position: Any) -> Any:
        return self._graphs[self._numbers[position]]


def _table(archive: zipfile.ZipFile, name: str, dtype: Any, columns: int) -> np.ndarray:
    """A compressed CSV file of numbers without a header, as an array [rows, columns]; an empty field is NaN."""
    text = gzip.decompress(archive.read(name))
    try:
        table = _numbers(text, dtype)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error
    if table.shape[1] != columns:
        raise ValueError(f"{name} has {table.shape[1]} columns, expected {columns}")
    return table


def _numbers(text: bytes, dtype: Any) -> np.ndarray:
    if dtype is np.float32:
        with contextlib.suppress(ValueError):  # whole numbers, as nearly all are, are read four times as fast
            return np.loadtxt(io.BytesIO(text), np.int32, delimiter=",", ndmin=2).astype(dtype)
        text = _with_nan(text)
    return np.loadtxt(io.BytesIO(text), dtype, delimiter=",", ndmin=2)


def _with_nan(text: bytes) -> bytes:
    for empty, filled in ((b",,", b",nan,"), (b",,", b",nan,"), (b"\n,", b"\nnan,"), (b",\n", b",nan\n")):
        text = text.replace(empty, filled)
    return b"nan" + text if text.startswith(b",") else text
