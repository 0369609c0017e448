"""The executor that a command names."""

import re
from collections.abc import Sequence
from typing import Protocol

from algoperf.reporting import Report
from algoperf.runner.executors.local import local_executor
from algoperf.runner.executors.slurm import PrintExecutor, SlurmExecutor
from algoperf.runner.executors.suite_folder import StoredSuite, StoredTrial
from algoperf.runner.run_config import ConfigError

LOCAL = "local"
_LOCAL = re.compile(r"local(?::([1-9]\d*))?")


class Executor(Protocol):
    """Runs trials of a suite, or has them run."""

    def run(self, suite: StoredSuite, trials: Sequence[StoredTrial], report: Report) -> int:
        """Returns the exit status of the command."""
        ...


def choose_executor(name: str) -> Executor:
    """`local` for one run at a time, `local:N` for N, `slurm`, or `print`.

    Raises:
      ConfigError: it is none of these, or this machine is too small.
    """
    if name == "slurm":
        return SlurmExecutor()
    if name == "print":
        return PrintExecutor()
    match = _LOCAL.fullmatch(name)
    if match is None:
        raise ConfigError(f"--executor={name}: expected local, local:N, slurm or print")
    return local_executor(int(match[1] or 1))
