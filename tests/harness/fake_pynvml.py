"""Stands in for NVML: GPUs given as (load in percent, used MiB, total MiB, Celsius[, mJ]); None is not supported."""

from types import ModuleType, SimpleNamespace

MIB = 2**20


class NVMLError(Exception):
    pass


def fake_pynvml(gpus, *, driver="575.1"):
    def supported(value):
        if value is None:
            raise NVMLError("Not Supported")
        return value

    def initialise():
        supported(driver)
        module.is_open = True

    def close():
        module.is_open = False

    def memory(gpu):
        used, total = gpu[1] * MIB, gpu[2] * MIB
        return SimpleNamespace(used=used, total=total, free=total - used)

    module = ModuleType("pynvml")
    vars(module).update(
        is_open=False,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=initialise,
        nvmlShutdown=close,
        nvmlSystemGetDriverVersion=lambda: driver,
        nvmlDeviceGetCount=lambda: len(gpus),
        nvmlDeviceGetHandleByIndex=lambda index: gpus[index],
        nvmlDeviceGetName=lambda gpu: "NVIDIA H200",
        nvmlDeviceGetUtilizationRates=lambda gpu: SimpleNamespace(gpu=supported(gpu[0])),
        nvmlDeviceGetMemoryInfo=memory,
        nvmlDeviceGetUUID=lambda gpu: f"GPU-{gpus.index(gpu)}",
        nvmlDeviceGetTotalEnergyConsumption=lambda gpu: supported(gpu[4]),
        nvmlDeviceGetClockInfo=lambda gpu, kind: 1980,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda gpu: 0x1 | 0x4 | 0x40,
        nvmlDeviceGetTemperature=lambda gpu, sensor: supported(gpu[3]),
    )
    return module
