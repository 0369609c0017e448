"""Dropout whose rate comes with the call, so that a submission can change it without recompiling."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Zeroes elements with probability `rate` and divides the others by 1 - `rate`; draws from the `dropout` stream.

    Attributes:
      rng_collection: name of the random stream.
      broadcast_dims: axes along which one draw is shared.
    """

    rng_collection: str = "dropout"
    broadcast_dims: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, inputs: jax.Array, *, rate: float | jax.Array, train: bool) -> jax.Array:
        """`rate` in [0, 1] may be traced; without `train`, or at the Python number 0, this is the identity."""
        if not train or (isinstance(rate, (int, float)) and rate == 0):
            return inputs
        return dropout(inputs, rate, self.make_rng(self.rng_collection), self.broadcast_dims)


def dropout(inputs: jax.Array, rate: Any, rng: jax.Array, broadcast_dims: tuple[int, ...] = ()) -> jax.Array:
    """Dropout as a function; a rate of 1 gives zeros and finite gradients."""
    shape = [1 if axis in broadcast_dims else size for axis, size in enumerate(inputs.shape)]
    keep = 1.0 - jnp.asarray(rate, inputs.dtype)
    retained = jax.random.bernoulli(rng, keep, shape)
    return jnp.where(retained, inputs / jnp.where(keep > 0, keep, 1), 0)
