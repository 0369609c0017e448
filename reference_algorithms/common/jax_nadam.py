"""Nesterov-accelerated Adam, which optax has only with another bias correction of the momentum."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def scale_by_nadam(b1: float, b2: float, eps: float = 1e-8) -> optax.GradientTransformation:
    """Adam's scaling with a Nesterov step in the momentum.

    With m <- b1 m + (1 - b1) g and v <- b2 v + (1 - b2) g^2, the update number t is
    (b1 m + (1 - b1) g) / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps).

    Source: Dozat 2016, Incorporating Nesterov Momentum into Adam, algorithm 2 with constant momentum, in the form of
    the AlgoPerf baselines: one bias correction for both terms (`optax.nadam` corrects the first with t + 1).
    """

    def init(params: Any) -> optax.ScaleByAdamState:
        zeros = optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(count=jnp.zeros([], jnp.int32), mu=zeros, nu=optax.tree.zeros_like(params))

    def update(grads: Any, state: optax.ScaleByAdamState, params: Any = None) -> tuple[Any, optax.ScaleByAdamState]:
        del params
        count = state.count + 1
        mu = optax.tree.update_moment(grads, state.mu, b1, 1)
        nu = optax.tree.update_moment(grads, state.nu, b2, 2)
        lookahead = optax.tree.bias_correction(optax.tree.update_moment(grads, mu, b1, 1), b1, count)
        nu_hat = optax.tree.bias_correction(nu, b2, count)
        updates = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + eps), lookahead, nu_hat)
        return updates, optax.ScaleByAdamState(count=count, mu=mu, nu=nu)

    return optax.GradientTransformation(init, update)


def nadamw(
    learning_rate: optax.ScalarOrSchedule, *, b1: float, b2: float, weight_decay: float
) -> optax.GradientTransformation:
    """`scale_by_nadam` with decoupled weight decay: theta <- theta - lr (update + weight_decay theta)."""
    return optax.chain(
        scale_by_nadam(b1=b1, b2=b2),
        optax.add_decayed_weights(weight_decay),
        optax.scale_by_learning_rate(learning_rate),
    )
