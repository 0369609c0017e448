"""The process of one trial of a suite: started where it belongs, asked to stop, and noted in the trial's journal."""

import contextlib
import enum
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from algoperf.records import json
from algoperf.records.outcome import Outcome
from algoperf.records.provenance import PLACEMENT_VARIABLE
from algoperf.runner.executors.suite_folder import ENDED, STARTED, StoredSuite, StoredTrial
from algoperf.runner.launch import launch_words
from algoperf.runner.parent import child_environment

# Schedulers send these to every process of a job; only the process that started the trial acts on them.
SCHEDULER_SIGNALS = ("SIGUSR1", "SIGUSR2")
MAX_KILLS = 3  # of one trial, before its process is not started again at once


class Reason(enum.StrEnum):
    """Why the process of a trial ended."""

    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    KILLED = "killed"
    REQUEUED = "requeued"


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where a trial runs, and beside what; goes into its record.

    Attributes:
      executor: `local`, `slurm` or `print`.
      job: of the scheduler; None without one.
      node: name of the machine.
      cores: numbers of the cores that it is kept to; None for all that there are.
      gpus: CUDA_VISIBLE_DEVICES; None leaves it as it is.
      is_exclusive: whether nothing else of this user or scheduler may run on the machine; None where nobody says.
      neighbours: what ran on the same machine at the start: other trials or jobs.
    """

    executor: str
    job: str | None = None
    node: str
    cores: tuple[int, ...] | None = None
    gpus: str | None = None
    is_exclusive: bool | None = None
    neighbours: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ProcessEnd:
    """How the process of a trial ended.

    Attributes:
      status: exit status; negative for a signal.
      reason: what that means.
    """

    status: int
    reason: Reason


def runner_file() -> Path:
    """The script that a trial is run with."""
    spec = importlib.util.find_spec("submission_runner")
    return Path(spec.origin if spec is not None and spec.origin is not None else sys.argv[0]).resolve()


def trial_command(suite: StoredSuite, trial: StoredTrial) -> list[str]:
    """The command of a trial on this machine; of several nodes, this node's."""
    study = trial.key.split("/")[0]
    folders = [f"--experiment_dir={suite.root.parent}", f"--experiment_name={suite.root.name}/{study}"]
    launcher = launch_words(suite.launcher, suite.framework, suite.resources.get(trial.workload))
    return [*launcher, str(runner_file()), *trial.arguments, *folders]


@dataclass(eq=False)
class TrialProcess:
    """Runs a trial once, from its start or its last checkpoint.

    Attributes:
      is_writer: whether it writes the journal; of several nodes one does.
    """

    suite: StoredSuite
    trial: StoredTrial
    placement: Placement
    is_writer: bool = True
    _child: "subprocess.Popen[bytes] | None" = field(default=None, init=False)
    _is_asked: bool = field(default=False, init=False)

    def start(self) -> None:
        placement = json.plain(self.placement)
        environment = {**child_environment(), PLACEMENT_VARIABLE: json.dumps(placement, indent=0)}
        if self.placement.gpus is not None:
            environment["CUDA_VISIBLE_DEVICES"] = self.placement.gpus
        with _kept_to(self.placement.cores), _blocked(SCHEDULER_SIGNALS):
            self._child = subprocess.Popen(trial_command(self.suite, self.trial), env=environment)
        if self.is_writer:
            self.suite.append(self.trial, STARTED, pid=self._child.pid, parent=os.getpid(), **placement)

    def poll(self) -> ProcessEnd | None:
        """How it ended; None while it runs."""
        assert self._child is not None
        status = self._child.poll()
        return None if status is None else ProcessEnd(status=status, reason=self._reason(status))

    def stop(self) -> None:
        """Asks for a checkpoint and an end."""
        assert self._child is not None
        if not self._is_asked:
            self._is_asked = True
            with contextlib.suppress(ProcessLookupError):
                self._child.send_signal(signal.SIGTERM)

    def note_end(self, end: ProcessEnd, **details: Any) -> None:
        record = self.suite.record(self.trial)
        outcome = None if record is None else record.outcome
        if self.is_writer:
            self.suite.append(self.trial, ENDED, status=end.status, reason=end.reason, outcome=outcome, **details)

    def _reason(self, status: int) -> Reason:
        record = self.suite.record(self.trial)
        outcome = None if record is None else record.outcome
        if outcome is not None and outcome.is_final:
            return Reason.FINISHED
        if self._is_asked or (outcome is Outcome.INTERRUPTED and status > 0):
            return Reason.STOPPED
        return Reason.KILLED if status < 0 else Reason.FAILED


@contextlib.contextmanager
def _kept_to(cores: tuple[int, ...] | None) -> Iterator[None]:
    """Processes that start within the block, and all of their threads, are kept to `cores`."""
    if cores is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def _blocked(names: tuple[str, ...]) -> Iterator[None]:
    """Processes that start within the block never see these signals."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {getattr(signal, name) for name in names})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def environment_placement(environment: Mapping[str, str], executor: str, node: str, **details: Any) -> Placement:
    """The placement of a job, from the variables of the scheduler."""
    array, index = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{index}" if array and index else environment.get("SLURM_JOB_ID")
    return Placement(executor=executor, job=job, node=environment.get("SLURMD_NODENAME", node), **details)
