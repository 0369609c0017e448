"""A PyTorch submission without torch.optim, whose import takes seconds: SGD with momentum by hand."""

import torch

from algoperf import spec


def get_batch_size(workload_name):
    return 16


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {name: torch.zeros_like(value) for name, value in model_params.named_parameters()}


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
    model = current_param_container
    logits, model_state = workload.model_fn(model, batch, model_state, spec.ForwardPassMode.TRAIN, rng, True)
    loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    mean = loss["summed"] / loss["n_valid_examples"]
    gradients = torch.autograd.grad(mean, list(model.parameters()))
    with torch.no_grad():
        for (name, value), gradient in zip(model.named_parameters(), gradients, strict=True):
            value -= hyperparameters.learning_rate * optimizer_state[name].mul_(0.5).add_(gradient)
    if global_step % 10 == 0 and workload.metrics_logger is not None:
        workload.metrics_logger.append_scalar_metrics({"loss": mean.item()}, global_step)
    return optimizer_state, model, model_state


def data_selection(
    workload,
    input_queue,
    optimizer_state,
    current_param_container,
    model_state,
    hyperparameters,
    global_step,
    rng,
):
    return next(input_queue)
