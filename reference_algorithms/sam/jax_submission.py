"""SAM around AdamW in JAX."""

from typing import Any

import jax.numpy as jnp
import optax

from reference_algorithms.common import jax_step, schedules


def unit_norm() -> optax.GradientTransformation:
    """Scales updates to a global 2-norm of 1; a gradient of exactly zero stays zero."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        norm = optax.tree.norm(updates)
        scale = jnp.where(norm > 0, 1 / jnp.where(norm > 0, norm, 1), 0)
        return optax.tree.scale(scale, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """Sharpness-aware minimisation (Foret et al. 2021, algorithm 1, 2-norm) around AdamW.

    The second gradient is the one that is clipped.
    """
    learning_rate = jax_step.traced(schedules.cosine(hyperparameters, workload.step_hint))
    adamw = optax.adamw(
        learning_rate,
        b1=1.0 - hyperparameters.one_minus_beta1,
        b2=hyperparameters.beta2,
        eps=1e-8,
        weight_decay=hyperparameters.weight_decay,
    )
    ascent = optax.chain(unit_norm(), optax.sgd(hyperparameters.rho))
    return optax.contrib.sam(jax_step.clipped(hyperparameters, adamw), ascent, opaque_mode=True)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
