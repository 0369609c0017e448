"""Measures what a trial costs, at the boundaries of the ledger and every few seconds, off the clock."""

import contextlib
import functools
import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from algoperf.background import THREAD_PREFIX
from algoperf.energy import EnergyCounter, GpuEnergy, ProcessorEnergy
from algoperf.gpu_meter import GpuMeter, GpuSample
from algoperf.records.cost import Cost, PhaseCost

_PERIOD_S = 2.0
_STATUS, _CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_CLEAR_PEAK = "5"  # resets VmHWM, see proc(5)
_KIB = 1024
_CORE_CLOCK = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq"
_KHZ_PER_MHZ = 1000


@dataclass
class _Phase:
    """Sums over the segments of one phase."""

    seconds: float = 0.0
    cpu_s: float = 0.0
    energy_j: dict[str, float] = field(default_factory=dict)
    host_peak_bytes: int = 0
    loads: list[float] = field(default_factory=list)
    gpu_clocks_mhz: list[float] = field(default_factory=list)
    cpu_clocks_mhz: list[float] = field(default_factory=list)
    throttled: Counter[str] = field(default_factory=Counter)
    samples: int = 0

    def add(self, samples: Sequence[GpuSample]) -> None:
        self.samples += bool(samples)
        self.loads += [sample.load for sample in samples if sample.load is not None]
        self.gpu_clocks_mhz += [sample.clock_mhz for sample in samples if sample.clock_mhz is not None]
        self.throttled.update({reason for sample in samples for reason in sample.throttled})

    def cost(self) -> PhaseCost:
        return PhaseCost(
            seconds=self.seconds,
            cpu_s=self.cpu_s,
            energy_j=dict(self.energy_j),
            host_peak_bytes=self.host_peak_bytes or None,
            samples=self.samples,
            gpu_utilisation=_mean(self.loads),
            gpu_clock_mhz=_mean(self.gpu_clocks_mhz),
            cpu_clock_mhz=_mean(self.cpu_clocks_mhz),
            throttled={reason: count / self.samples for reason, count in sorted(self.throttled.items())},
        )


@dataclass(frozen=True, kw_only=True)
class _Reading:
    now_s: float
    cpu_s: float
    energy_j: dict[str, float]


