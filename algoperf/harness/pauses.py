"""Pauses of the clock: nothing traces the benchmark in them, and what else runs meanwhile is recorded."""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from algoperf.background import is_own_process, is_own_thread
from algoperf.harness.guards import Guard
from algoperf.records.pauses import PauseSummary


class OwnWork:
    """Knows the threads of Python and the child processes that the benchmark started.

    These are the ones alive when this object is made, before the submission is imported, those that begin within
    `starting`, and those that `algoperf.background` recognises.
    """

    def __init__(self) -> None:
        self._threads: set[threading.Thread] = set(threading.enumerate())
        self._processes: set[tuple[int, float]] = {_identity(process) for process in _children()}

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """What begins within the block is the benchmark's own; no code of a submission may run in it."""
        threads = set(threading.enumerate())
        processes = {_identity(process) for process in _children()}
        try:
            yield
        finally:
            self._threads |= set(threading.enumerate()) - threads
            self._processes |= {_identity(process) for process in _children()} - processes

    def foreign_threads(self) -> list[threading.Thread]:
        return [t for t in threading.enumerate() if t not in self._threads and not is_own_thread(t)]

    def foreign_processes(self) -> list[psutil.Process]:
        return [p for p in _children() if _identity(p) not in self._processes and not is_own_process(p)]


class PauseMonitor:
    """Watches the pauses of one trial; a component of its run state."""

    def __init__(self, own_work: OwnWork | None = None, guard: Guard | None = None) -> None:
        self._own_work = own_work or OwnWork()
        self.guard = guard or Guard(None, ())
        self.summary = PauseSummary()

    def state_dict(self) -> dict[str, Any]:
        return self.summary.as_json()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.summary = PauseSummary.from_json(state)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Records what the block, a pause, took, and what ran beside it; profilers and tracers are off meanwhile."""
        violations = self.guard.pause_begins()
        with untraced():
            begun_s, before = time.monotonic(), self._observe()
            try:
                yield
            finally:
                after_s = _cpu_seconds(before)
                self.summary = self.summary.with_pause(
                    seconds=time.monotonic() - begun_s,
                    threads=[thread.name for thread in before.threads],
                    processes=before.process_names,
                    cpu_s=sum(max(after_s.get(key, used_s) - used_s, 0.0) for key, used_s in before.cpu_s.items()),
                ).with_violations(violations)
        self.guard.pause_ends()

    def training_begins(self) -> None:
        """The first charged segment begins: from now on the guard compares the clock with time that passes."""
        self.guard.pause_ends()

    def _observe(self) -> "_Observation":
        threads, processes = self._own_work.foreign_threads(), self._own_work.foreign_processes()
        observation = _Observation(
            threads=threads, processes=processes, process_names=[_name(process) for process in processes], cpu_s={}
        )
        observation.cpu_s.update(_cpu_seconds(observation))
        return observation


@dataclass(frozen=True, kw_only=True)
class _Observation:
    """Foreign threads and processes at the beginning of a pause, with their CPU seconds so far by identity."""

    threads: list[threading.Thread]
    processes: list[psutil.Process]
    process_names: list[str]
    cpu_s: dict[tuple[str, int | None], float]


@contextlib.contextmanager
def untraced() -> Iterator[None]:
    """Switches off profile and trace functions, of this thread and of those that begin, and puts them back after."""
    profile, trace = sys.getprofile(), sys.gettrace()
    thread_profile, thread_trace = threading.getprofile(), threading.gettrace()
    with _events_off():
        sys.setprofile(None)
        sys.settrace(None)
        threading.setprofile(None)
        threading.settrace(None)
        try:
            yield
        finally:
            threading.settrace(thread_trace)
            threading.setprofile(thread_profile)
            sys.settrace(trace)
            sys.setprofile(profile)


@contextlib.contextmanager
def _events_off() -> Iterator[None]:
    """Switches off the events of `sys.monitoring`, which Python 3.12 brought."""
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is None:
        yield
        return
    events = {tool: monitoring.get_events(tool) for tool in range(6) if monitoring.get_tool(tool) is not None}
    for tool in events:
        monitoring.set_events(tool, 0)
    try:
        yield
    finally:
        for tool, chosen in events.items():
            monitoring.set_events(tool, chosen)


def _cpu_seconds(observation: _Observation) -> dict[tuple[str, int | None], float]:
    """CPU seconds of the observed threads and processes that are still alive."""
    used_s: dict[tuple[str, int | None], float] = {}
    if observation.threads:
        with contextlib.suppress(psutil.Error, OSError):
            by_id = {t.id: t.user_time + t.system_time for t in psutil.Process().threads()}
            for thread in observation.threads:
                if thread.native_id in by_id:
                    used_s["thread", thread.native_id] = by_id[thread.native_id]
    for process in observation.processes:
        with contextlib.suppress(psutil.Error, OSError):
            times = process.cpu_times()
            used_s["process", process.pid] = times.user + times.system
    return used_s


def _children() -> list[psutil.Process]:
    try:
        children: list[psutil.Process] = psutil.Process().children(recursive=True)
        return children
    except (psutil.Error, OSError):
        return []


def _identity(process: psutil.Process) -> tuple[int, float]:
    """Process ids are used again; with the time of their start they are not."""
    try:
        return process.pid, process.create_time()
    except (psutil.Error, OSError):
        return process.pid, 0.0


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except (psutil.Error, OSError):
        return "ended"
