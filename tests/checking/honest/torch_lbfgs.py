"""L-BFGS with a line search: several evaluations of the loss in one step."""

import torch

from algoperf import spec
from algoperf.registry import REGISTRY


def get_batch_size(workload_name):
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {
        "optimizer": torch.optim.LBFGS(
            model_params.parameters(), lr=0.5, max_iter=4, history_size=5, line_search_fn="strong_wolfe"
        )
    }


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
):
    return next(input_queue)


def update_params(
    workload,
    current_param_container,
    current_params_types,
    model_state,
    hyperparameters,
    batch,
    loss_type,
    optimizer_state,
    eval_results,
    global_step,
    rng,
):
    optimizer = optimizer_state["optimizer"]

    def closure():
        optimizer.zero_grad()
        logits, _ = workload.model_fn(
            current_param_container, batch, model_state, spec.ForwardPassMode.TRAIN, rng, True, 0.0
        )
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
        mean = loss["summed"] / loss["n_valid_examples"]
        mean.backward()
        return mean

    optimizer.step(closure)
    return optimizer_state, current_param_container, model_state