class CostMeter:
    """Measures one process of a trial. Starts in the uncharged phase; `close` ends its thread.

    Args:
      counters: of energy; by default those of this machine.
      sample: looks at the GPUs; by default at those of this process.
      now: seconds of a monotonic clock.
      cpu_now: CPU seconds of this process.
    """

    def __init__(
        self,
        *,
        counters: Sequence[EnergyCounter] | None = None,
        sample: Callable[[], Sequence[GpuSample]] | None = None,
        now: Callable[[], float] = time.monotonic,
        cpu_now: Callable[[], float] = time.process_time,
    ) -> None:
        self._gpus = GpuMeter() if counters is None or sample is None else None
        own: Sequence[EnergyCounter] = () if self._gpus is None else (GpuEnergy(self._gpus), ProcessorEnergy())
        self._counters = own if counters is None else counters
        self._sample = sample or (self._gpus.sample if self._gpus is not None else lambda: ())
        self._now, self._cpu_now = now, cpu_now
        self._phases = {True: _Phase(), False: _Phase()}
        self._is_charged = False
        self._charged_j: list[tuple[float, float]] = []  # submission time, joules of the charged phase
        self._overhead_cpu_s = 0.0
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None
        self._before = self._read()
        _reset_host_peak()

    def start(self) -> "CostMeter":
        """Starts to look at the counters regularly, where there is something to look at."""
        if self._sample() or any(counter.missing is None for counter in self._counters):
            self._thread = threading.Thread(target=self._watch, daemon=True, name=f"{THREAD_PREFIX}cost-meter")
            self._thread.start()
        return self

    def switch(self, is_charged: bool, submission_time_s: float) -> None:
        """A charged segment begins, or one has ended.

        Args:
          is_charged: whether what follows is charged.
          submission_time_s: charged so far.
        """
        with self._measuring():
            self._book()
            if self._is_charged:
                self._phases[True].cpu_clocks_mhz += _cpu_clock_mhz()
                self._charged_j.append((submission_time_s, sum(self._phases[True].energy_j.values())))
            _reset_host_peak()
            self._is_charged = is_charged

    def cost(
        self,
        *,
        time_to_target_s: float | None = None,
        examples_per_s: float | None = None,
        device_peak_bytes: int | None = None,
    ) -> Cost:
        """What the process has cost up to now.

        Args:
          time_to_target_s: submission time at which the validation target was met; None where it was not.
          examples_per_s, device_peak_bytes: as in `Cost`.
        """
        with self._measuring():
            self._book()
        return Cost(
            charged=self._phases[True].cost(),
            uncharged=self._phases[False].cost(),
            energy_boundary={c.source: c.boundary for c in self._counters if c.boundary is not None},
            energy_missing={c.source: c.missing for c in self._counters if c.missing is not None},
            energy_to_target_j=self._energy_at(time_to_target_s),
            device_peak_bytes=device_peak_bytes,
            examples_per_s=examples_per_s,
            overhead_cpu_s=self._overhead_cpu_s,
        )

    def close(self) -> None:
        self._closing.set()
        if self._thread is not None:
            self._thread.join()
        if self._gpus is not None:
            self._gpus.close()

    def _energy_at(self, time_s: float | None) -> float | None:
        """Joules of the charged phase at the end of the segment that ended at this submission time."""
        if time_s is None or all(counter.missing is not None for counter in self._counters):
            return None
        return next((joules for charged_s, joules in self._charged_j if abs(charged_s - time_s) < 1e-6), None)

    def _watch(self) -> None:
        while not self._closing.wait(_PERIOD_S):
            with self._measuring():
                self._book()
                self._phases[self._is_charged].add(self._sample())

    @contextlib.contextmanager
    def _measuring(self) -> Iterator[None]:
        with self._lock:
            begun_s = time.thread_time()
            try:
                yield
            finally:
                self._overhead_cpu_s += time.thread_time() - begun_s

    def _read(self) -> _Reading:
        energy_j = {counter.source: counter.joules() for counter in self._counters if counter.missing is None}
        return _Reading(now_s=self._now(), cpu_s=self._cpu_now(), energy_j=energy_j)

    def _book(self) -> None:
        """Adds what was used since the last reading to the present phase."""
        before, after, phase = self._before, self._read(), self._phases[self._is_charged]
        phase.seconds += after.now_s - before.now_s
        phase.cpu_s += max(after.cpu_s - before.cpu_s, 0.0)
        phase.host_peak_bytes = max(phase.host_peak_bytes, _host_peak_bytes())
        for source, joules in after.energy_j.items():
            phase.energy_j[source] = phase.energy_j.get(source, 0.0) + joules - before.energy_j[source]
        self._before = after


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _cpu_clock_mhz() -> list[float]:
    """The clock of one core of this process now, where the system tells: asking for all cores takes milliseconds."""
    try:
        core = min(os.sched_getaffinity(0))
        return [int(Path(_CORE_CLOCK.format(core)).read_text()) / _KHZ_PER_MHZ]
    except (AttributeError, OSError, ValueError):
        return []


def _host_peak_bytes() -> int:
    """Largest resident memory since the last reset, or of the whole process where it cannot be reset."""
    if _can_reset_peak():
        with contextlib.suppress(OSError):
            for line in _STATUS.read_text().splitlines():
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * _KIB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIB


def _reset_host_peak() -> None:
    if _can_reset_peak():
        with contextlib.suppress(OSError):
            _CLEAR_REFS.write_text(_CLEAR_PEAK)


@functools.cache
def _can_reset_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_CLEAR_PEAK)
    except OSError:
        return False
    return True
