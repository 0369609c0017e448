"""Keeps a second process out of a trial: a lock next to the trial's folder, with a file that says who holds it.

The operating system frees the lock when the process ends, however it ends. On NFS it holds between machines where the
mount supports locks; where a file system has none, a warning says so.
"""

import contextlib
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from algoperf.errors import UserError
from algoperf.records import json
from algoperf.records.layout import ExperimentPaths, lock_file, lock_owner_file
from algoperf.reporting import Report


class TrialInUseError(UserError):
    """Another process works on the trial."""


def lock_trials(paths: ExperimentPaths, trials: Iterable[int], cleanup: contextlib.ExitStack, report: Report) -> None:
    """Takes the locks of `trials`; `cleanup` gives them back.

    Raises:
      TrialInUseError: another process holds one; it is named by host and process id.
    """
    for number in trials:
        cleanup.enter_context(_held(paths, number, report))


@contextlib.contextmanager
def _held(paths: ExperimentPaths, number: int, report: Report) -> Iterator[None]:
    path, owner = lock_file(paths.workload_dir, number), lock_owner_file(paths.workload_dir, number)
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise TrialInUseError(
            f"{paths.trial_dir(number)} is in use by {_owner(owner)}; wait until it ends, or choose another "
            "--experiment_name"
        ) from None
    except (OSError, NotImplementedError) as error:
        if isinstance(error, PermissionError | FileNotFoundError):
            raise
        report(f"warning: cannot lock {path} ({error}); nothing keeps a second process out of this trial")
        yield
        return
    try:
        json.write(owner, {"host": socket.gethostname(), "pid": os.getpid()})
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _owner(path: Path) -> str:
    owner = json.read_if_intact(path) or {}
    return f"process {owner.get('pid', '(unknown)')} on {owner.get('host', 'an unknown host')}"
