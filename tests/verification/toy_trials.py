"""Runs of the toy workload that keep everything, and verification of them without further processes."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from algoperf.registry import Registry
from algoperf.runner import driver
from algoperf.runner.run_config import RunConfig
from algoperf.verification import replay
from algoperf.verification.reevaluation import evaluate_checkpoints

RUNNER_TESTS = Path(__file__).resolve().parents[1] / "runner"
REGISTRY = Registry(("algoperf.testing.toy_workload",))
SUBMISSIONS = {"jax": RUNNER_TESTS / "submissions/jax_sgd.py", "pytorch": RUNNER_TESTS / "submissions/torch_sgd.py"}


def run_toy(folder: Path, framework: str) -> Path:
    """Trains to the target; returns the folder of the trial."""
    space = folder / "space.json"
    space.write_text(json.dumps([{"learning_rate": 0.02}]))
    config = RunConfig.from_flags(
        {
            "workload": "toy_mini",
            "framework": framework,
            "submission_path": str(SUBMISSIONS[framework]),
            "experiment_dir": str(folder / "experiments"),
            "experiment_name": "test",
            "data_dir": str(folder / "experiments" / "data"),
            "tuning_search_space": str(space),
            "rng_seed": 1,
            "use_tensorboard": False,
            "save_intermediate_checkpoints": True,
        }
    )
    [result] = driver.run(config, registry=REGISTRY, report=lambda message: None)
    assert result.outcome == "reached", result.record.error
    return result.trial_dir


def in_this_process(module: str, request: Mapping[str, Any]) -> Any:
    """What `child.ask` gives, with the toy workload."""
    if module.endswith("reevaluation"):
        return json.loads(json.dumps(evaluate_checkpoints(request, REGISTRY), default=str))
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        assert replay.main(["", json.dumps(request), str(answer)], REGISTRY) == 0
        return json.loads(answer.read_text())
