import enum
import importlib.metadata
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from fake_pynvml import fake_pynvml

from algoperf.records import provenance
from algoperf.testing.fake_backend import FakeBackend
from algoperf.testing.toy_workload import numpy_model
from algoperf.testing.toy_workload.definition import MINI

CPU_REPORT = {"framework": "jax", "platform": "cpu", "device_names": ["cpu"], "memory_bytes": [None]}
GPU_REPORT = {"platform": "gpu", "device_names": ["NVIDIA H200"] * 2, "driver_version": "575.1"}
NVML_GPUS = [(40, 250, 1000, 35), (60, 750, 1000, None)]


def workload():
    return FakeBackend().build_workload(MINI, numpy_model.build(MINI))


def meta(report=CPU_REPORT):
    settings = {"seed": -3, "matmul_precision": "float32"}
    return provenance.meta_data(definition=MINI, workload=workload(), device_report=report, **settings)


def collect(**extra):
    return provenance.collect(device_report=CPU_REPORT, definition=MINI, seed=7, extra=extra)


def test_record_tells_hardware_versions_code_and_seed():
    record = json.loads(json.dumps(collect(submission_digest="abc", where=Path("x"))))
    assert record["seed"] == 7
    assert (record["workload"], record["definition_digest"]) == ("toy_mini", MINI.digest())
    assert record["submission_digest"] == "abc"
    assert record["where"] == "x"
    assert record["command"] == sys.argv
    assert record["hardware"]["devices"] == CPU_REPORT
    assert record["hardware"]["cpu_threads"] == os.cpu_count()
    assert record["hardware"]["memory_bytes"] == psutil.virtual_memory().total
    assert record["software"]["packages"]["numpy"] == np.__version__
    assert record["software"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_only_environment_that_matters_is_recorded(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_x")
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert collect()["software"]["environment"]["XLA_FLAGS"] == "--xla_x"
    assert "secret" not in json.dumps(collect())


def test_missing_packages_have_no_version_and_none_is_imported():
    code = """
import sys
from algoperf.records import provenance
provenance.PACKAGES += ("surely-not-installed",)
versions = provenance.package_versions()
assert versions["surely-not-installed"] is None
assert not {"jax", "torch", "flax", "optax"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_meta_data_has_the_keys_of_algoperf_with_correct_values():
    data = json.loads(json.dumps(meta()))
    assert data["workload.validation_target_value"] == MINI.validation_target
    assert data["workload.loss_type"] == int(MINI.loss_type)
    assert data["workload.step_hint"] == MINI.budget.step_hint
    assert data["workload.target_metric_name"] == "loss"
    assert "workload.train_mean" not in data, "a property that raises must not get another one's value"
    assert data["rng_seed"] == -3
    assert data["cpu_count"] == os.cpu_count()
    assert data["mem.total"] == psutil.virtual_memory().total
    assert (data["gpu.count"], data["gpu_count"], data["gpu_model_name"]) == (0, 0, None)
    assert data["package.numpy"] == importlib.metadata.version("numpy")
    expected = {
        "cpu.util.avg_percent_since_last",
        "cpu.freq.current",
        "mem.available",
        "mem.used",
        "mem.percent_used",
        "mem.read_bytes_since_boot",
        "mem.write_bytes_since_boot",
        "net.bytes_sent_since_boot",
        "net.bytes_recv_since_boot",
        "os_platform",
        "python_version",
        "python_compiler",
        "git_branch",
        "git_commit_hash",
        "cpu_model_name",
        "gpu_driver",
    }
    assert expected <= set(data)


def test_gpus_are_described_by_the_driver_or_else_by_the_backend(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", fake_pynvml(NVML_GPUS))
    data = meta(GPU_REPORT)
    assert (data["gpu.count"], data["gpu_model_name"], data["gpu_driver"]) == (2, "NVIDIA H200", "575.1")
    assert (data["gpu.0.compute.util"], data["gpu.1.mem.util"]) == (0.4, 0.75)
    assert math.isclose(data["gpu.avg.compute.util"], 0.5)
    assert (data["gpu.1.temp.current"], data["gpu.avg.temp.current"]) == (None, 35)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    data = meta(GPU_REPORT)
    assert (data["gpu.count"], data["gpu_model_name"], data["gpu_driver"]) == (2, "NVIDIA H200", "575.1")


def test_a_machine_that_tells_nothing_stops_nothing(monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError("not in this container")

    for name in ("virtual_memory", "cpu_count", "cpu_freq", "cpu_percent", "disk_io_counters", "net_io_counters"):
        monkeypatch.setattr(psutil, name, refuse)
    monkeypatch.setattr(Path, "read_text", refuse)
    monkeypatch.setattr(subprocess, "run", refuse)
    monkeypatch.setattr(os, "sched_getaffinity", refuse)
    provenance.git_state.cache_clear()
    try:
        assert collect()["hardware"]["memory_bytes"] is None
        assert collect()["code"]["commit"] is None
        assert meta()["mem.total"] is None
        assert meta(GPU_REPORT)["gpu.count"] == 2
    finally:
        provenance.git_state.cache_clear()


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]
    command = ["git", "-C", str(folder), *identity, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_branch_and_uncommitted_changes(tmp_path):
    file = tmp_path / "algoperf" / "__init__.py"
    file.parent.mkdir()
    file.write_text("")
    git(tmp_path, "init", "-q")
    assert provenance.git_state(tmp_path)["branch"] is None, "a repository that does not hold the code is another's"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "x")
    provenance.git_state.cache_clear()
    clean = provenance.git_state(tmp_path)
    assert clean == {
        "commit": git(tmp_path, "rev-parse", "HEAD"),
        "branch": "main",
        "is_dirty": False,
        "diff_digest": None,
    }
    digests = set()
    for text in ("1", "2"):
        file.write_text(text)
        provenance.git_state.cache_clear()
        state = provenance.git_state(tmp_path)
        assert state["is_dirty"]
        digests.add(state["diff_digest"])
    assert len(digests) == 2
    assert None not in digests


class Colour(enum.Enum):
    RED = object()


class AbslFlags:
    def flag_values_dict(self):
        return {"workload": "wmt", "a": Path("/x"), "colour": Colour.RED, "n": None, "size": np.float32(0.5)}


def test_flags_become_plain_json():
    flags = provenance.flags_json(AbslFlags())
    assert json.loads(json.dumps(flags)) == {"a": "/x", "colour": "RED", "n": None, "size": 0.5, "workload": "wmt"}
    assert list(flags) == sorted(flags)
    assert provenance.flags_json({"b": object}) == {"b": "<class 'object'>"}


@pytest.mark.parametrize(
    ("files", "quota", "limit"),
    [
        ({"cpu.max": "150000 100000", "memory.max": "1073741824"}, 1.5, 2**30),
        ({"cpu.max": "max 100000", "memory.max": "max"}, None, None),
        (
            {
                "cpu/cpu.cfs_quota_us": "50000",
                "cpu/cpu.cfs_period_us": "100000",
                "memory/memory.limit_in_bytes": str(2**63),
            },
            0.5,
            None,
        ),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None, None),
        ({}, None, None),
    ],
)
def test_limits_of_a_container_are_recorded(monkeypatch, files, quota, limit):
    monkeypatch.setattr(provenance, "_text", lambda path: files.get(path.removeprefix("/sys/fs/cgroup/")))
    hardware = collect()["hardware"]
    assert (hardware["cpu_quota"], hardware["memory_limit_bytes"]) == (quota, limit)
