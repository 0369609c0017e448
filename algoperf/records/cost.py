"""What a trial cost: energy, memory, utilisation and speed, the charged part and the rest apart."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self


@dataclass(frozen=True, kw_only=True)
class PhaseCost:
    """What the charged segments of a trial cost, or what all the rest cost. None stands for what cannot be measured.

    Attributes:
      seconds: wall time that was measured.
      cpu_s: CPU seconds of all threads of the process.
      energy_j: joules by source, `gpu` and `cpu`; a source that cannot be read is absent.
      host_peak_bytes: largest resident memory of the process.
      samples: how often the GPUs were looked at.
      gpu_utilisation: mean share of time in which a GPU ran a kernel, 0 to 1.
      gpu_clock_mhz: mean clock of the GPUs' multiprocessors.
      cpu_clock_mhz: mean clock of the processor at the ends of segments.
      throttled: by reason, the share of samples in which a GPU was slowed down by it.
    """

    seconds: float = 0.0
    cpu_s: float = 0.0
    energy_j: Mapping[str, float] = field(default_factory=dict)
    host_peak_bytes: int | None = None
    samples: int = 0
    gpu_utilisation: float | None = None
    gpu_clock_mhz: float | None = None
    cpu_clock_mhz: float | None = None
    throttled: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = (self.seconds, self.cpu_s, self.samples, *self.energy_j.values(), *self.throttled.values())
        if not all(number >= 0 for number in numbers):
            raise ValueError(f"times, energies and shares are at least 0, got {self}")

    @property
    def total_energy_j(self) -> float | None:
        """Of all sources that could be read; None where none could."""
        return sum(self.energy_j.values()) if self.energy_j else None

    def plus(self, other: "PhaseCost") -> "PhaseCost":
        """The cost of both; means are weighted by samples, clocks of the processor by seconds."""
        counts, times = (self.samples, other.samples), (self.seconds, other.seconds)
        return PhaseCost(
            seconds=self.seconds + other.seconds,
            cpu_s=self.cpu_s + other.cpu_s,
            energy_j={
                source: self.energy_j.get(source, 0.0) + other.energy_j.get(source, 0.0)
                for source in sorted({*self.energy_j, *other.energy_j})
            },
            host_peak_bytes=_largest(self.host_peak_bytes, other.host_peak_bytes),
            samples=self.samples + other.samples,
            gpu_utilisation=_mean((self.gpu_utilisation, other.gpu_utilisation), counts),
            gpu_clock_mhz=_mean((self.gpu_clock_mhz, other.gpu_clock_mhz), counts),
            cpu_clock_mhz=_mean((self.cpu_clock_mhz, other.cpu_clock_mhz), times),
            throttled={
                reason: _mean((self.throttled.get(reason, 0.0), other.throttled.get(reason, 0.0)), counts) or 0.0
                for reason in sorted({*self.throttled, *other.throttled})
            },
        )


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a trial cost on the machine of its first process, work that was lost to interruptions included.

    Attributes:
      charged: the segments that are charged to the submission.
      uncharged: set-up, evaluations, checkpoints and the rest.
      energy_boundary: by source, what its joules are of: which devices, and that others may use them too.
      energy_missing: by source, why it cannot be read.
      energy_to_target_j: joules of the charged part up to the evaluation that met the validation target; None where
        none did or nothing could be read.
      device_peak_bytes: largest memory that the framework held on one device.
      examples_per_s: training examples per second of submission time.
      processes: how many processes of the trial were measured; one that is killed leaves no measurement.
      overhead_cpu_s: CPU seconds that measuring took; never charged.
    """

    charged: PhaseCost
    uncharged: PhaseCost
    energy_boundary: Mapping[str, str] = field(default_factory=dict)
    energy_missing: Mapping[str, str] = field(default_factory=dict)
    energy_to_target_j: float | None = None
    device_peak_bytes: int | None = None
    examples_per_s: float | None = None
    processes: int = 1
    overhead_cpu_s: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall time that was measured."""
        return self.charged.seconds + self.uncharged.seconds

    def after(self, earlier: "Cost") -> "Cost":
        """The cost of a trial whose earlier processes cost `earlier`, and whose last one cost this."""
        to_target_j = earlier.energy_to_target_j
        before_j = earlier.charged.total_energy_j
        if to_target_j is None and self.energy_to_target_j is not None and before_j is not None:
            to_target_j = before_j + self.energy_to_target_j
        return dataclasses.replace(
            self,
            charged=earlier.charged.plus(self.charged),
            uncharged=earlier.uncharged.plus(self.uncharged),
            energy_to_target_j=to_target_j,
            device_peak_bytes=_largest(earlier.device_peak_bytes, self.device_peak_bytes),
            processes=earlier.processes + self.processes,
            overhead_cpu_s=earlier.overhead_cpu_s + self.overhead_cpu_s,
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Inverse of what `algoperf.records.json.plain` makes; raises TypeError for unknown entries."""
        phases = {name: PhaseCost(**values[name]) for name in ("charged", "uncharged")}
        return cls(**{**values, **phases})


def _largest(*values: int | None) -> int | None:
    return max((value for value in values if value is not None), default=None)


def _mean(values: tuple[float | None, float | None], weights: tuple[float, float]) -> float | None:
    """Weighted mean of the values that there are."""
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None and weight > 0]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None
