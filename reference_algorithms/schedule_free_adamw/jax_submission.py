"""Schedule-Free AdamW in JAX."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from reference_algorithms.common import jax_step, schedules


class State(NamedTuple):
    """State of the optimizer, and whether the parameters are at the average x (else where gradients are taken, y)."""

    inner: Any
    at_average: jax.Array


def make_optimizer(hyperparameters: Any, workload: Any) -> optax.GradientTransformation:
    """Schedule-Free AdamW (Defazio et al. 2024, algorithm 1): warm-up, then a constant rate."""
    learning_rate = jax_step.traced(schedules.constant(hyperparameters, workload.step_hint))
    base = optax.chain(
        optax.scale_by_rms(decay=hyperparameters.beta2, eps=1e-8, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(hyperparameters.weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
    inner = optax.contrib.schedule_free(
        jax_step.clipped(hyperparameters, base),
        # It counts from 1; the weights of the average are those of the learning rates in use.
        learning_rate=lambda count: learning_rate(count - 1),
        b1=1.0 - hyperparameters.one_minus_beta1,
    )

    def init(params: Any) -> State:
        return State(inner=inner.init(params), at_average=jnp.zeros([], bool))

    def update(grads: Any, state: State, params: Any) -> tuple[Any, State]:
        updates, inner_state = inner.update(grads, state.inner, params)
        return updates, State(inner=inner_state, at_average=jnp.zeros([], bool))

    return optax.GradientTransformation(init, update)


def to_eval(state: State, params: Any) -> tuple[State, Any]:
    """Moves from y to x."""
    average = optax.contrib.schedule_free_eval_params(state.inner, params)
    return state._replace(at_average=jnp.ones([], bool)), _where(state.at_average, params, average)


def to_train(state: State, params: Any) -> tuple[State, Any]:
    """Moves from x to y = (1 - b1) z + b1 x."""
    b1 = state.inner.b1
    point = jax.tree.map(lambda x, z: (1.0 - b1) * z + b1 * x, params, state.inner.z)
    return state._replace(at_average=jnp.zeros([], bool)), _where(state.at_average, point, params)


def _where(condition: jax.Array, first: Any, second: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), first, second)


get_batch_size, init_optimizer_state, data_selection, update_params, prepare_for_eval = jax_step.hooks(
    make_optimizer, __file__, to_eval=to_eval, to_train=to_train
)
