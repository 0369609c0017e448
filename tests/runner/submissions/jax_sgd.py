"""A JAX submission in the style of AlgoPerf v0.6: sharded jit, workload as static argument, momentum by optax."""

import functools

import jax
import jax.numpy as jnp
import optax

from algoperf import jax_sharding_utils, spec


def get_batch_size(workload_name):
    if workload_name == "toy":
        return 16
    raise ValueError(f"Unsupported workload name: {workload_name}.")


def init_optimizer_state(workload, model_params, model_state, hyperparameters, rng):
    del model_state, rng
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape_tuple), workload.param_shapes)
    init, update = optax.sgd(hyperparameters.learning_rate if hyperparameters else 0.02, momentum=0.5)
    return jax_sharding_utils.replicate(init(zeros)), update


def train_step(workload, update_fn, model_state, optimizer_state, params, batch, rng):
    def loss_fn(params):
        logits, new_state = workload.model_fn(
            params, batch, model_state, spec.ForwardPassMode.TRAIN, rng, update_batch_norm=True
        )
        loss = workload.loss_fn(
            label_batch=batch["targets"], logits_batch=logits, mask_batch=batch.get("weights"), label_smoothing=0.0
        )
        return loss["summed"] / loss["n_valid_examples"], new_state

    (loss, new_state), grad = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, optimizer_state = update_fn(grad, optimizer_state, params)
    return optimizer_state, optax.apply_updates(params, updates), new_state, loss


@functools.cache
def compiled_step():
    replicated = jax_sharding_utils.get_replicate_sharding()
    sharded = jax_sharding_utils.get_batch_dim_sharding()
    return jax.jit(
        train_step,
        static_argnums=(0, 1),
        in_shardings=(replicated, replicated, replicated, sharded, replicated),
        out_shardings=replicated,
    )


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
    train_state=None,
):
    state, update_fn = optimizer_state
    state, params, model_state, loss = compiled_step()(
        workload, update_fn, model_state, state, current_param_container, batch, rng
    )
    if global_step % 10 == 0 and workload.metrics_logger is not None:
        workload.metrics_logger.append_scalar_metrics({"loss": loss}, global_step)
    return (state, update_fn), params, model_state


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
