"""Runs a reference algorithm on the small problem through the submission hooks, as the harness calls them."""

import copy
import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np


class Run:
    """One training run; `params()` gives NumPy arrays under the JAX names in the JAX layout."""

    def __init__(self, algorithm: str, framework: str, hyperparameters: Any = None) -> None:
        self.submission = load(algorithm, framework)
        self.problem = importlib.import_module(f"small_problem_{framework}")
        workload_class = {"jax": "SmallJaxWorkload", "torch": "SmallTorchWorkload"}[framework]
        self.workload = getattr(self.problem, workload_class)()
        self.batch = self.problem.batch if framework == "torch" else importlib.import_module("small_problem").batch
        self.hyperparameters = hyperparameters
        self.rng = np.array([1, 2], np.uint32)
        self.params_, self.model_state = self.workload.init_model_fn(self.rng)
        self.optimizer_state = self.submission.init_optimizer_state(
            workload=self.workload,
            model_params=self.params_,
            model_state=self.model_state,
            hyperparameters=hyperparameters,
            rng=self.rng,
        )
        self.step = 0

    def _common(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "current_param_container": self.params_,
            "current_params_types": self.workload.model_params_types,
            "model_state": self.model_state,
            "hyperparameters": self.hyperparameters,
            "loss_type": self.workload.loss_type,
            "optimizer_state": self.optimizer_state,
            "eval_results": [],
            "global_step": self.step,
            "rng": self.rng,
        }

    def train(self, num_steps: int) -> "Run":
        for _ in range(num_steps):
            self.optimizer_state, self.params_, self.model_state = self.submission.update_params(
                **self._common(), batch=self.batch(self.step)
            )
            self.step += 1
        return self

    def prepare_for_eval(self) -> "Run":
        self.optimizer_state, self.params_, self.model_state = self.submission.prepare_for_eval(**self._common())
        return self

    def params(self) -> dict[str, np.ndarray]:
        return self.problem.flat(self.params_)

    def trajectory(self, num_steps: int) -> list[dict[str, np.ndarray]]:
        """Parameters after each step."""
        return [copy.deepcopy(self.train(1).params()) for _ in range(num_steps)]


def load(algorithm: str, framework: str) -> ModuleType:
    return importlib.import_module(f"reference_algorithms.{algorithm}.{framework}_submission")


def point(**values: Any) -> SimpleNamespace:
    return SimpleNamespace(**values)
