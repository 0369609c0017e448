"""Algorithms that treat matrices apart train the model: its scalars, tied table and fused projections."""

import dataclasses
import importlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from algoperf.backends.base import model_module
from algoperf.definition import FRAMEWORKS
from algoperf.testing.conformance.adapter import load_adapter, map_arrays
from workloads.finewebedu_lm.data import fake_batch
from workloads.finewebedu_lm.definition import BASE

ROOT = Path(__file__).parents[2] / "reference_algorithms"
EACH_FRAMEWORK = [
    pytest.param(name, marks=getattr(pytest.mark, framework.package)) for name, framework in FRAMEWORKS.items()
]
NUM_STEPS = 3


def placed(batch, framework):
    if framework == "jax":
        return batch
    import torch

    return map_arrays(lambda array: torch.from_numpy(np.array(array)), batch)


@pytest.mark.parametrize("framework", EACH_FRAMEWORK)
@pytest.mark.parametrize("algorithm", ["adafactor", "muon", "shampoo"])
def test_every_parameter_is_trained(algorithm, framework):
    definition = dataclasses.replace(BASE.shrunk(), budget=dataclasses.replace(BASE.budget, step_hint=10))
    module = importlib.import_module(f"workloads.finewebedu_lm.{model_module(framework)}")
    model = module.build(definition)
    workload = load_adapter(framework, model).workload(definition, module)
    submission = importlib.import_module(f"reference_algorithms.{algorithm}.{FRAMEWORKS[framework].package}_submission")
    point = json.loads((ROOT / algorithm / "self_tuning.json").read_text()) | {"warmup_factor": 0.0}
    rng = np.array([1, 2], np.uint32)
    params, state = workload.init_model_fn(rng)
    before = model.export_weights(params, state)
    common = {"workload": workload, "model_state": state, "hyperparameters": SimpleNamespace(**point), "rng": rng}
    optimizer_state = submission.init_optimizer_state(model_params=params, **common)
    for step in range(NUM_STEPS):
        optimizer_state, params, _ = submission.update_params(
            **common,
            current_param_container=params,
            current_params_types=workload.model_params_types,
            batch=placed(fake_batch(definition, 4, seed=step), framework),
            loss_type=workload.loss_type,
            optimizer_state=optimizer_state,
            eval_results=[],
            global_step=step,
        )
    after = model.export_weights(params, state)
    assert all(np.isfinite(value).all() for value in after.values())
    assert [name for name in before if (before[name] == after[name]).all()] == []
