"""Energy counters of this machine: NVIDIA GPUs through NVML, processors through the kernel's powercap interface."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from algoperf.gpu_meter import GpuMeter

GPU, CPU = "gpu", "cpu"
POWERCAP = Path("/sys/class/powercap")
_MICROJOULES_PER_JOULE = 1e6


class EnergyCounter(Protocol):
    """A source of energy readings. Exactly one of `boundary` and `missing` is not None.

    Attributes:
      source: `gpu` or `cpu`.
      boundary: what its joules are of.
      missing: why it cannot be read.
    """

    source: str
    boundary: str | None
    missing: str | None

    def joules(self) -> float:
        """Joules since the counter was made; never less than before. Only where it can be read."""


@dataclass
class _Zone:
    """A zone of powercap: its counter starts again at zero after `range_uj`."""

    file: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    def update(self) -> None:
        now_uj = int(self.file.read_text())
        self.total_uj += (now_uj - self.last_uj) % self.range_uj if self.range_uj else max(now_uj - self.last_uj, 0)
        self.last_uj = now_uj


class ProcessorEnergy:
    """RAPL: packages of the processors and their memory, whoever uses them. Must be read every few minutes.

    Args:
      folder: of the powercap interface.
    """

    source = CPU

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._zones: list[_Zone] = []
        self._total_j = 0.0
        self.boundary: str | None = None
        self.missing: str | None = f"{folder} has no zone of RAPL: a virtual machine, or a kernel without it"
        names = []
        for zone in sorted(folder.glob("intel-rapl:*")):
            try:
                name = (zone / "name").read_text().strip()
                if not name.startswith(("package", "dram")):
                    continue
                file, range_uj = zone / "energy_uj", int((zone / "max_energy_range_uj").read_text())
                self._zones.append(_Zone(file=file, range_uj=range_uj, last_uj=int(file.read_text())))
                names.append(name)
            except PermissionError:
                self.missing = f"{zone / 'energy_uj'} is readable by root only"
            except (OSError, ValueError) as error:
                self.missing = f"{zone}: {error}"
        if self._zones:
            self.boundary = f"RAPL zones {', '.join(names)}, all work of the machine included"
            self.missing = None

    def joules(self) -> float:
        try:
            for zone in self._zones:
                zone.update()
            self._total_j = sum(zone.total_uj for zone in self._zones) / _MICROJOULES_PER_JOULE
        except (OSError, ValueError):  # a zone that is gone: the sum stays as it was
            return self._total_j
        return self._total_j


class GpuEnergy:
    """NVML: boards of the GPUs that this process may use, whoever uses them."""

    source = GPU

    def __init__(self, meter: GpuMeter) -> None:
        self._meter = meter
        self._start_j = meter.energy_j()
        self._last_j = 0.0
        self.boundary: str | None = None
        self.missing: str | None = meter.missing or "the driver counts no energy of these GPUs"
        if self._start_j is not None:
            self.boundary, self.missing = f"NVML, boards of {', '.join(meter.names)}, all work on them included", None

    def joules(self) -> float:
        now_j = self._meter.energy_j()
        if now_j is not None and self._start_j is not None:
            self._last_j = max(now_j - self._start_j, self._last_j)
        return self._last_j
