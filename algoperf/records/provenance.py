"""Where a result comes from: hardware, operating system, versions, commit, command line.

Whatever cannot be found out, in a container for example, is None; nothing here raises.
"""

import enum
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from algoperf import __version__, nvidia, spec
from algoperf.definition import WorkloadDefinition
from algoperf.records.json import plain

PACKAGES = ("algoperf", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "torch", "numpy")
_PROJECT_ROOT = Path(__file__).resolve().parents[2]
_TIMEOUT_S = 10
# What changes speed or numerics from outside. No other variable is recorded: they may hold secrets.
_ENVIRONMENT = ("CUDA_", "JAX_", "LIBTPU_", "MKL_", "NCCL_", "OMP_", "PYTORCH_", "TORCH", "XLA_")
PLACEMENT_VARIABLE = "ALGOPERF_PLACEMENT"  # JSON, set by the executor of a suite
_GPU_PLATFORMS = ("cuda", "gpu", "rocm")
_COSTLY_PROPERTIES = frozenset({"model_params_types", "param_shapes"})

_logger = logging.getLogger(__name__)


def collect(
    *, device_report: Mapping[str, Any], definition: WorkloadDefinition, seed: int, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what a run's record must tell about its origin, ready for JSON.

    Args:
      device_report: of the backend.
      definition: the workload that was run.
      seed: of the trial.
      extra: further entries, the digest of the submission for example; they win over those collected here.
    """
    return {
        "time_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "workload": definition.name,
        "definition_digest": definition.digest(),
        **machine(device_report),
        "command": list(sys.argv),
        "placement": placement(),
        **plain(extra, unknown=str),
    }


def machine(device_report: Mapping[str, Any]) -> dict[str, Any]:
    """Hardware, software and code, ready for JSON.

    Args:
      device_report: of the backend; empty where none is loaded.
    """
    memory = _query(psutil.virtual_memory)
    return {
        "hardware": {
            "cpu_model": cpu_model(),
            "cpu_cores": _query(lambda: psutil.cpu_count(logical=False)),
            "cpu_threads": os.cpu_count(),
            "cpu_threads_usable": _query(lambda: len(os.sched_getaffinity(0))),
            "cpu_quota": cpu_quota(),
            "memory_bytes": memory and memory.total,
            "memory_limit_bytes": _memory_limit_bytes(),
            "devices": plain(device_report, unknown=str),
        },
        "software": {
            "os": platform.platform(),
            "python": platform.python_version(),
            "python_compiler": platform.python_compiler(),
            "packages": package_versions(),
            "environment": environment(),
        },
        "code": dict(git_state()),
    }


def meta_data(
    *,
    definition: WorkloadDefinition,
    workload: spec.Workload,
    device_report: Mapping[str, Any],
    seed: int,
    matmul_precision: str,
) -> dict[str, Any]:
    """Returns the content of `meta_data_<k>.json`: a flat dict with the keys of AlgoPerf v0.6, and package versions.

    Sizes in memory of GPUs are in MiB, utilisations of GPUs are fractions, as there.
    """
    git = git_state()
    gpus = _gpus(device_report)
    return {
        **_workload_properties(workload),
        **_utilisation(),
        **_gpu_utilisation(gpus),
        "os_platform": platform.platform(),
        "python_version": platform.python_version(),
        "python_compiler": platform.python_compiler(),
        "git_branch": git["branch"],
        "git_commit_hash": git["commit"],
        "cpu_model_name": cpu_model(),
        "cpu_count": os.cpu_count(),
        "gpu_model_name": gpus[0]["name"] if gpus else None,
        "gpu_count": len(gpus),
        "gpu_driver": gpus[0]["driver"] if gpus else None,
        "rng_seed": seed,
        "definition_digest": definition.digest(),
        "edition": definition.edition,
        "matmul_precision": matmul_precision,
        "algoperf_version": __version__,
        **{f"package.{name}": version for name, version in package_versions().items()},
    }


def flags_json(flag_values: Any) -> dict[str, Any]:
    """Returns flags (a mapping, or absl's `FlagValues`) as plain JSON values, in alphabetical order."""
    values = flag_values.flag_values_dict() if hasattr(flag_values, "flag_values_dict") else flag_values
    return {str(name): plain(values[name], unknown=str) for name in sorted(values)}


def package_versions() -> dict[str, str | None]:
    """Versions of the installed packages that matter, read without importing them."""
    return {name: _version(name) for name in PACKAGES}


def environment() -> dict[str, str]:
    """The environment variables that change speed or numerics, sorted."""
    return {name: value for name, value in sorted(os.environ.items()) if name.startswith(_ENVIRONMENT)}


def placement() -> Any:
    """Where a suite put this run, and beside what: job, machine, cores, GPUs, neighbours; None for a single run."""
    text = os.environ.get(PLACEMENT_VARIABLE)
    return None if text is None else _query(lambda: json.loads(text))


def cpu_model() -> str | None:
    for line in (_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    for line in (_output("lscpu") or "").splitlines():  # ARM: the file above has numbers only
        key, _, value = line.partition(":")
        if key.strip() == "Model name":
            return value.strip()
    return platform.processor() or None


@functools.cache
def git_state(root: Path = _PROJECT_ROOT) -> Mapping[str, Any]:
    """Commit, branch and uncommitted changes of the code that runs, as they were at the first call.

    An installed package without a working copy has only the commit it was installed from, if that was recorded.
    """
    if _git(root, "ls-files", "--error-unmatch", "algoperf/__init__.py") is None:
        return {"commit": _installed_commit(), "branch": None, "is_dirty": None, "diff_digest": None}
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    diff = _git(root, "diff", "HEAD") if changes else None
    return {
        "commit": _git(root, "rev-parse", "HEAD"),
        "branch": _git(root, "symbolic-ref", "--short", "HEAD"),
        "is_dirty": None if changes is None else bool(changes),
        "diff_digest": hashlib.sha256(diff.encode()).hexdigest()[:16] if diff else None,
    }


def _git(root: Path, *words: str) -> str | None:
    # In containers the working copy often belongs to another user, which git refuses without this setting.
    return _output("git", "-c", "safe.directory=*", "--no-optional-locks", "-C", str(root), *words)


def _installed_commit() -> str | None:
    text = _query(lambda: importlib.metadata.distribution("algoperf").read_text("direct_url.json"))
    return _query(lambda: json.loads(text)["vcs_info"]["commit_id"]) if text and "vcs_info" in text else None


def _workload_properties(workload: spec.Workload) -> dict[str, Any]:
    properties = {}
    for name in dir(workload):
        if name.startswith("_") or name in _COSTLY_PROPERTIES:
            continue
        try:
            value = getattr(workload, name)
        except Exception:  # a property that a workload does not have is left out
            continue
        if isinstance(value, bool | int | float | str):
            properties[f"workload.{name}"] = value.value if isinstance(value, enum.Enum) else value
    return properties


def _utilisation() -> dict[str, Any]:
    memory, disk, net = (_query(f) for f in (psutil.virtual_memory, psutil.disk_io_counters, psutil.net_io_counters))
    frequency = _query(psutil.cpu_freq)
    return {
        "cpu.util.avg_percent_since_last": _query(psutil.cpu_percent),
        "cpu.freq.current": frequency and frequency.current,
        "mem.total": memory and memory.total,
        "mem.available": memory and memory.available,
        "mem.used": memory and memory.used,
        "mem.percent_used": memory and memory.percent,
        "mem.read_bytes_since_boot": disk and disk.read_bytes,
        "mem.write_bytes_since_boot": disk and disk.write_bytes,
        "net.bytes_sent_since_boot": net and net.bytes_sent,
        "net.bytes_recv_since_boot": net and net.bytes_recv,
    }


def _gpu_utilisation(gpus: list[dict[str, Any]]) -> dict[str, Any]:
    entries: dict[str, Any] = {"gpu.count": len(gpus)}
    measured = [{k: v for k, v in gpu.items() if "." in k} for gpu in gpus]
    for index, gpu in enumerate(measured):
        entries.update({f"gpu.{index}.{key}": value for key, value in gpu.items()})
    for key in measured[0] if measured else ():
        values = [gpu[key] for gpu in measured if gpu.get(key) is not None]
        entries[f"gpu.avg.{key}"] = sum(values) / len(values) if values else None
    return entries


def _gpus(device_report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry for each GPU of this machine; from the driver if it answers, else from the backend."""
    if device_report.get("platform") not in _GPU_PLATFORMS:
        return []
    gpus = nvidia.gpus()
    if not gpus:
        driver = device_report.get("driver_version")
        return [{"name": name, "driver": driver} for name in device_report.get("device_names", ())]
    return [_gpu(gpu) for gpu in gpus]


def _gpu(gpu: nvidia.Gpu) -> dict[str, Any]:
    used, total = gpu.memory_used_mib, gpu.memory_total_mib
    return {
        "name": gpu.name,
        "driver": gpu.driver_version,
        "compute.util": gpu.load,
        "mem.util": used / total if used is not None and total else None,
        "mem.total": total,
        "mem.used": used,
        "mem.free": gpu.memory_free_mib,
        "temp.current": gpu.temperature_c,
    }


def cpu_quota() -> float | None:
    """CPUs that the control group of this process may use, where it is limited."""
    limit = (_text("/sys/fs/cgroup/cpu.max") or "").split()
    if len(limit) != 2:  # version 1 of control groups
        limit = [_text(f"/sys/fs/cgroup/cpu/cpu.cfs_{part}_us") or "" for part in ("quota", "period")]
    quota, period = map(_float, limit)
    return quota / period if quota is not None and period and quota > 0 else None


def _memory_limit_bytes() -> int | None:
    text = _text("/sys/fs/cgroup/memory.max") or _text("/sys/fs/cgroup/memory/memory.limit_in_bytes")
    limit = _float(text or "")
    return int(limit) if limit is not None and limit < 2**60 else None  # version 1 writes a huge number for no limit


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _output(*command: str) -> str | None:
    """Output of a command, or None where it is missing, slow or fails."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return answer.stdout.strip()


def _query(query: Callable[[], Any]) -> Any:
    """The answer of `query`, or None: what a machine does not tell must not stop a run."""
    try:
        return query()
    except Exception as error:  # psutil raises many kinds in containers
        _logger.debug("no answer about this machine: %s", error)
        return None
