"""Echoes data: takes a new batch every second step only."""

import functools

import jax
import jax.numpy as jnp

from algoperf import spec
from algoperf.registry import REGISTRY


def get_batch_size(workload_name):
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return {"momentum": jax.tree.map(jnp.zeros_like, model_params), "batch": None}


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
):
    if optimizer_state["batch"] is None or global_step % 2 == 0:
        return next(input_queue)
    return optimizer_state["batch"]


@functools.partial(jax.jit, static_argnums=0)
def _step(workload, momentum, params, model_state, batch, rng):
    def mean_loss(values):
        logits, new_state = workload.model_fn(
            values, batch, model_state, spec.ForwardPassMode.TRAIN, rng, update_batch_norm=True, dropout_rate=0.0
        )
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
        return loss["summed"] / loss["n_valid_examples"], new_state

    gradients, model_state = jax.grad(mean_loss, has_aux=True)(params)
    momentum = jax.tree.map(lambda m, g: 0.9 * m + g, momentum, gradients)
    return momentum, jax.tree.map(lambda p, m: p - 0.01 * m, params, momentum), model_state


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
    momentum, params, model_state = _step(
        workload, optimizer_state["momentum"], current_param_container, model_state, batch, rng
    )
    return {"momentum": momentum, "batch": batch}, params, model_state
