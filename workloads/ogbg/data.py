"""Batches of graphs, padded to fixed shapes and split over devices.

With B graphs for S shards, graphs 0 ... B/S - 1 go into the first shard, the next B/S into the second, and so on:

| `inputs` | dtype, shape | content |
|---|---|---|
| `nodes` | float32 [S, N, 9] | atom features of the shard's graphs, one graph after the other, then zeros |
| `edges` | float32 [S, E, 3] | bond features; of each graph all bonds, then all bonds again for the other direction |
| `senders`, `receivers` | int32 [S, E] | rows of `nodes` in the same shard; padding edges join the first padding node |
| `n_node`, `n_edge` | int32 [S, B/S] | sizes of the graphs; 0 for graphs that are padding |

`targets` float32 [B, tasks] hold 0 where a label is missing; `weights` float32 [B, tasks] are 0 there and in padding.
N and E depend on B/S and the split alone (`GraphBatchCapacity`), except for a very unlikely training batch.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from algoperf.data import Batch, BatchRequest, Store, StoreError, pad_rows
from algoperf.data.places import store_dir
from algoperf.definition import Split, WorkloadDefinition
from workloads.ogbg.definition import NUM_EDGE_FEATURES, NUM_NODE_FEATURES

MISSING_LABEL = -1
_SIGMAS = 5.0
_ROUND_TO = 8
# Mean atoms and directed edges of a molecule of ogbg-molpcba, as budgeted by AlgoPerf v0.6.
_TYPICAL_NODES, _TYPICAL_EDGES = 26, 56


@dataclass(frozen=True, kw_only=True)
class GraphBatchCapacity:
    """Rows that one shard has room for: N >= nodes + 1 (there is always a padding node) and E."""

    nodes: int
    edges: int

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.edges < 0:
            raise ValueError(f"a shard needs room for at least the padding node, got {self}")


def random_capacity(sizes: np.ndarray, num_graphs: int) -> int:
    """Rows that `num_graphs` randomly drawn graphs need, but for one draw in millions.

    Covers the largest graph among average ones, and the mean plus five standard deviations of a sum.
    """
    mean, deviation, largest = float(sizes.mean()), float(sizes.std()), int(sizes.max())
    with_largest = largest + mean * (num_graphs - 1)
    with_spread = mean * num_graphs + _SIGMAS * deviation * math.sqrt(num_graphs)
    return _rounded(min(max(with_largest, with_spread), largest * num_graphs))


def consecutive_capacity(sizes: np.ndarray, num_graphs: int) -> int:
    """Rows that any `num_graphs` consecutive graphs need."""
    ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    window = min(num_graphs, len(sizes))
    return _rounded(int((ends[window:] - ends[:-window]).max()))


def _rounded(rows: float) -> int:
    return math.ceil(rows / _ROUND_TO) * _ROUND_TO


class GraphSource:
    """One split of a store written by `workloads.ogbg.prepare`.

    Args:
      arrays: `nodes` [all nodes, 9] and `edges` [all edges, 3] of small unsigned integers; `senders`, `receivers`
        uint16 [all edges], local to their graph; `node_starts`, `edge_starts` int64 [graphs + 1]; `labels` int8
        [graphs, tasks] (-1: missing).
      first, last: the split is graphs first, ..., last - 1.
    """

    def __init__(self, arrays: Store, *, first: int, last: int) -> None:
        self._nodes, self._edges = np.asarray(arrays["nodes"]), np.asarray(arrays["edges"])
        self._senders, self._receivers = np.asarray(arrays["senders"]), np.asarray(arrays["receivers"])
        self._labels = np.asarray(arrays["labels"])[first:last]
        node_starts = np.asarray(arrays["node_starts"])[first : last + 1]
        edge_starts = np.asarray(arrays["edge_starts"])[first : last + 1]
        self._node_starts, self._node_counts = node_starts[:-1], np.diff(node_starts)
        self._edge_starts, self._edge_counts = edge_starts[:-1], np.diff(edge_starts)
        self._capacities: dict[tuple[int, bool], GraphBatchCapacity] = {}

    def __len__(self) -> int:
        return len(self._labels)

    def read(self, request: BatchRequest) -> Batch:
        per_shard = request.batch_size // request.num_shards
        capacity = self._capacity(per_shard, training=request.seed is not None)
        shards = [request.indices[s * per_shard : (s + 1) * per_shard] for s in range(request.num_shards)]
        while any(not self._fits(shard, capacity) for shard in shards):
            # One draw in millions: a larger shape (and a recompilation) rather than a lost graph.
            capacity = GraphBatchCapacity(nodes=_rounded(capacity.nodes * 1.25), edges=_rounded(capacity.edges * 1.25))
        inputs = _empty_inputs(request.num_shards, per_shard, capacity)
        for number, shard in enumerate(shards):
            self._fill({name: array[number] for name, array in inputs.items()}, shard)
        labels = pad_rows(self._labels[request.indices] + np.int8(1), request.batch_size)
        return {
            "inputs": inputs,
            "targets": (labels == 2).astype(np.float32),
            "weights": (labels > 0).astype(np.float32),
        }

    def _capacity(self, num_graphs: int, *, training: bool) -> GraphBatchCapacity:
        if (num_graphs, training) not in self._capacities:
            rows = random_capacity if training else consecutive_capacity
            self._capacities[num_graphs, training] = GraphBatchCapacity(
                nodes=rows(self._node_counts, num_graphs) + 1, edges=rows(self._edge_counts, num_graphs)
            )
        return self._capacities[num_graphs, training]

    def _fits(self, graphs: np.ndarray, capacity: GraphBatchCapacity) -> bool:
        return (
            int(self._node_counts[graphs].sum()) < capacity.nodes
            and int(self._edge_counts[graphs].sum()) <= capacity.edges
        )

    def _fill(self, shard: dict[str, np.ndarray], graphs: np.ndarray) -> None:
        node_counts, edge_counts = self._node_counts[graphs], self._edge_counts[graphs]
        shard["n_node"][: len(graphs)] = node_counts
        shard["n_edge"][: len(graphs)] = edge_counts
        node_rows, edge_rows = (
            _rows(self._node_starts[graphs], node_counts),
            _rows(self._edge_starts[graphs], edge_counts),
        )
        first_nodes = np.repeat((np.cumsum(node_counts) - node_counts).astype(np.int32), edge_counts)
        shard["nodes"][: len(node_rows)] = np.take(self._nodes, node_rows, axis=0)
        shard["edges"][: len(edge_rows)] = np.take(self._edges, edge_rows, axis=0)
        for name, ends in (("senders", self._senders), ("receivers", self._receivers)):
            np.add(np.take(ends, edge_rows), first_nodes, out=shard[name][: len(edge_rows)])
            shard[name][len(edge_rows) :] = len(node_rows)


def _rows(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns start_0, start_0 + 1, ... (count_0 of them), start_1, ..., as int64."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.repeat(starts - (ends - counts), counts) + np.arange(total)


def _empty_inputs(num_shards: int, per_shard: int, capacity: GraphBatchCapacity) -> dict[str, np.ndarray]:
    return {
        "nodes": np.zeros((num_shards, capacity.nodes, NUM_NODE_FEATURES), np.float32),
        "edges": np.zeros((num_shards, capacity.edges, NUM_EDGE_FEATURES), np.float32),
        "senders": np.zeros((num_shards, capacity.edges), np.int32),
        "receivers": np.zeros((num_shards, capacity.edges), np.int32),
        "n_node": np.zeros((num_shards, per_shard), np.int32),
        "n_edge": np.zeros((num_shards, per_shard), np.int32),
    }


def open_split(definition: WorkloadDefinition, split: Split, data_dir: Path) -> GraphSource:
    """Opens a split. `eval_train` is the first training graphs: TFDS stores examples in a random order."""
    store = Store(store_dir(definition, data_dir))
    if store.meta["generator"] != generator_facts(definition):
        raise StoreError(
            f"{store.path} holds other generated molecules than {definition.name} has now; delete it, and run again"
        )
    stored = Split.TRAIN if split is Split.EVAL_TRAIN else split
    first, last = store.meta["splits"][stored]
    if split is Split.EVAL_TRAIN:
        last = min(last, first + definition.splits.eval_train)
    return GraphSource(store, first=first, last=last)


def generator_facts(definition: WorkloadDefinition) -> dict[str, Any] | None:
    """What the contents of a generated store depend on; None for the real dataset."""
    seed = definition.data.molecule_seed
    if seed is None:
        return None
    from workloads.ogbg.molecules import sample_digest

    sizes = definition.splits
    return {"sample": sample_digest(seed), "graphs": [sizes.train, sizes.validation, sizes.test]}


def fake_batch(definition: WorkloadDefinition, batch_size: int, seed: int) -> Batch:
    """Random graphs for one shard: normal features, random bonds, a third of the labels missing, last graph padding."""
    rng = np.random.default_rng(seed)
    capacity = GraphBatchCapacity(nodes=_TYPICAL_NODES * batch_size + 1, edges=_TYPICAL_EDGES * batch_size)
    inputs = _empty_inputs(1, batch_size, capacity)
    num_real = max(1, batch_size - 1)
    n_node = inputs["n_node"][0, :num_real]
    n_edge = inputs["n_edge"][0, :num_real]
    n_node[:] = rng.integers(1, 2 * _TYPICAL_NODES, num_real)
    n_node[:] = np.minimum(n_node, _TYPICAL_NODES)
    n_edge[:] = rng.integers(0, _TYPICAL_EDGES + 1, num_real)
    total_nodes, total_edges = int(n_node.sum()), int(n_edge.sum())
    inputs["nodes"][0, :total_nodes] = rng.standard_normal((total_nodes, NUM_NODE_FEATURES))
    inputs["edges"][0, :total_edges] = rng.standard_normal((total_edges, NUM_EDGE_FEATURES))
    first_nodes, sizes = np.repeat(np.cumsum(n_node) - n_node, n_edge), np.repeat(n_node, n_edge)
    for name in ("senders", "receivers"):
        inputs[name][0, :total_edges] = first_nodes + rng.integers(0, sizes)
        inputs[name][0, total_edges:] = total_nodes
    shape = (batch_size, definition.model.num_tasks)
    weights = (rng.random(shape) < 2 / 3).astype(np.float32)
    weights[num_real:] = 0
    weights[:num_real, 0] = 1
    targets = (rng.random(shape) < 0.5) * weights
    return {"inputs": inputs, "targets": targets.astype(np.float32), "weights": weights}
