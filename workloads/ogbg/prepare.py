"""OGB's archive or the TFDS dataset `ogbg_molpcba` to a store; the mini generates such a dataset."""

import functools
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from algoperf.data import StoreWriter
from algoperf.data.places import first_folder, new_store_dir, raw_dir
from algoperf.data.store import StoreError
from algoperf.data.tfds_source import TfdsSplit, find_tfds_dataset, has_tfds_dataset, write_tfds_dataset
from algoperf.definition import Split, Tier, WorkloadDefinition
from algoperf.ownership import generate_once
from algoperf.reporting import Report
from workloads.ogbg.archive import ARCHIVE, has_archive, read_archive
from workloads.ogbg.data import MISSING_LABEL, generator_facts
from workloads.ogbg.definition import NUM_EDGE_FEATURES, NUM_NODE_FEATURES, MoleculeData

Example = Mapping[str, np.ndarray]
_SPLITS = (Split.TRAIN, Split.VALIDATION, Split.TEST)
_BLOCK_GRAPHS = 16_384


class BadGraphError(StoreError):
    """A graph of the raw data cannot be used; the message names it."""


def prepare(
    definition: WorkloadDefinition,
    data_dir: Path,
    *,
    source_dir: Path | None,
    num_workers: int,
    report: Report,
) -> None:
    """Writes the store; the arrays are described in `workloads.ogbg.data.GraphSource`.

    Bonds are stored in both directions: of each graph all as given, then all reversed.

    Raises:
      StoreError: no raw dataset under `source_dir`, or a split of another size than the definition's.
      BadGraphError: a graph without atoms, over the size limits, with a bond to an atom that it does not have, with a
        feature that is not a small whole number, or with a label other than 0, 1 and NaN.
    """
    del num_workers  # one process reads 437,923 graphs in about a minute
    if definition.tier is Tier.MINI:
        source_dir = raw_dir(definition, data_dir)
        identity = f"{definition.splits} {definition.data} {generator_facts(definition)}"
        generate_once(source_dir, identity, functools.partial(write_molecules, definition, source_dir, report))
    source_dir = find_raw(definition, source_dir or data_dir) or source_dir
    if source_dir is None:
        raise StoreError(f"no raw data of {definition.name} under {data_dir}. {how_to_get(definition)}")
    folder, splits = _open_raw(definition, source_dir)
    for split, examples in splits.items():
        if len(examples) != definition.splits[split]:
            raise StoreError(
                f"{folder}: split {split} has {len(examples)} graphs, expected {definition.splits[split]}; "
                f"the raw data are incomplete or another version"
            )
    write_store(definition, new_store_dir(definition, data_dir), splits, report, source=f"{folder}: ")


def _open_raw(definition: WorkloadDefinition, source_dir: Path) -> tuple[Path, Mapping[Split, Sequence[Example]]]:
    """The archive of OGB or the TFDS dataset, which hold the same graphs in the same order, and where it is."""
    if has_archive(source_dir):
        return source_dir / ARCHIVE, read_archive(source_dir, definition.model.num_tasks)
    folder = find_tfds_dataset(source_dir, definition.data.builder)
    required = ("num_nodes", "node_feat", "edge_feat", "edge_index", "labels")
    return folder, {split: TfdsSplit(folder, str(split), required=required) for split in _SPLITS}


def find_raw(definition: WorkloadDefinition, folder: Path) -> Path | None:
    """See `algoperf.data.source.PrepareModule`."""
    builder = definition.data.builder
    return first_folder(folder, ("ogbg",), lambda root: has_archive(root) or has_tfds_dataset(root, builder))


def how_to_get(definition: WorkloadDefinition) -> str:
    return (
        f"python -m algoperf.prepare {definition.name} --download --accept_licenses --data_dir=DIR downloads OGB's "
        f"{ARCHIVE} (40 MB) and prepares it. Or put it, or the TFDS dataset {definition.data.builder}, into a folder "
        "and add --source_dir=FOLDER."
    )


