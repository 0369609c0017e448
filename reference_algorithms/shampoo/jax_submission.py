"""Distributed Shampoo in JAX."""

from typing import Any

import optax

from reference_algorithms.common import jax_step, schedules
from reference_algorithms.shampoo.jax_shampoo import shampoo
from reference_algorithms.shampoo.settings import shampoo_settings


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """Shampoo with blocks, grafted to normalised RMSProp, with a cosine schedule."""
    learning_rate = jax_step.traced(schedules.cosine(hyperparameters, workload.step_hint))
    return jax_step.clipped(
        hyperparameters,
        shampoo(
            learning_rate,
            b1=1.0 - hyperparameters.one_minus_beta1,
            b2=hyperparameters.beta2,
            weight_decay=hyperparameters.weight_decay,
            settings=shampoo_settings(hyperparameters),
        ),
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
