"""Readings of the GPUs of this process that cost little: energy, load, clocks and throttling, by NVML."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from algoperf.nvidia import answer

_MILLIJOULES_PER_JOULE = 1000
# Of nvmlClocksEventReasons: what slows a GPU down against its will. Idleness and chosen clocks are no such reason.
_THROTTLE_REASONS: Mapping[int, str] = MappingProxyType(
    {
        0x4: "sw_power_cap",
        0x8: "hw_slowdown",
        0x10: "sync_boost",
        0x20: "sw_thermal_slowdown",
        0x40: "hw_thermal_slowdown",
        0x80: "hw_power_brake_slowdown",
    }
)


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """One look at a GPU; None stands for what its driver does not report.

    Attributes:
      load: share of the latest sampling period in which a kernel ran, 0 to 1.
      clock_mhz: of its multiprocessors.
      throttled: reasons for which it is slowed down now.
    """

    load: float | None
    clock_mhz: float | None
    throttled: tuple[str, ...]


class GpuMeter:
    """Open handles of the GPUs that `CUDA_VISIBLE_DEVICES` lets this process use.

    Attributes:
      names: model and number of each GPU.
      missing: why there is none; None where there are some.
    """

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        self.names: list[str] = []
        self.missing: str | None = "no NVIDIA driver answers"
        try:
            import pynvml

            pynvml.nvmlInit()
        except Exception:  # no package, no driver, or a driver and a package that do not fit
            return
        self._nvml = pynvml
        handles = [self._ask("nvmlDeviceGetHandleByIndex", i) for i in range(self._ask("nvmlDeviceGetCount") or 0)]
        identities = [_text(self._ask("nvmlDeviceGetUUID", handle)) for handle in handles]
        for index in visible_gpus(os.environ.get("CUDA_VISIBLE_DEVICES"), identities):
            self._handles.append(handles[index])
            self.names.append(f"{_text(self._ask('nvmlDeviceGetName', handles[index]))} ({index})")
        self.missing = None if self._handles else "no GPU is visible to this process"

    def energy_j(self) -> float | None:
        """Joules of all GPUs since their driver was loaded; None where one does not count."""
        counted = [self._ask("nvmlDeviceGetTotalEnergyConsumption", handle) for handle in self._handles]
        return sum(counted) / _MILLIJOULES_PER_JOULE if counted and None not in counted else None

    def sample(self) -> list[GpuSample]:
        """Load, clock and throttling of each GPU."""
        return [self._sample(handle) for handle in self._handles]

    def close(self) -> None:
        if self._nvml is not None:
            self._ask("nvmlShutdown")
        self._nvml, self._handles = None, []

    def _sample(self, handle: Any) -> GpuSample:
        rates = self._ask("nvmlDeviceGetUtilizationRates", handle)
        clock_mhz = self._ask("nvmlDeviceGetClockInfo", handle, getattr(self._nvml, "NVML_CLOCK_SM", 1))
        reasons = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle) or 0
        return GpuSample(
            load=None if rates is None else rates.gpu / 100,
            clock_mhz=None if clock_mhz is None else float(clock_mhz),
            throttled=tuple(name for bit, name in _THROTTLE_REASONS.items() if reasons & bit),
        )

    def _ask(self, function: str, *arguments: Any) -> Any:
        """What a function of NVML answers; None where the driver or the package has no answer."""
        return answer(lambda: getattr(self._nvml, function)(*arguments))


def visible_gpus(variable: str | None, identities: Sequence[str | None]) -> list[int]:
    """Indices of the GPUs that CUDA_VISIBLE_DEVICES names, by number or by the beginning of an identity, in order.

    As CUDA reads it: None means all, and at the first name that is none the list ends.

    Args:
      variable: its value.
      identities: of all GPUs, `GPU-...`; None where the driver gives none.
    """
    if variable is None:
        return list(range(len(identities)))
    chosen: list[int] = []
    for name in map(str.strip, variable.split(",")):
        matches = [i for i, identity in enumerate(identities) if name == str(i) or _begins(identity, name)]
        if len(matches) != 1:
            break
        chosen += matches
    return chosen


def _begins(identity: str | None, name: str) -> bool:
    return name.startswith("GPU-") and identity is not None and identity.startswith(name)


def _text(value: Any) -> Any:
    """Text of NVML, which older packages give as bytes."""
    return value.decode() if isinstance(value, bytes) else value