def write_store(
    definition: WorkloadDefinition,
    path: Path,
    splits: Mapping[Split, Sequence[Example]],
    report: Report,
    *,
    source: str = "",
) -> None:
    """Writes the splits one after the other; `meta["splits"]` gives the first graph of each and one past its last.

    Messages about bad graphs begin with `source`.
    """
    bounds = pairwise(accumulate(map(len, splits.values()), initial=0))
    meta = {
        "splits": dict(zip(map(str, splits), bounds, strict=True)),
        "num_tasks": definition.model.num_tasks,
        "generator": generator_facts(definition),
    }
    with StoreWriter(path, meta) as writer:
        arrays = _GraphArrays(writer, definition)
        for split, examples in splits.items():
            written, block = 0, []
            for example in examples:
                block.append(example)
                if len(block) == min(_BLOCK_GRAPHS, len(examples) - written):
                    arrays.append(block, f"{source}split {split}", written)
                    written += len(block)
                    block = []
                    report(f"{split}: {written} of {len(examples)} graphs")


class _GraphArrays:
    """The arrays of a store, appended to by blocks of graphs."""

    def __init__(self, writer: StoreWriter, definition: WorkloadDefinition) -> None:
        self._config: MoleculeData = definition.data
        self._num_tasks = definition.model.num_tasks
        self._starts = {kind: writer.appender(f"{kind}_starts", np.int64) for kind in ("node", "edge")}
        self._totals = dict.fromkeys(self._starts, 0)
        for starts in self._starts.values():
            starts.append(np.zeros(1, np.int64))
        self._nodes = writer.appender("nodes", np.uint8, (NUM_NODE_FEATURES,))
        self._edges = writer.appender("edges", np.uint8, (NUM_EDGE_FEATURES,))
        self._ends = {name: writer.appender(name, np.uint16) for name in ("senders", "receivers")}
        self._labels = writer.appender("labels", np.int8, (self._num_tasks,))

    def append(self, examples: Sequence[Example], where: str, position: int) -> None:
        num_nodes = np.array([len(example["node_feat"]) for example in examples])
        num_bonds = np.array([len(example["edge_feat"]) for example in examples])
        block = _Block(where=where, position=position)
        self._check_sizes(examples, num_nodes, num_bonds, block)
        nodes = block.small_integers("node_feat", [example["node_feat"] for example in examples], num_nodes)
        bonds = block.small_integers("edge_feat", [example["edge_feat"] for example in examples], num_bonds)
        ends = np.concatenate([example["edge_index"] for example in examples]).reshape(-1, 2)
        outside = ((ends < 0) | (ends >= np.repeat(num_nodes, num_bonds)[:, None])).any(axis=1)
        block.refuse_rows(outside, num_bonds, lambda row: f"bond {ends[row].tolist()} names an atom that is not there")

        forward_then_back = _both_directions(num_bonds)
        self._nodes.append(nodes)
        self._edges.append(bonds[forward_then_back.bond])
        reverse = forward_then_back.is_reversed
        for name, column in (("senders", reverse), ("receivers", 1 - reverse)):
            self._ends[name].append(ends[forward_then_back.bond, column].astype(np.uint16))
        self._append_starts("node", num_nodes)
        self._append_starts("edge", 2 * num_bonds)
        self._labels.append(self._checked_labels(examples, block))

    def _append_starts(self, kind: str, sizes: np.ndarray) -> None:
        ends = self._totals[kind] + np.cumsum(sizes)
        self._starts[kind].append(ends)
        self._totals[kind] = int(ends[-1])

    def _check_sizes(
        self, examples: Sequence[Example], num_nodes: np.ndarray, num_bonds: np.ndarray, block: "_Block"
    ) -> None:
        declared = np.array([np.asarray(example["num_nodes"]).sum() for example in examples])
        ends = np.array([len(example["edge_index"]) for example in examples])
        config = self._config
        block.refuse(num_nodes < 1, lambda g: "it has no atoms")
        block.refuse(
            declared != num_nodes, lambda g: f"num_nodes is {declared[g]}, but node_feat has {num_nodes[g]} rows"
        )
        block.refuse(ends != num_bonds, lambda g: f"edge_index has {ends[g]} rows, but edge_feat has {num_bonds[g]}")
        block.refuse(num_nodes > config.max_nodes, lambda g: f"{num_nodes[g]} atoms, the limit is {config.max_nodes}")
        block.refuse(
            2 * num_bonds > config.max_edges,
            lambda g: f"{2 * num_bonds[g]} directed edges, the limit is {config.max_edges}",
        )

    def _checked_labels(self, examples: Sequence[Example], block: "_Block") -> np.ndarray:
        for number, example in enumerate(examples):
            if np.shape(example["labels"]) != (self._num_tasks,):
                block.fail(number, f"labels of shape {np.shape(example['labels'])}, expected ({self._num_tasks},)")
        labels = np.stack([example["labels"] for example in examples])
        missing = np.isnan(labels)
        bad = ~(missing | (labels == 0) | (labels == 1))
        block.refuse(bad.any(axis=1), lambda g: f"label {labels[g][bad[g]][0]}, expected 0, 1 or NaN")
        return np.where(missing, MISSING_LABEL, np.nan_to_num(labels)).astype(np.int8)


