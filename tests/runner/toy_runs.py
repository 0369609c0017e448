"""Runs of the toy workload through the driver, in this process or in processes of their own."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from algoperf.definition import Budget
from algoperf.registry import Registry
from algoperf.runner import driver
from algoperf.runner.run_config import RunConfig

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
REGISTRY = Registry(("algoperf.testing.toy_workload",))
SUBMISSIONS = {"jax": HERE / "submissions/jax_sgd.py", "pytorch": HERE / "submissions/torch_sgd.py"}


def space(tmp_path: Path, content=({"learning_rate": 0.02},)) -> str:
    tmp_path.mkdir(parents=True, exist_ok=True)
    path = tmp_path / "space.json"
    path.write_text(json.dumps(content))
    return str(path)


def config(tmp_path: Path, framework: str, **flags) -> RunConfig:
    values = {
        "workload": "toy_mini",
        "framework": framework,
        "submission_path": str(SUBMISSIONS[framework]),
        "experiment_dir": str(tmp_path / "experiments"),
        "experiment_name": "test",
        "data_dir": str(tmp_path / "data"),
        "rng_seed": 1,
        "use_tensorboard": False,
        **flags,
    }
    if values.get("tuning_ruleset", "external") == "external" and "tuning_search_space" not in flags:
        values["tuning_search_space"] = space(tmp_path)
    return RunConfig.from_flags(values)


def endless(**changes) -> Registry:
    """The toy with its target out of reach."""
    fields = {
        "validation_target": -1.0,
        "test_target": None,
        "budget": Budget(max_runtime_s=60.0, eval_period_s=30.0, step_hint=100),
        **changes,
    }
    return REGISTRY.altered({"toy_mini": fields})


def run(configuration: RunConfig, registry: Registry = REGISTRY):
    messages: list[str] = []
    results = driver.run(configuration, registry=registry, report=messages.append)
    return results, messages


def trial_dir(tmp_path: Path, framework: str, trial: int = 1) -> Path:
    return tmp_path / "experiments" / "test" / f"toy_mini_{framework}" / f"trial_{trial}"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(path: Path, process: subprocess.Popen, timeout_s: float = 60) -> None:
    """Waits for a file that a running process makes."""
    deadline = time.monotonic() + timeout_s
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.02)


def run_in_process(script: str, tmp_path: Path, *, env=None, launcher=(), timeout_s=120):
    """Runs `script` (which may use this module) in a process of its own."""
    path = tmp_path / "script.py"
    path.write_text(f"import sys\nsys.path[:0] = [{str(HERE)!r}, {str(ROOT)!r}]\n{script}")
    return subprocess.run(
        [*(launcher or [sys.executable]), str(path)],
        cwd=tmp_path,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
