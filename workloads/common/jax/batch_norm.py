"""Batch normalisation over the global batch, with masks and with scales stored as offsets from one."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, ones, zeros


class BatchNorm(nn.Module):
    """Normalises the last axis with statistics over all others.

    Whether running statistics change is decided by `workloads.common.jax.forward.apply`, which keeps or drops the
    new `batch_stats`; the module itself only distinguishes training from evaluation. Statistics are those of the
    global batch, because the batch is one array over all devices. Variances are biased, running ones too.

    Attributes:
      momentum: running <- momentum * running + (1 - momentum) * batch.
      epsilon: added to the variance.
      scale_init: initial distribution of `scale`.
      one_plus_scale: multiply by 1 + scale instead of scale (then `scale_init` should be zeros).
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    scale_init: Initializer = ones
    one_plus_scale: bool = False

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool, mask: jax.Array | None = None) -> jax.Array:
        """Returns normalised `inputs` [batch, ..., features].

        `mask` has the shape of some leading axes of `inputs`; where it is 0, elements do not count and become 0.
        """
        features = (inputs.shape[-1],)
        scale = self.param("scale", self.scale_init, features)
        bias = self.param("bias", zeros, features)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, features)
        running_var = self.variable("batch_stats", "var", jnp.ones, features)
        if mask is not None:
            mask = mask.reshape(mask.shape + (1,) * (inputs.ndim - mask.ndim)).astype(inputs.dtype)
        if train:
            mean, var = _moments(inputs, mask)
            if not self.is_initializing():
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
        else:
            mean, var = running_mean.value, running_var.value
        factor = jax.lax.rsqrt(var + self.epsilon) * (1 + scale if self.one_plus_scale else scale)
        outputs = (inputs - mean) * factor + bias
        return outputs if mask is None else outputs * mask


def _moments(inputs: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance [features] over all axes but the last.

    One pass over raw values, as in Flax, takes the difference of two large sums and loses the variance of features
    whose mean is large. One pass over differences from a value of the batch does not (Chan, Golub and LeVeque 1983,
    section 2); with a mask that value may be padding, so there are two passes. Cost: `benchmarks/batch_norm.py`.
    """
    axes = tuple(range(inputs.ndim - 1))
    if mask is None:
        shift = jax.lax.stop_gradient(inputs[(0,) * len(axes)])
        shifted = inputs - shift
        mean = shifted.mean(axes)
        return mean + shift, jnp.maximum(jnp.square(shifted).mean(axes) - jnp.square(mean), 0)
    count = jnp.maximum(jnp.broadcast_to(mask, (*inputs.shape[:-1], 1)).sum(), 1)
    mean = (inputs * mask).sum(axes) / count
    return mean, (jnp.square(inputs - mean) * mask).sum(axes) / count
