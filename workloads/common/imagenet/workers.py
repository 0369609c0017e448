"""A pool of processes that decode and augment images into shared memory.

The processes are started as programs, not forked or spawned by `multiprocessing`: they import neither the main program
nor a framework, and they end with this process.
"""

import atexit
import contextlib
import mmap
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from algoperf.cores import usable_cores
from algoperf.errors import UserError
from workloads.common.imagenet.worker import Task

NUM_WORKERS_VARIABLE = "ALGOPERF_DATA_WORKERS"


class WorkerError(UserError):
    """A decoding process ended."""


class WorkerPool:
    """Performs tasks in `num_workers` processes. Safe to use from several threads."""

    def __init__(self, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, got {num_workers}")
        self.num_workers = num_workers
        self._idle: queue.SimpleQueue[_Worker] = queue.SimpleQueue()
        for _ in range(num_workers):
            self._idle.put(_Worker())
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix="image-workers")

    def perform(self, tasks: Sequence[Task]) -> None:
        """Returns when all tasks are done; raises the first error of any."""
        for _ in self._threads.map(self._perform_one, tasks):
            pass

    def _perform_one(self, task: Task) -> None:
        worker = self._idle.get()
        try:
            worker.perform(task)
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Ends the processes."""
        self._threads.shutdown()
        for _ in range(self.num_workers):
            self._idle.get().close()


class _Worker:
    def __init__(self) -> None:
        one_thread = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        paths = os.pathsep.join(path for path in sys.path if path)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "workloads.common.imagenet.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **one_thread, "PYTHONPATH": paths},
            start_new_session=True,  # an interrupt at the keyboard is for the parent, which then closes the pipe
        )

    def perform(self, task: Task) -> None:
        try:
            pickle.dump(task, self._process.stdin)
            self._process.stdin.flush()
            error = pickle.load(self._process.stdout)
        except (BrokenPipeError, EOFError) as lost:
            raise WorkerError(
                f"an image worker ended with exit code {self._process.wait()}; if it was killed, memory may be short: "
                f"try fewer workers ({NUM_WORKERS_VARIABLE})"
            ) from lost
        if error is not None:
            raise error

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


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
            atexit.register(_pool.close)
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
