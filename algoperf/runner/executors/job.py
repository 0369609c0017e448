"""Runs one trial of a suite inside a job of a scheduler:

  python -m algoperf.runner.executors.job SUITE TRIAL

SUITE is the suite's folder, TRIAL a number counted from 0 or a trial's folder below it. A trial that was interrupted
resumes from its last checkpoint, one that is finished is left alone, one whose process was killed is resumed at once.
SIGTERM asks for a checkpoint and an end; SIGUSR1 and SIGUSR2, which announce a time limit or a preemption, put the job
back into the queue as well.
"""

import argparse
import dataclasses
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from algoperf.errors import UserError
from algoperf.reporting import Report, report_to_stderr
from algoperf.runner.executors import scheduler
from algoperf.runner.executors.results import result_line
from algoperf.runner.executors.suite_folder import StoredSuite, StoredTrial
from algoperf.runner.executors.trial_process import (
    MAX_KILLS,
    SCHEDULER_SIGNALS,
    Placement,
    ProcessEnd,
    Reason,
    TrialProcess,
    environment_placement,
)
from algoperf.runner.launch import node_rank

_POLL_S = 0.05
_END_S = 60.0  # in which the scheduler ends a job that it has put back


class TrialFailedError(UserError):
    """The trial of a job has not finished, and starting it again would not help."""


def run_job(folder: str, name: str, *, executor: str = "print", report: Report = report_to_stderr) -> None:
    """Runs a trial to its end, or until the scheduler wants its machine back.

    Raises:
      SuiteFolderError: there is no such suite or trial.
      TrialFailedError: the trial has not finished.
    """
    suite = StoredSuite.read(Path(folder))
    trial = suite.trial(name)
    with _JobSignals() as signals:
        end = _run(suite, trial, executor, signals, report)
        if end is None or end.reason is Reason.FINISHED:
            return
        if end.reason is Reason.REQUEUED and _is_first_node():
            _requeue(suite, trial, signals, report)
        elif end.reason is Reason.FAILED or end.reason is Reason.KILLED:
            raise TrialFailedError(f"{trial.label}: {result_line(suite, trial, end.status)}")
    if end.reason is Reason.STOPPED:
        raise SystemExit(128 + signal.SIGTERM)


def _run(
    suite: StoredSuite, trial: StoredTrial, executor: str, signals: "_JobSignals", report: Report
) -> ProcessEnd | None:
    """Runs the process of the trial, again where it is killed; None where the trial was finished before."""
    end = None
    for _ in range(MAX_KILLS):
        if suite.is_finished(trial):
            report(f"{trial.label}: finished before; not run again")
            return end
        if _is_first_node() and suite.num_starts(trial) >= suite.site.max_starts:
            raise TrialFailedError(f"{trial.label}: was started {suite.site.max_starts} times and has not finished")
        process = TrialProcess(suite, trial, _placement(suite, trial, executor), is_writer=_is_first_node())
        process.start()
        end = _wait(process, signals)
        process.note_end(end, neighbours=list(_neighbours(process.placement)))
        report(f"{trial.label}: {end.reason}, {result_line(suite, trial, end.status)}")
        if end.reason is not Reason.KILLED or int(os.environ.get("SLURM_NNODES", "1")) > 1:
            break
    return end


def _wait(process: TrialProcess, signals: "_JobSignals") -> ProcessEnd:
    while True:
        if signals.stop or signals.requeue:
            process.stop()
        end = process.poll()
        if end is not None:
            if signals.requeue and not signals.stop and end.reason is not Reason.FINISHED:
                return ProcessEnd(status=end.status, reason=Reason.REQUEUED)
            return end
        time.sleep(_POLL_S)


def _placement(suite: StoredSuite, trial: StoredTrial, executor: str) -> Placement:
    resources = suite.resources.get(trial.workload)
    is_exclusive = None if resources is None else resources.exclusive
    placement = environment_placement(os.environ, executor, socket.gethostname(), is_exclusive=is_exclusive)
    return dataclasses.replace(placement, neighbours=tuple(_neighbours(placement)))


def _neighbours(placement: Placement) -> Sequence[str]:
    """Other jobs on the node, where it is not this job's alone and the scheduler answers."""
    if placement.job is None or placement.is_exclusive:
        return ()
    try:
        return scheduler.jobs_on(placement.node, besides=os.environ["SLURM_JOB_ID"])
    except scheduler.SchedulerError:
        return ()


def _requeue(suite: StoredSuite, trial: StoredTrial, signals: "_JobSignals", report: Report) -> None:
    """Puts the job back into the queue; the scheduler ends this process thereupon."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        raise SystemExit(128 + signal.SIGTERM)
    report(f"{trial.label}: goes back into the queue as job {job}")
    try:
        scheduler.requeue(job)
    except scheduler.SchedulerError as error:
        raise TrialFailedError(f"{trial.label}: cannot be put back into the queue: {error}") from error
    deadline_s = time.monotonic() + _END_S
    while not signals.stop and time.monotonic() < deadline_s:
        time.sleep(_POLL_S)


def _is_first_node() -> bool:
    return node_rank() == 0


class _JobSignals:
    """Takes the scheduler's signals from now on; what the process did with them before is given back at the end."""

    def __init__(self) -> None:
        self.stop = False
        self.requeue = False

    def __enter__(self) -> "_JobSignals":
        self._previous = {number: signal.signal(number, self._receive) for number in self._numbers()}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if signal.Signals(number).name in SCHEDULER_SIGNALS:
            self.requeue = True
        elif number != signal.SIGCONT:
            self.stop = True

    @staticmethod
    def _numbers() -> list[int]:
        return [signal.Signals[name] for name in (*SCHEDULER_SIGNALS, "SIGTERM", "SIGCONT", "SIGINT")]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m algoperf.runner.executors.job")
    parser.add_argument("suite", help="folder of the suite")
    parser.add_argument("trial", help="number of the trial, from 0, or its folder below the suite's")
    options = parser.parse_args(arguments)
    try:
        run_job(options.suite, options.trial)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
