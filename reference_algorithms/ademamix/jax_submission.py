"""AdEMAMix in JAX."""

import math
from typing import Any

import jax.numpy as jnp
import optax

from reference_algorithms.ademamix.slow_average import beta3
from reference_algorithms.common import jax_step, schedules


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """AdEMAMix (Pagliardini et al. 2024, algorithm 1); both of its warm-ups last until the step hint."""
    learning_rate = jax_step.traced(schedules.cosine(hyperparameters, workload.step_hint))
    beta1, horizon = 1.0 - hyperparameters.one_minus_beta1, workload.step_hint
    slow_decay = beta3(hyperparameters, horizon)
    return jax_step.clipped(
        hyperparameters,
        optax.contrib.ademamix(
            learning_rate,
            b1=beta1,
            b2=hyperparameters.beta2,
            b3=lambda count: _beta3(jnp.minimum((count + 1) / horizon, 1.0), beta1, slow_decay),
            alpha=lambda count: hyperparameters.alpha * jnp.minimum((count + 1) / horizon, 1.0),
            eps=1e-8,
            weight_decay=hyperparameters.weight_decay,
        ),
    )


def _beta3(progress: Any, start: float, end: float) -> Any:
    """Decay of the slow average such that its half-life grows linearly (section 3, scheduler of beta_3)."""
    log_start, log_end = math.log(start), math.log(end)
    return jnp.exp(log_start * log_end / ((1.0 - progress) * log_end + progress * log_start))


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
