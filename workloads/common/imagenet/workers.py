"""A pool of processes that decode and augment images into shared memory.

Loky starts them afresh, without importing the main program: they have no framework in memory, and a script needs no
`if __name__ == "__main__"`. The memory has no name: the system frees it with the last process that uses it, and the
size of `/dev/shm`, small in containers, does not limit it.
"""

import contextlib
import mmap
import os
import tempfile
import threading
from collections.abc import Iterator, Sequence

import loky
import numpy as np

from algoperf.background import PROCESS_MARK
from algoperf.cores import usable_cores
from algoperf.errors import UserError
from workloads.common.imagenet.worker import Task, initialise, perform

NUM_WORKERS_VARIABLE = "ALGOPERF_DATA_WORKERS"
_WORKER_ENVIRONMENT = {
    PROCESS_MARK: "1",
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    "LOKY_MAX_MEMORY_LEAK_SIZE": "1e18",  # bytes; memory maps of stores grow, and loky would take them for a leak
}


class WorkerError(UserError):
    """A decoding process ended."""


class WorkerPool:
    """Performs tasks in `num_workers` processes, started at the first. Safe to use from several threads."""

    def __init__(self, num_workers: int) -> None:
        self._executor = loky.ProcessPoolExecutor(
            num_workers, initializer=initialise, initargs=(os.getpid(),), env=_WORKER_ENVIRONMENT
        )

    def perform(self, tasks: Sequence[Task]) -> None:
        """Returns when all tasks are done; raises the first error of any."""
        try:
            for _ in self._executor.map(perform, tasks):
                pass
        except loky.BrokenProcessPool as broken:
            raise WorkerError(
                f"an image worker ended; if it was killed, memory may be short: try fewer workers "
                f"({NUM_WORKERS_VARIABLE})"
            ) from broken

    def close(self) -> None:
        """Ends the processes."""
        self._executor.shutdown(kill_workers=True)


def default_num_workers() -> int:
    """`ALGOPERF_DATA_WORKERS`, or this process's share of the usable cores."""
    if given := os.environ.get(NUM_WORKERS_VARIABLE):
        return int(given)
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(1, len(usable_cores()) // processes)


_pool: WorkerPool | None = None
_pool_lock = threading.Lock()


def shared_pool() -> WorkerPool:
    """The pool of this process, started on first use; all splits share it."""
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = WorkerPool(default_num_workers())
        return _pool


@contextlib.contextmanager
def shared_array(shape: tuple[int, ...]) -> Iterator[tuple[np.ndarray, str]]:
    """Yields a float32 array of zeros in shared memory, and a path by which other processes open it meanwhile.

    The array outlives the context; its memory is freed with it, and with this process.
    """
    size = int(np.prod(shape)) * np.dtype(np.float32).itemsize
    with _shared_file() as (descriptor, path):
        os.ftruncate(descriptor, size)
        yield np.frombuffer(mmap.mmap(descriptor, size), np.float32).reshape(shape), path


@contextlib.contextmanager
def _shared_file() -> Iterator[tuple[int, str]]:
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("algoperf-images")
        try:
            yield descriptor, f"/proc/{os.getpid()}/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:
        with tempfile.NamedTemporaryFile(prefix="algoperf-images-") as file:
            yield file.fileno(), file.name


def chunks(count: int, size: int) -> Iterator[slice]:
    """Consecutive slices of at most `size` that cover 0 ... count - 1."""
    for first in range(0, count, size):
        yield slice(first, min(first + size, count))
