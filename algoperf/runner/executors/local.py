"""Runs the trials of a suite on this machine, several at a time where asked to, each on cores or GPUs of its own."""

import collections
import os
import signal
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from algoperf import nvidia
from algoperf.cores import usable_cores
from algoperf.harness.signals import StopSignals
from algoperf.reporting import Report
from algoperf.runner.executors.results import collect, duration, result_line
from algoperf.runner.executors.suite_folder import StoredSuite, StoredTrial
from algoperf.runner.executors.trial_process import MAX_KILLS, Placement, ProcessEnd, Reason, TrialProcess
from algoperf.runner.run_config import ConfigError

INTERRUPTED_EXIT_CODE = 128 + signal.SIGTERM
_POLL_S = 0.05
_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"


@dataclass(frozen=True, kw_only=True)
class Slot:
    """Cores and GPUs of one run; None means all that there are."""

    cores: tuple[int, ...] | None = None
    gpus: str | None = None


@dataclass
class LocalExecutor:
    """Runs trials as processes of this one, at most `slots` at a time, and waits for them."""

    slots: Sequence[Slot] = field(default_factory=lambda: [Slot()])

    def run(self, suite: StoredSuite, trials: Sequence[StoredTrial], report: Report) -> int:
        """Runs `trials`, then scores the suite. Returns the exit status: 0 when every trial has finished."""
        me = psutil.Process()
        suite.set_process(host=socket.gethostname(), pid=me.pid, created_s=me.create_time())
        with StopSignals() as stop, stop.deferred():
            was_stopped = _Running(self.slots, suite, trials, report).run(stop)
        return INTERRUPTED_EXIT_CODE if was_stopped else collect(suite, report)


class _Running:
    """The trials that wait and those that run."""

    def __init__(
        self, slots: Sequence[Slot], suite: StoredSuite, trials: Sequence[StoredTrial], report: Report
    ) -> None:
        self._suite, self._report = suite, report
        self._waiting = list(trials)
        self._free = list(slots)
        self._num_slots = len(slots)
        self._processes: dict[TrialProcess, Slot] = {}
        self._kills: collections.Counter[str] = collections.Counter()

    def run(self, stop: StopSignals) -> bool:
        """Returns whether a signal ended it before the last trial did."""
        is_stopped, stopped = False, []
        while self._processes or (self._waiting and not is_stopped):
            is_stopped = is_stopped or stop.is_set()
            while self._free and self._waiting and not is_stopped:
                self._start(self._waiting.pop(0), self._free.pop(0))
            for process, slot in list(self._processes.items()):
                if is_stopped:
                    process.stop()
                end = process.poll()
                if end is not None:
                    del self._processes[process]
                    self._free.append(slot)
                    self._end(process, end)
                    if end.reason is Reason.STOPPED:
                        is_stopped = True
                        stopped.append(process.trial.label)
            time.sleep(_POLL_S)
        if is_stopped:
            self._report(f"stopped at {', '.join(stopped) or 'a start'}; the same command continues from here")
        return is_stopped

    def _start(self, trial: StoredTrial, slot: Slot) -> None:
        left_s = sum(self._suite.left_s(entry) for entry in [trial, *self._waiting]) / self._num_slots
        self._report(f"{self._position(trial)}: starts; all that is left takes at most {duration(left_s)}")
        placement = Placement(
            executor="local",
            node=socket.gethostname(),
            cores=slot.cores,
            gpus=slot.gpus,
            is_exclusive=False if self._num_slots > 1 else None,
            neighbours=tuple(process.trial.key for process in self._processes),
        )
        process = TrialProcess(self._suite, trial, placement)
        process.start()
        self._processes[process] = slot

    def _end(self, process: TrialProcess, end: ProcessEnd) -> None:
        process.note_end(end, neighbours=[other.trial.key for other in self._processes])
        self._report(f"{self._position(process.trial)}: {result_line(self._suite, process.trial, end.status)}")
        if end.reason is Reason.KILLED:
            self._kills[process.trial.key] += 1
            if self._kills[process.trial.key] < MAX_KILLS:
                self._report(f"{process.trial.label}: was killed; it is resumed")
                self._waiting.insert(0, process.trial)

    def _position(self, trial: StoredTrial) -> str:
        return f"[{self._suite.trials.index(trial) + 1}/{len(self._suite.trials)}] {trial.label}"


def local_executor(count: int) -> LocalExecutor:
    """`count` runs at a time, each with cores and GPUs that no other has.

    Raises:
      ConfigError: there are fewer cores, or fewer GPUs, than runs.
    """
    if count == 1:
        return LocalExecutor()
    cores, gpus = _physical_cores(usable_cores()), _visible_gpus()
    for kind, there in (("cores", len(cores)), ("GPUs", len(gpus) if gpus else None)):
        if there is not None and there < count:
            raise ConfigError(
                f"--executor=local:{count}: each run needs {kind} of its own, and there are {there}; choose at most "
                f"local:{there}"
            )
    return LocalExecutor(
        [
            Slot(
                cores=tuple(sorted(number for core in _share(cores, index, count) for number in core)),
                gpus=",".join(_share(gpus, index, count)) if gpus else None,
            )
            for index in range(count)
        ]
    )


def _share(things: Sequence[Any], index: int, count: int) -> Sequence[Any]:
    """Share `index` of `count` shares of neighbouring things, as equal as whole numbers allow."""
    return things[index * len(things) // count : (index + 1) * len(things) // count]


def _physical_cores(usable: Sequence[int]) -> list[tuple[int, ...]]:
    """The usable processors by core: hyperthreads of one core stay together."""
    cores: dict[tuple[int, ...], None] = {}
    for number in usable:
        try:
            siblings = _numbers(Path(_TOPOLOGY.format(number)).read_text())
        except (OSError, ValueError):
            siblings = [number]
        cores[tuple(sorted(set(siblings) & set(usable) | {number}))] = None
    return list(cores)


def _numbers(ranges: str) -> list[int]:
    """The numbers of a list such as `0-2,7`."""
    numbers: list[int] = []
    for part in ranges.strip().split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    return numbers


def _visible_gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name.strip()]
    return [str(index) for index in range(len(nvidia.gpus()))]