class _Block:
    """Names the graph that is at fault; `position` is that of the block's first graph in its split."""

    def __init__(self, *, where: str, position: int) -> None:
        self._where = where
        self._position = position

    def fail(self, graph: int, message: str) -> None:
        raise BadGraphError(f"{self._where}, graph {self._position + graph}: {message}")

    def refuse(self, bad: np.ndarray, message: Callable[[int], str]) -> None:
        if bad.any():
            graph = int(np.argmax(bad))
            self.fail(graph, message(graph))

    def refuse_rows(self, bad: Any, rows_per_graph: np.ndarray, message: Callable[[int], str]) -> None:
        if bad.any():
            row = int(np.argmax(bad))
            self.fail(int(np.searchsorted(np.cumsum(rows_per_graph), row, side="right")), message(row))

    def small_integers(self, name: str, parts: list[np.ndarray], rows_per_graph: np.ndarray) -> np.ndarray:
        """Returns the rows as uint8; features of molecules are small category numbers stored as floats."""
        rows = np.concatenate(parts)
        with np.errstate(invalid="ignore"):
            small = rows.astype(np.uint8)
        self.refuse_rows(
            (small != rows).any(axis=1),
            rows_per_graph,
            lambda row: f"{name} {rows[row].tolist()}, expected whole numbers from 0 to 255",
        )
        return small


class _Directions(NamedTuple):
    """For each directed edge of a block: the bond it comes from, and 1 where it runs against it."""

    bond: np.ndarray
    is_reversed: np.ndarray


def _both_directions(num_bonds: np.ndarray) -> _Directions:
    graph = np.repeat(np.arange(len(num_bonds)), 2 * num_bonds)
    first_edge = np.cumsum(2 * num_bonds) - 2 * num_bonds
    index_in_graph = np.arange(len(graph)) - first_edge[graph]
    is_reversed = (index_in_graph >= num_bonds[graph]).astype(np.int64)
    bond = (np.cumsum(num_bonds) - num_bonds)[graph] + index_in_graph - is_reversed * num_bonds[graph]
    return _Directions(bond, is_reversed)


def write_molecules(definition: WorkloadDefinition, directory: Path, report: Report) -> None:
    """Writes the mini's molecules as a TFDS dataset of the name, version and features of the real one."""
    from workloads.ogbg.molecules import generate

    name, version = definition.data.builder.split("/")
    sizes = {split: definition.splits[split] or 0 for split in _SPLITS}
    report(f"generating {sum(sizes.values())} molecules at {directory}")
    splits = generate(definition.data.molecule_seed, sizes, definition.model.num_tasks)
    write_tfds_dataset(directory, name, version, lambda features: _features(features, definition), splits)


def _features(features: Any, definition: WorkloadDefinition) -> dict[str, Any]:
    def tensor(shape: tuple[int | None, ...], dtype: Any) -> Any:
        return features.Tensor(shape=shape, dtype=dtype)

    return {
        "num_nodes": tensor((None,), np.int64),
        "node_feat": tensor((None, NUM_NODE_FEATURES), np.float32),
        "num_edges": tensor((None,), np.int64),
        "edge_feat": tensor((None, NUM_EDGE_FEATURES), np.float32),
        "edge_index": tensor((None, 2), np.int64),
        "labels": tensor((definition.model.num_tasks,), np.float32),
    }
