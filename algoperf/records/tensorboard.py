"""Scalars as TensorBoard event files."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from algoperf.records.layout import EVENTS
from algoperf.records.trackers import Row


class TensorBoardLog:
    """A tracker that writes event files into a folder."""

    def __init__(self, folder: Path) -> None:
        with _torch_kept_out():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.proto.summary_pb2 import Summary

        self._event, self._summary = Event, Summary
        unique = f".{os.getpid()}.{time.monotonic_ns()}"
        self._writer = EventsWriter(str(folder / EVENTS), unique)

    def log(self, rows: Sequence[Row]) -> None:
        value = self._summary.Value
        for row in rows:
            summary = self._summary(value=[value(tag=name, simple_value=x) for name, x in row.metrics.items()])
            self._writer.write_event(self._event(wall_time=row.wall_time_s, step=row.global_step, summary=summary))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


@contextlib.contextmanager
def _torch_kept_out() -> Iterator[None]:
    """tensorboardX imports PyTorch where it is installed; a JAX run must not pay for that."""
    if "torch" in sys.modules:
        yield
        return
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]
