"""How far a suite is: what ran, failed, runs or waits, and how long is left. Reads records and journals, asks SLURM."""

import enum
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from algoperf.records.trial import TrialRecord
from algoperf.reporting import Report
from algoperf.runner.executors import scheduler
from algoperf.runner.executors.results import duration
from algoperf.runner.executors.scheduler import QueuedJob, SchedulerError
from algoperf.runner.executors.slurm import job_name
from algoperf.runner.executors.suite_folder import ENDED, Event, StoredSuite, StoredTrial
from algoperf.runner.summary import error_line


class State(enum.StrEnum):
    """What a trial does at the moment."""

    FINISHED = "finished"
    RUNNING = "running"
    WAITING = "waiting"
    FAILED = "failed"
    NOT_STARTED = "not started"
    INTERRUPTED = "interrupted"

    @property
    def needs_a_start(self) -> bool:
        """Whether nothing happens until a command runs it again."""
        return self in (State.FAILED, State.NOT_STARTED, State.INTERRUPTED)


@dataclass(frozen=True, kw_only=True)
class TrialStatus:
    """How far a trial is.

    Attributes:
      detail: for a person: its outcome, its machine, why it waits.
      num_starts: how often it was started or resumed.
      left_s: wall time that it takes at most from now on, seconds.
    """

    trial: StoredTrial
    state: State
    detail: str
    num_starts: int
    left_s: float


@dataclass(frozen=True, kw_only=True)
class SuiteStatus:
    """How far a suite is.

    Attributes:
      remark: why something is not known; empty where all is.
    """

    suite: StoredSuite
    trials: tuple[TrialStatus, ...]
    remark: str = ""

    @property
    def left_s(self) -> float:
        return sum(trial.left_s for trial in self.trials)

    def counts(self) -> dict[str, int]:
        """How many trials are in each state."""
        return {str(state): sum(trial.state is state for trial in self.trials) for state in State}

    def show(self, report: Report) -> None:
        """A line for each trial, and what is left."""
        for status in self.trials:
            report(f"{status.trial.label:44s} {status.state:12s} {status.detail}")
        counts = ", ".join(f"{count} {state}" for state, count in self.counts().items() if count)
        running = sum(trial.state is State.RUNNING for trial in self.trials)
        beside = f", {duration(self.left_s / running)} with {running} at a time as now" if running > 1 else ""
        report(f"{len(self.trials)} trials: {counts}; what is left takes at most {duration(self.left_s)}{beside}")
        if any(trial.state.needs_a_start for trial in self.trials):
            report("the command that started the suite starts what does not run or wait")
        if self.remark:
            report(f"warning: {self.remark}")

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "suite": self.suite.suite,
            "folder": str(self.suite.root),
            "executor": self.suite.executor,
            "counts": self.counts(),
            "left_s": self.left_s,
            "remark": self.remark,
            "trials": [
                {
                    "trial": status.trial.key,
                    "state": status.state,
                    "detail": status.detail,
                    "num_starts": status.num_starts,
                    "left_s": status.left_s,
                }
                for status in self.trials
            ],
        }


def suite_status(suite: StoredSuite) -> SuiteStatus:
    """Asks SLURM where the suite has jobs; without an answer, what journals say must do."""
    queue: Mapping[str, QueuedJob] | None = {}
    remark = ""
    if _may_have_jobs(suite):
        try:
            queue = {job.job: job for job in scheduler.queue()}
        except SchedulerError as error:
            queue, remark = None, f"SLURM does not answer, this is by the journals alone: {error}"
        else:
            remark = _printed_jobs(suite, queue)
    trials = tuple(_trial_status(suite, trial, queue) for trial in suite.trials)
    return SuiteStatus(suite=suite, trials=trials, remark=remark)


def cancel(suite: StoredSuite, report: Report) -> int:
    """Ends what runs and waits; running trials write a checkpoint. Returns how many jobs or processes were told.

    Raises:
      SchedulerError: SLURM does not answer.
    """
    jobs = []
    if _may_have_jobs(suite):
        mine = {job.job for job in scheduler.queue() if job.name == job_name(suite)}
        jobs = sorted(mine | ({job.job for job in scheduler.queue()} & set(suite.jobs.values())))
        scheduler.cancel(jobs)
        report(f"{len(jobs)} jobs cancelled")
    process = _local_process(suite)
    if process is not None:
        process.terminate()
        report(f"process {process.pid}, which runs the suite on this machine, was asked to stop")
    return len(jobs) + (process is not None)


