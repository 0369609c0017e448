"""Runs of a reference algorithm for a given number of steps: targets are out of reach, and time does not end them."""

import math
from pathlib import Path
from typing import Any

from algoperf.definition import Budget, WorkloadDefinition
from algoperf.registry import REGISTRY, Registry
from algoperf.runner.run_config import RunConfig, default_submission

NEVER_S = 1e9


def algorithm_folder(algorithm: str, framework: str) -> Path:
    """The folder of a reference algorithm."""
    return default_submission(framework).parent.parent / algorithm


def fixed_length(definition: WorkloadDefinition, steps: int, eval_period_s: float) -> dict[str, Any]:
    """Fields of `definition` that change: schedules are as long as the run, and no target or time ends it."""
    return {
        "validation_target": math.inf if definition.metric.better(1.0, 0.0) else -math.inf,
        "test_target": None,
        "budget": Budget(max_runtime_s=NEVER_S, eval_period_s=eval_period_s, step_hint=steps),
    }


def train(
    algorithm: str,
    definition: WorkloadDefinition,
    framework: str,
    changes: dict[str, Any],
    *,
    registry: Registry = REGISTRY,
    **flags: Any,
) -> None:
    """A run of a reference algorithm, in this process; resumes one that was interrupted, and calibrates nothing.

    Args:
      changes: fields of the definition.
      flags: of the runner, over those that all such runs have.
    """
    from algoperf.runner import driver

    values = {
        "workload": definition.name,
        "framework": framework,
        "submission_path": str(algorithm_folder(algorithm, framework) / default_submission(framework).name),
        "resume_last_run": True,
        "study": 0,
        "use_tensorboard": False,
        "calibration": "off",
        **flags,
    }
    driver.run(RunConfig.from_flags(values), registry=registry.altered({definition.name: changes}))
