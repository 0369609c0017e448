"""Scalars as TensorBoard event files."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from algoperf.records.layout import EVENTS


class TensorBoardLog:
    """Writes event files into a folder, in the calling thread; raises OSError when the disk is full or not writable."""

    def __init__(self, folder: Path) -> None:
        with _torch_kept_out():
            from tensorboardX.event_file_writer import EventsWriter
            from tensorboardX.proto.event_pb2 import Event
            from tensorboardX.proto.summary_pb2 import Summary

        self._event, self._summary = Event, Summary
        unique = f".{os.getpid()}.{time.monotonic_ns()}"
        self._writer = EventsWriter(str(folder / EVENTS), unique)

    def write(self, metrics: Mapping[str, float], global_step: int, wall_time_s: float) -> None:
        value = self._summary.Value
        summary = self._summary(value=[value(tag=name, simple_value=number) for name, number in metrics.items()])
        self._writer.write_event(self._event(wall_time=wall_time_s, step=global_step, summary=summary))

    def flush(self) -> None:
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
