"""Lion in JAX."""

from typing import Any

import optax

from reference_algorithms.common import jax_step, schedules


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """Lion (Chen et al. 2023, algorithm 2) with a cosine schedule."""
    learning_rate = jax_step.traced(schedules.cosine(hyperparameters, workload.step_hint))
    return jax_step.clipped(
        hyperparameters,
        optax.lion(
            learning_rate,
            b1=1.0 - hyperparameters.one_minus_beta1,
            b2=hyperparameters.beta2,
            weight_decay=hyperparameters.weight_decay,
        ),
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
