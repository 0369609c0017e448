"""What is asked of SLURM by its own commands; each answer within a minute, or an error that says so."""

import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from algoperf.errors import UserError

_TIMEOUT_S = 60
_ARRAY_LIMIT = re.compile(r"^MaxArraySize\s*=\s*(\d+)", re.MULTILINE)


class SchedulerError(UserError):
    """SLURM is not there, does not answer or refuses; one line with what it says."""


@dataclass(frozen=True, kw_only=True)
class QueuedJob:
    """A job that waits, runs or ends.

    Attributes:
      job: its number, with the element's after `_` in an array.
      name: that it was submitted with.
      state: as SLURM names it, for example PENDING.
      reason: why it waits; `None` while it runs.
    """

    job: str
    name: str
    state: str
    reason: str

    @property
    def is_pending(self) -> bool:
        return self.state == "PENDING"


def queue() -> list[QueuedJob]:
    """The jobs of this user, each element of an array by itself.

    Raises:
      SchedulerError: SLURM does not answer.
    """
    rows = _ask("squeue", "--me", "--array", "--noheader", "--format=%i|%j|%T|%r").splitlines()
    fields = (row.strip().split("|", 3) for row in rows if row.count("|") >= 3)
    return [QueuedJob(job=job, name=name, state=state, reason=reason) for job, name, state, reason in fields]


def jobs_on(node: str, *, besides: str) -> list[str]:
    """Jobs of anybody on a node, without one."""
    rows = _ask("squeue", "--noheader", "--states=running", f"--nodelist={node}", "--format=%A").split()
    return [job for job in rows if job != besides]


def array_limit() -> int | None:
    """How many elements a job array may have; None where SLURM does not say."""
    match = _ARRAY_LIMIT.search(_ask("scontrol", "show", "config"))
    return int(match[1]) if match else None


def requeue(job: str) -> None:
    _ask("scontrol", "requeue", job)


def cancel(jobs: Iterable[str]) -> None:
    """Cancels jobs; each running one gets SIGTERM, upon which its trial writes a checkpoint."""
    given = list(jobs)
    if given:
        _ask("scancel", *given)


def host_names(node_list: str) -> list[str]:
    """The nodes of a list such as `node[1-3,7]`, in order."""
    return _ask("scontrol", "show", "hostnames", node_list).split()


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=_TIMEOUT_S, env=os.environ)
    except FileNotFoundError as error:
        raise SchedulerError(f"{command[0]} is not on this machine; run this where SLURM's commands are") from error
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(f"{command[0]} gave no answer for {_TIMEOUT_S} s") from error
    if done.returncode:
        raise SchedulerError(_last_line(done.stderr) or f"{command[0]} ended with exit status {done.returncode}")
    return done.stdout


def _last_line(text: str) -> str:
    lines: Sequence[str] = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