def _printed_jobs(suite: StoredSuite, queue: Mapping[str, QueuedJob]) -> str:
    """Jobs of a printed script say which trial they run only once they have started."""
    known = set(suite.jobs.values())
    pending = [job for job in queue.values() if job.name == job_name(suite) and job.is_pending and job.job not in known]
    return f"{len(pending)} jobs of printed scripts wait in the queue" if pending else ""


def _may_have_jobs(suite: StoredSuite) -> bool:
    return bool(suite.jobs) or suite.executor in ("slurm", "print")


def _trial_status(suite: StoredSuite, trial: StoredTrial, queue: Mapping[str, QueuedJob] | None) -> TrialStatus:
    record, journal = suite.record(trial), suite.journal(trial)
    state, detail = _state(suite, trial, record, journal, queue)
    left_s = suite.left_s(trial)
    if state is State.RUNNING:
        left_s = max(left_s - (time.time() - journal[-1].time_s), 0.0)
    return TrialStatus(
        trial=trial, state=state, detail=detail, num_starts=sum(e.event != ENDED for e in journal), left_s=left_s
    )


def _state(
    suite: StoredSuite,
    trial: StoredTrial,
    record: TrialRecord | None,
    journal: list[Event],
    queue: Mapping[str, QueuedJob] | None,
) -> tuple[State, str]:
    if record is not None and record.outcome.is_final:
        reached = record.time_to_target_s
        after = f", target after {reached:.1f} s" if reached is not None else ""
        return State.FINISHED, f"{record.outcome} after {record.submission_time_s:.1f} s{after}{_starts(journal)}"
    last = journal[-1] if journal else None
    if last is not None and last.event != ENDED and _is_alive(last, queue):
        job = f" as job {last.details['job']}" if last.details.get("job") else ""
        since = duration(time.time() - last.time_s)
        return State.RUNNING, f"on {last.details.get('node')}{job} for {since}{_starts(journal)}"
    queued = (queue or {}).get(suite.jobs.get(trial.key) or (last and last.details.get("job")) or "")
    if queued is not None:
        reason = f" ({queued.reason})" if queued.reason != "None" else ""
        return State.WAITING, f"job {queued.job} {queued.state.lower()}{reason}{_starts(journal)}"
    if last is None and record is None:
        return (State.WAITING, "") if _local_process(suite) is not None else (State.NOT_STARTED, "")
    if record is not None and record.error:
        return State.FAILED, f"{record.outcome}: {error_line(record.error)}"
    why = "its process is gone" if last is None or last.event != ENDED else last.details.get("reason")
    return State.INTERRUPTED, f"{why}{_starts(journal)}"


def _starts(journal: list[Event]) -> str:
    count = sum(event.event != ENDED for event in journal)
    return f", started {count} times" if count > 1 else ""


def _is_alive(start: Event, queue: Mapping[str, QueuedJob] | None) -> bool:
    """Whether the process of a start is still there; taken for granted where nobody can say."""
    job = start.details.get("job")
    if job is not None:
        return queue is None or (job in queue and not queue[job].is_pending)
    if start.details.get("node") != socket.gethostname():
        return True
    try:
        process = psutil.Process(int(start.details.get("pid", 0)))
        return bool(process.create_time() < start.time_s + 1)  # not a later one of the same number
    except (psutil.Error, ValueError):
        return False


def _local_process(suite: StoredSuite) -> psutil.Process | None:
    """The process on this machine that runs the suite; None where it has ended."""
    noted = suite.process
    if noted is None or noted.get("host") != socket.gethostname():
        return None
    try:
        process = psutil.Process(int(noted["pid"]))
        return process if abs(process.create_time() - float(noted["created_s"])) < 1 else None
    except (psutil.Error, KeyError, ValueError):
        return None
