"""Nesterov momentum in JAX."""

from typing import Any

import optax

from reference_algorithms.common import jax_step, schedules


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """SGD with Nesterov momentum; weight decay joins the gradient; linear decay."""
    learning_rate = jax_step.traced(schedules.linear(hyperparameters, workload.step_hint))
    return jax_step.clipped(
        hyperparameters,
        optax.chain(
            optax.add_decayed_weights(hyperparameters.weight_decay),
            optax.sgd(learning_rate, momentum=1.0 - hyperparameters.one_minus_beta1, nesterov=True),
        ),
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
