"""Muon in JAX."""

from typing import Any

import optax

from reference_algorithms.common import jax_step, schedules
from reference_algorithms.muon.jax_muon import matrix_specs, muon


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """Muon for matrices, NadamW for embeddings, the output layer and vectors; one cosine schedule."""
    learning_rate = jax_step.traced(schedules.cosine(hyperparameters, workload.step_hint))
    return jax_step.clipped(
        hyperparameters,
        muon(
            learning_rate,
            momentum=1.0 - hyperparameters.one_minus_momentum,
            b1=1.0 - hyperparameters.one_minus_beta1,
            b2=hyperparameters.beta2,
            weight_decay=hyperparameters.weight_decay,
            specs=matrix_specs(workload),
        ),
    )


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
