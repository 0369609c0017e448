"""What the NVIDIA driver reports about the GPUs of this machine, asked through its management library (NVML)."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_BYTES_PER_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU; None stands for what its driver does not report.

    Attributes:
      driver_version: the same for all GPUs of a machine.
      load: share of the latest sampling period in which a kernel ran, 0 to 1.
      memory_total_mib, memory_used_mib, memory_free_mib: used includes what the driver reserves.
      temperature_c: degrees Celsius.
    """

    name: str | None
    driver_version: str | None
    load: float | None
    memory_total_mib: float | None
    memory_used_mib: float | None
    memory_free_mib: float | None
    temperature_c: float | None


def driver_version() -> str | None:
    """Version of the NVIDIA driver, or None where none answers."""
    with _nvml() as nvml:
        return answer(nvml.nvmlSystemGetDriverVersion) if nvml else None


def gpus() -> list[Gpu]:
    """The GPUs of this machine in the driver's order; none where no driver answers."""
    with _nvml() as nvml:
        count = answer(nvml.nvmlDeviceGetCount) if nvml else None
        return [_gpu(nvml, index) for index in range(count or 0)]


def _gpu(nvml: Any, index: int) -> Gpu:
    def ask(query: Callable[[Any], Any]) -> Any:
        return answer(lambda: query(nvml.nvmlDeviceGetHandleByIndex(index)))

    rates, memory = ask(nvml.nvmlDeviceGetUtilizationRates), ask(nvml.nvmlDeviceGetMemoryInfo)
    return Gpu(
        name=ask(nvml.nvmlDeviceGetName),
        driver_version=answer(nvml.nvmlSystemGetDriverVersion),
        load=rates and rates.gpu / 100,
        memory_total_mib=memory and memory.total / _BYTES_PER_MIB,
        memory_used_mib=memory and memory.used / _BYTES_PER_MIB,
        memory_free_mib=memory and memory.free / _BYTES_PER_MIB,
        temperature_c=ask(lambda gpu: float(nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))),
    )


@contextmanager
def _nvml() -> Iterator[Any]:
    """Yields the library, ready for questions, or None where it or the driver is missing."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # no package, no driver, or a driver and a package that do not fit
        yield None
        return
    try:
        yield pynvml
    finally:
        answer(pynvml.nvmlShutdown)


def answer(query: Callable[[], Any]) -> Any:
    """What NVML answers, or None where it raises."""
    try:
        return query()
    except Exception:  # NVML raises a class of its own for each cause: not supported, no permission, GPU lost ...
        return None
