"""Speed of assembling padded graph batches, and of mean average precision.

`python benchmarks/ogbg_batches.py [--graphs=60000]`. The store holds random graphs of the sizes of ogbg-molpcba
(26 atoms and 56 directed edges on average, the largest over 300).
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import numpy as np

from algoperf.data import EvalPipeline, StoreWriter, TrainPipeline
from algoperf.definition import Split, SplitSizes
from workloads.ogbg.data import GraphSource, open_split
from workloads.ogbg.definition import OGBG
from workloads.ogbg.metrics import mean_average_precision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--graphs", type=int, default=60_000)
    num_graphs = parser.parse_args().graphs
    with tempfile.TemporaryDirectory() as folder:
        definition = _write(Path(folder), num_graphs)
        source = open_split(definition, Split.TRAIN, Path(folder))
        for num_shards in (1, 8):
            _report_training(source, 512, num_shards)
        _report_evaluation(source, OGBG.eval_batch_size)
    _report_metric(OGBG.splits.validation)


def _write(data_dir: Path, num_graphs: int):
    rng = np.random.default_rng(0)
    num_nodes = np.maximum(1, rng.normal(26, 6.5, num_graphs)).astype(np.int64)
    num_nodes[rng.integers(num_graphs)] = 332
    num_edges = 2 * (num_nodes + 2)
    sizes = SplitSizes(train=num_graphs, eval_train=1, validation=1, test=1)
    owners = np.repeat(num_nodes, num_edges)
    with StoreWriter(data_dir / OGBG.dataset, {"splits": {"train": (0, num_graphs)}, "generator": None}) as writer:
        writer.add("nodes", rng.integers(0, 10, (num_nodes.sum(), 9)).astype(np.uint8))
        writer.add("edges", rng.integers(0, 4, (num_edges.sum(), 3)).astype(np.uint8))
        for name in ("senders", "receivers"):
            writer.add(name, rng.integers(0, owners).astype(np.uint16))
        for name, counts in (("node_starts", num_nodes), ("edge_starts", num_edges)):
            writer.add(name, np.concatenate([[0], np.cumsum(counts)]))
        writer.add("labels", rng.integers(-1, 2, (num_graphs, 128)).astype(np.int8))
    return dataclasses.replace(OGBG, splits=sizes)


def _report_training(source: GraphSource, batch_size: int, num_shards: int) -> None:
    pipeline = TrainPipeline(source, batch_size=batch_size, seed=0, num_shards=num_shards)
    batch = next(pipeline)
    count = len(source) // batch_size
    started = time.perf_counter()
    for _ in range(count):
        batch = next(pipeline)
    speed = count * batch_size / (time.perf_counter() - started)
    rows = {name: tuple(batch["inputs"][name].shape) for name in ("nodes", "edges")}
    used = batch["inputs"]["n_node"].sum() / np.prod(rows["nodes"][:2])
    print(
        f"train, batches of {batch_size}, {num_shards} shards: {speed:,.0f} graphs/s; {rows}, {used:.0%} of nodes used"
    )


def _report_evaluation(source: GraphSource, batch_size: int) -> None:
    pipeline = EvalPipeline(source, batch_size=batch_size)
    started = time.perf_counter()
    seen = sum(int((batch["inputs"]["n_node"] > 0).sum()) for batch in pipeline)
    speed = seen / (time.perf_counter() - started)
    print(f"evaluation, batches of {batch_size}: {speed:,.0f} graphs/s, {seen} of {len(source)} graphs once")


def _report_metric(num_graphs: int) -> None:
    rng = np.random.default_rng(0)
    shape = (num_graphs, 128)
    scores, labels, labelled = (
        rng.standard_normal(shape).astype(np.float32),
        rng.random(shape) < 0.02,
        rng.random(shape) < 0.7,
    )
    started = time.perf_counter()
    mean_average_precision(scores, labels, labelled)
    print(f"mean average precision of {num_graphs} graphs x 128 tasks: {time.perf_counter() - started:.2f} s")


if __name__ == "__main__":
    main()
