"""Marks of the threads and processes that the benchmark runs beside training, so that they can be recognised."""

import threading
from typing import Any

THREAD_PREFIX = "algoperf-"  # of the names of own threads
PROCESS_MARK = "ALGOPERF_OWN_PROCESS"  # environment variable of own processes
_QUEUE_THREAD = "QueueFeederThread"  # of multiprocessing and loky, idle without their pools
_TRACKERS = ("resource_tracker", "semaphore_tracker")  # helpers of multiprocessing and loky, idle until the end


def is_own_thread(thread: threading.Thread) -> bool:
    return thread.name.startswith((THREAD_PREFIX, _QUEUE_THREAD)) or type(thread).__module__.startswith("loky.")


def is_own_process(process: Any) -> bool:
    """Whether a `psutil.Process` is marked as the benchmark's, or has ended in the meantime."""
    try:
        return PROCESS_MARK in process.environ() or any(name in " ".join(process.cmdline()) for name in _TRACKERS)
    except Exception:  # ended, or a platform that does not tell
        return True
