"""Adafactor in JAX."""

from typing import Any

import optax

from reference_algorithms.common import jax_step, schedules


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """Adafactor with momentum and without parameter scaling, as in Zhai et al. 2022 (section 3.5), decay 0.99."""
    learning_rate = jax_step.traced(schedules.cosine(hyperparameters, workload.step_hint))
    return jax_step.clipped(
        hyperparameters,
        optax.chain(
            optax.scale_by_factored_rms(
                decay_rate=0.99, decay_rate_fn=_bias_corrected_decay, min_dim_size_to_factor=1, epsilon=1e-30
            ),
            optax.clip_by_block_rms(1.0),
            optax.scale_by_learning_rate(learning_rate, flip_sign=False),
            optax.ema(1.0 - hyperparameters.one_minus_beta1, debias=False),
            optax.add_decayed_weights(lambda count: hyperparameters.weight_decay * learning_rate(count)),
            optax.scale(-1.0),
        ),
    )


def _bias_corrected_decay(count: Any, decay: float) -> Any:
    """Decay of update number t = `count` + 1 such that the average needs no bias correction; 0 at first."""
    return decay * (1.0 - decay**count) / (1.0 - decay ** (count + 1.0))


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__
)
