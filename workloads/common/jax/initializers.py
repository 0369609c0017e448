"""Initial distributions with stated fans; `workloads.common.torch.initializers` draws from the same ones.

Flax's own `lecun_normal` and `xavier_uniform` serve where the fans follow from the kernel's shape.
"""

import math

import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, lecun_normal, normal, xavier_uniform, zeros

__all__ = ["lecun_normal", "normal", "uniform", "xavier_uniform", "xavier_uniform_of", "zeros"]


def xavier_uniform_of(fan_in: int, fan_out: int) -> Initializer:
    """Uniform on ±sqrt(6 / (fan_in + fan_out)), whatever the shape."""
    limit = math.sqrt(6 / (fan_in + fan_out))
    return uniform(-limit, limit)


def uniform(low: float, high: float) -> Initializer:
    """Uniform on [low, high)."""

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32, **_: object) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, low, high)

    return init
