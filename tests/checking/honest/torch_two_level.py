"""Two levels as in DiLoCo: an inner optimizer, and every few steps an outer one on the distance from an anchor."""

import torch

from algoperf import spec
from algoperf.registry import REGISTRY

_INNER_STEPS = 2


def get_batch_size(workload_name):
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    anchor = [parameter.detach().clone() for parameter in model_params.parameters()]
    return {
        "inner": torch.optim.AdamW(model_params.parameters(), lr=1e-3),
        "anchor": anchor,
        "momentum": [torch.zeros_like(value) for value in anchor],
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
    inner = optimizer_state["inner"]
    inner.zero_grad()
    logits, _ = workload.model_fn(
        current_param_container, batch, model_state, spec.ForwardPassMode.TRAIN, rng, True, 0.0
    )
    loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    (loss["summed"] / loss["n_valid_examples"]).backward()
    inner.step()
    if (global_step + 1) % _INNER_STEPS == 0:
        _outer_step(current_param_container, optimizer_state)
    return optimizer_state, current_param_container, model_state


@torch.no_grad()
def _outer_step(model, state):
    for parameter, anchor, momentum in zip(model.parameters(), state["anchor"], state["momentum"], strict=True):
        momentum.mul_(0.9).add_(anchor - parameter)
        anchor.sub_(0.7 * momentum)
        parameter.copy_(anchor)


def prepare_for_eval(
    workload,
    current_param_container,
    current_params_types,
    model_state,
    hyperparameters,
    loss_type,
    optimizer_state,
    eval_results,
    global_step,
    rng,
):
    return optimizer_state, current_param_container, model_state
