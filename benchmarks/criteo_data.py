"""Speed of click-log preparation (text to store) and of reading batches from a warm store.

`python benchmarks/criteo_data.py [--rows=1000000] [--workers 1 2] [--folder=/dev/shm]`. Text is generated once and
repeated; files lie in a temporary folder, by default where temporary files go. Rates per CPU second are those to
compare; wall-clock rates, and what a second worker adds to them, mean something on an idle machine only. The
decompressors take turns on the same bytes: their ratio is what the one in use is worth.
"""

import argparse
import dataclasses
import gzip
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from algoperf.data import BatchRequest, TrainPipeline
from algoperf.definition import Split, SplitSizes
from workloads.criteo1tb import prepare
from workloads.criteo1tb.click_log import HiddenModel, format_rows
from workloads.criteo1tb.data import ClickSource, open_split
from workloads.criteo1tb.definition import CRITEO1TB, ClickLogData
from workloads.criteo1tb.parser import parse

_DISTINCT_ROWS = 50_000
_BATCH = 262_144


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="files prepared at once")
    parser.add_argument("--folder", type=Path, default=None, help="where to work; on tmpfs the disk plays no part")
    arguments = parser.parse_args()
    day = HiddenModel(0).next_day(_DISTINCT_ROWS)
    text = format_rows(day, 0, _DISTINCT_ROWS)
    parse(np.frombuffer(text[: text.index(b"\n") + 1], np.uint8))  # compiles
    _decompress(gzip.compress(text, 6))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for form in ("plain", "gzip"):
            speeds = {}
            for workers in arguments.workers:
                store = Path(folder) / f"{form}_{workers}"
                speeds[workers], cpu_speed = _prepare(store, text, arguments.rows, workers, compressed=form == "gzip")
                megabytes = speeds[workers] * len(text) / _DISTINCT_ROWS / 1e6
                print(
                    f"prepare, {form}, {workers} at once: {speeds[workers] / 1e6:.2f} M rows/s, {megabytes:.0f} MB/s; "
                    f"{cpu_speed / 1e6:.2f} M rows per CPU second"
                )
            first, *others = arguments.workers
            for workers in others:
                print(f"  {workers} workers against {first}, wall clock: {speeds[workers] / speeds[first]:.2f}")
        _read(open_split(_definition(arguments.rows), Split.TRAIN, Path(folder) / f"plain_{arguments.workers[0]}"))


def _decompress(content: bytes) -> None:
    """Prints rates in millions of rows per CPU second."""
    from isal import isal_zlib

    rates = dict.fromkeys(("zlib", "isal"), 0.0)
    for _ in range(5):
        for name, module in (("zlib", zlib), ("isal", isal_zlib)):
            started = time.process_time()
            module.decompress(content, 31)
            rates[name] = max(rates[name], _DISTINCT_ROWS / (time.process_time() - started) / 1e6)
    print(
        f"gunzip: zlib {rates['zlib']:.2f}, isal {rates['isal']:.2f} M rows per CPU second, "
        f"ratio {rates['isal'] / rates['zlib']:.2f}"
    )


def _definition(num_rows: int):
    evaluation = _DISTINCT_ROWS
    return dataclasses.replace(
        CRITEO1TB,
        splits=SplitSizes(train=num_rows, eval_train=evaluation, validation=evaluation // 2, test=evaluation // 2),
        data=ClickLogData(num_days=2, shuffle_block_rows=500_000),
    )


def _prepare(data_dir: Path, text: bytes, num_rows: int, workers: int, *, compressed: bool) -> tuple[float, float]:
    """Prepares `workers` pieces of one day at once; returns rows per second, and per second of CPU time."""
    raw = data_dir / "raw"
    raw.mkdir(parents=True)
    repeats = num_rows // _DISTINCT_ROWS // workers
    piece = gzip.compress(text, 1) * repeats if compressed else text * repeats
    suffix = ".gz" if compressed else ""
    for number in range(workers):
        (raw / f"day_0_{number:02d}{suffix}").write_bytes(piece)
    (raw / "day_1").write_bytes(text)
    definition = _definition(repeats * workers * _DISTINCT_ROWS)
    started, cpu_started = time.perf_counter(), time.process_time()
    prepare.prepare(definition, data_dir, source_dir=raw, num_workers=workers, report=lambda message: None)
    rows = definition.splits.train + _DISTINCT_ROWS
    return rows / (time.perf_counter() - started), rows / (time.process_time() - cpu_started)


def _read(source: ClickSource) -> None:
    rows = np.arange(len(source))
    everything = BatchRequest(indices=rows, batch_size=len(rows), seed=0)
    source.read(everything)  # warms the store
    rng = np.random.default_rng(0)
    pipeline = TrainPipeline(source, batch_size=_BATCH, seed=0)
    scattered = [rng.integers(0, len(source), _BATCH) for _ in range(8)]
    speeds = {
        "training order (blocks of rows)": _speed(lambda number: next(pipeline)),
        "scattered single rows": _speed(
            lambda number: source.read(BatchRequest(indices=scattered[number], batch_size=_BATCH, seed=0))
        ),
    }
    for order, speed in speeds.items():
        print(f"read, batches of {_BATCH}, {order}: {speed / 1e6:.1f} M rows/s")


def _speed(read: Callable[[int], object]) -> float:
    started = time.perf_counter()
    for number in range(8):
        read(number)
    return 8 * _BATCH / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
