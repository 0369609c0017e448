"""NadamW in JAX."""

import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import optax

from reference_algorithms.common import batch_sizes, jax_step, schedules
from reference_algorithms.common.jax_nadam import scale_by_nadam


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """NadamW with decoupled weight decay, and a cosine schedule that ends at the step hint."""
    schedule = schedules.cosine(hyperparameters, workload.step_hint)
    return jax_step.clipped(
        hyperparameters,
        optax.chain(
            scale_by_nadam(b1=1.0 - hyperparameters.one_minus_beta1, b2=hyperparameters.beta2),
            optax.add_decayed_weights(hyperparameters.weight_decay),
            optax.scale_by_learning_rate(functools.partial(schedule, xp=jnp)),
        ),
    )


_algorithm = jax_step.Algorithm(make_optimizer, self_tuning_file=Path(__file__).with_name("self_tuning.json"))

get_batch_size = batch_sizes.get_batch_size
init_optimizer_state = _algorithm.init_optimizer_state
data_selection = _algorithm.data_selection
update_params = _algorithm.update_params
prepare_for_eval = _algorithm.prepare_for_eval
