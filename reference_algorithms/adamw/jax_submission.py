"""AdamW in JAX."""

from typing import Any

import optax

from reference_algorithms.common import jax_step, schedules


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """AdamW (Loshchilov & Hutter 2019, algorithm 2) with a cosine schedule that ends at the step hint."""
    learning_rate = jax_step.traced(schedules.cosine(hyperparameters, workload.step_hint))
    return jax_step.clipped(
        hyperparameters,
        optax.adamw(
            learning_rate,
            b1=1.0 - hyperparameters.one_minus_beta1,
            b2=hyperparameters.beta2,
            eps=1e-8,
            weight_decay=hyperparameters.weight_decay,
        ),
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
