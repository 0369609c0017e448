"""The cores that this process may use."""

import os


def usable_cores() -> list[int]:
    """Numbers of the cores that this process is kept to, in order; all of them where the system does not say."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))
