"""Runs a reference algorithm on the small problem through the submission hooks, as the harness calls them."""

import importlib
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from algoperf import spec


class Run:
    """One training run; `params()` gives NumPy arrays under the JAX names in the JAX layout."""

    def __init__(self, algorithm: str | ModuleType, framework: str, hyperparameters: Any = None) -> None:
        self.submission = load(algorithm, framework) if isinstance(algorithm, str) else algorithm
        self.problem = importlib.import_module(f"small_problem_{framework}")
        workload_class = {"jax": "SmallJaxWorkload", "torch": "SmallTorchWorkload"}[framework]
        self.workload = getattr(self.problem, workload_class)()
        self.batch = self.problem.batch if framework == "torch" else importlib.import_module("small_problem").batch
        self.hyperparameters = hyperparameters
        self.rng = np.array([1, 2], np.uint32)
        self.params_, self.model_state = self.workload.init_model_fn(self.rng)
        self.params_ = self.wrapped(self.params_)
        self.optimizer_state = self.submission.init_optimizer_state(
            workload=self.workload,
            model_params=self.params_,
            model_state=self.model_state,
            hyperparameters=hyperparameters,
            rng=self.rng,
        )
        self.step = 0

    def wrapped(self, params: Any) -> Any:
        """The parameters as the harness hands them to a submission."""
        return params

    def take_batch(self) -> dict[str, Any]:
        """The batch of this step."""
        return self.batch(self.step)

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
                **self._common(), batch=self.take_batch()
            )
            self.step += 1
        return self

    def prepare_for_eval(self) -> "Run":
        self.optimizer_state, self.params_, self.model_state = self.submission.prepare_for_eval(**self._common())
        return self

    def params(self) -> dict[str, np.ndarray]:
        return self.problem.flat(self.params_)

    def checkpoint(self) -> dict[str, Any]:
        """Device state as the harness gives it to a backend."""
        return {
            "model_params": self.params_,
            "model_state": self.model_state,
            "optimizer_state": self.optimizer_state,
        }

    def restore(self, state: dict[str, Any], step: int) -> None:
        self.params_, self.model_state = state["model_params"], state["model_state"]
        self.optimizer_state, self.step = state["optimizer_state"], step

    def loss(self) -> float:
        """Mean loss over four batches that training does not see."""
        losses = []
        for step in range(1000, 1004):
            batch = self.batch(step)
            logits, _ = self.workload.model_fn(
                self.params_, batch, self.model_state, spec.ForwardPassMode.EVAL, self.rng, update_batch_norm=False
            )
            loss = self.workload.loss_fn(batch["targets"], logits, batch["weights"])
            summed = loss["summed"].detach() if hasattr(loss["summed"], "detach") else loss["summed"]
            losses.append(float(summed) / float(loss["n_valid_examples"]))
        return sum(losses) / len(losses)

    def log(self) -> list[tuple[int, dict[str, float]]]:
        """Starts to collect what the submission logs; returns the list that grows."""
        rows: list[tuple[int, dict[str, float]]] = []
        self.workload.metrics_logger = SimpleNamespace(
            append_scalar_metrics=lambda metrics, global_step: rows.append((global_step, dict(metrics)))
        )
        return rows


def load(algorithm: str, framework: str) -> ModuleType:
    return importlib.import_module(f"reference_algorithms.{algorithm}.{framework}_submission")
