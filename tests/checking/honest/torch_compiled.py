"""SGD with a loss that the submission compiles itself."""

import torch

from algoperf import spec
from algoperf.registry import REGISTRY


def get_batch_size(workload_name):
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {"optimizer": torch.optim.SGD(model_params.parameters(), lr=0.01, momentum=0.9)}


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
):
    return next(input_queue)


@torch.compile(backend="aot_eager")
def _penalty(parameters):
    return sum((parameter**2).sum() for parameter in parameters)


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
    optimizer.zero_grad()
    logits, _ = workload.model_fn(
        current_param_container, batch, model_state, spec.ForwardPassMode.TRAIN, rng, True, 0.0
    )
    loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
    total = loss["summed"] / loss["n_valid_examples"] + 1e-4 * _penalty(list(current_param_container.parameters()))
    total.backward()
    optimizer.step()
    if workload.metrics_logger is not None and global_step % 100 == 0:
        workload.metrics_logger.append_scalar_metrics({"loss": total.item()}, global_step)
    return optimizer_state, current_param_container, model_state
