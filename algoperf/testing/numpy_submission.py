"""A submission without a framework, for tests with `FakeBackend`: heavy-ball momentum on the toy workload."""

from typing import Any

import numpy as np


def get_batch_size(workload_name: str) -> int:
    return 16


def init_optimizer_state(workload: Any, model_params: Any, model_state: Any, hyperparameters: Any, rng: Any) -> Any:
    return {name: np.zeros_like(value) for name, value in model_params["Dense_0"].items()}


def update_params(
    workload: Any,
    current_param_container: Any,
    current_params_types: Any,
    model_state: Any,
    hyperparameters: Any,
    batch: Any,
    loss_type: Any,
    optimizer_state: Any,
    eval_results: Any,
    global_step: int,
    rng: Any,
) -> Any:
    learning_rate = getattr(hyperparameters, "learning_rate", 0.03)
    momentum = getattr(hyperparameters, "momentum", 0.5)
    gradient = workload.model.gradient(current_param_container, batch)["Dense_0"]
    velocity = {name: momentum * optimizer_state[name] + gradient[name] for name in gradient}
    params = {
        name: value - learning_rate * velocity[name] for name, value in current_param_container["Dense_0"].items()
    }
    return velocity, {"Dense_0": params}, model_state


def data_selection(
    workload: Any,
    input_queue: Any,
    optimizer_state: Any,
    current_param_container: Any,
    model_state: Any,
    hyperparameters: Any,
    global_step: int,
    rng: Any,
) -> Any:
    return next(input_queue)
