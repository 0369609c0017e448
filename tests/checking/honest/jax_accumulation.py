"""Accumulates gradients over several batches before an update."""

import functools

import jax
import optax

from algoperf import spec
from algoperf.registry import REGISTRY

_OPTIMIZER = optax.MultiSteps(optax.adamw(1e-3), every_k_schedule=2)


def get_batch_size(workload_name):
    return REGISTRY.get(workload_name).reference_batch_size


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    return jax.jit(_OPTIMIZER.init)(model_params)


def data_selection(
    workload, input_queue, optimizer_state, current_param_container, model_state, hyperparameters, global_step, rng
):
    return next(input_queue)


@functools.partial(jax.jit, static_argnums=0)
def _step(workload, state, params, model_state, batch, rng):
    def mean_loss(values):
        logits, new_state = workload.model_fn(
            values, batch, model_state, spec.ForwardPassMode.TRAIN, rng, update_batch_norm=True, dropout_rate=0.0
        )
        loss = workload.loss_fn(batch["targets"], logits, batch.get("weights"))
        return loss["summed"] / loss["n_valid_examples"], new_state

    gradients, model_state = jax.grad(mean_loss, has_aux=True)(params)
    updates, state = _OPTIMIZER.update(gradients, state, params)
    return state, optax.apply_updates(params, updates), model_state


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
    return _step(workload, optimizer_state, current_param_container, model_state, batch, rng)
