"""Prints how many images per second training batches of 16 MNIST images (28 x 28) are gathered at.

Usage: python benchmarks/data_reading.py [--seconds=2] [--batch_size=16]

The store has MNIST's size (60,000 images) and random pixels. The first line is the training pipeline: shuffled
by seed and epoch, read by index from the memory map, normalised to float32. The second adds the hand-over between
threads to a consumer that only waits; the others are one read for each batch, and a gather without anything else.
"""

import argparse
import dataclasses
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from algoperf.data import Prefetcher, StoreWriter, TrainPipeline
from algoperf.definition import Split
from algoperf.registry import REGISTRY

NUM_IMAGES = 60_000


def images_per_second(batches: Iterator, batch_size: int, seconds: float) -> float:
    """Median over ten equal parts of the measuring time."""
    for _ in itertools.islice(batches, 200):
        pass
    rates = []
    for _ in range(10):
        started, count = time.perf_counter(), 0
        while time.perf_counter() - started < seconds / 10:
            for _ in itertools.islice(batches, 64):
                pass
            count += 64
        rates.append(count * batch_size / (time.perf_counter() - started))
    return float(np.median(rates))


def bare_gather(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(0)
    while True:
        order = generator.permutation(len(images))
        for start in range(0, len(images) - batch_size, batch_size):
            yield images[order[start : start + batch_size]]


class OneBatchAtATime:
    """Hides `rows_per_read` of a source."""

    def __init__(self, source) -> None:
        self.read: Callable = source.read
        self._source = source

    def __len__(self) -> int:
        return len(self._source)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time of each line")
    parser.add_argument("--batch_size", type=int, default=16)
    options = parser.parse_args()
    definition = dataclasses.replace(REGISTRY.get("mnist"), dataset="random_mnist")
    with tempfile.TemporaryDirectory() as directory:
        generator = np.random.default_rng(0)
        with StoreWriter(Path(directory) / definition.dataset, {}) as writer:
            for split, size in (("train", NUM_IMAGES), ("test", 1)):
                writer.add(f"{split}_images", generator.integers(0, 256, (size, 28, 28, 1), dtype=np.uint8))
                writer.add(f"{split}_labels", generator.integers(0, 10, size, dtype=np.int32))
        source = REGISTRY.module("mnist", "data").open_split(definition, Split.TRAIN, Path(directory))
        images = generator.integers(0, 256, (NUM_IMAGES, 28, 28, 1), dtype=np.uint8)

        def report(what: str, batches: Iterator) -> None:
            rate = images_per_second(batches, options.batch_size, options.seconds)
            print(f"{what:<40} {rate:>12,.0f} images/s  {options.batch_size / rate * 1e6:7.1f} us per batch")

        def pipeline(of: object) -> TrainPipeline:
            return TrainPipeline(of, batch_size=options.batch_size, seed=0)

        report("training pipeline", pipeline(source))
        with Prefetcher(lambda start: pipeline(source)) as prefetcher:
            report("training pipeline, in another thread", prefetcher)
        report("one batch at a time", pipeline(OneBatchAtATime(source)))
        report("bare gather of uint8, not normalised", bare_gather(images, options.batch_size))


if __name__ == "__main__":
    main()
