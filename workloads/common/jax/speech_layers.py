"""Layers that the speech models share. Shapes: B utterances, T steps, F bins, C channels, D features.

Paddings [B, T] are 1 where there is nothing.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import xavier_uniform, zeros

from workloads.common.jax.batch_norm import BatchNorm
from workloads.common.jax.speech_front_end import log_mel, spec_augment
from workloads.common.librispeech.definition import SpecAugment

_STRIDE = 2


def front_end(
    module: nn.Module,
    audio: jax.Array,
    paddings: jax.Array,
    statistics: str,
    augmentation: SpecAugment | None,
    train: bool,
) -> tuple[jax.Array, jax.Array]:
    """Features [B, T, 80] and paddings [B, T] of raw audio; training masks draw from `module`'s `dropout` stream."""
    features, paddings = log_mel(audio, paddings, statistics)
    if train and augmentation is not None:
        features = spec_augment(features, paddings, augmentation, module.make_rng("dropout"))
    return features, paddings


def dense(features: int, name: str | None = None) -> nn.Dense:
    return nn.Dense(features, kernel_init=xavier_uniform(), name=name)


def mask(inputs: jax.Array, paddings: jax.Array) -> jax.Array:
    """Zeroes `inputs` [B, T, ...] at padded steps."""
    return inputs * (1 - paddings).reshape(paddings.shape + (1,) * (inputs.ndim - 2))


class LayerNorm(nn.Module):
    """Normalises the last axis; the factor is 1 + `scale`."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        scale = self.param("scale", zeros, (inputs.shape[-1],))
        bias = self.param("bias", zeros, (inputs.shape[-1],))
        mean = inputs.mean(-1, keepdims=True)
        var = jnp.square(inputs - mean).mean(-1, keepdims=True)
        return (inputs - mean) * jax.lax.rsqrt(var + self.epsilon) * (1 + scale) + bias


def masked_batch_norm(momentum: float) -> BatchNorm:
    """Batch norm of the speech models, over the real steps of the global batch."""
    return BatchNorm(momentum=momentum, epsilon=1e-3, scale_init=zeros, one_plus_scale=True)


class Conv2dSubsampling(nn.Module):
    """3x3 convolution with stride 2 in time and frequency, activation, mask: [B, T, F, C] to half of T and F."""

    channels: int
    activation: Callable[[jax.Array], jax.Array]

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array) -> tuple[jax.Array, jax.Array]:
        kernel = self.param("kernel", xavier_uniform(), (3, 3, inputs.shape[-1], self.channels))
        bias = self.param("bias", zeros, (self.channels,))
        outputs = jax.lax.conv_general_dilated(
            inputs, kernel, (_STRIDE, _STRIDE), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        paddings = paddings[:, ::_STRIDE]
        return mask(self.activation(outputs + bias), paddings), paddings


class Subsample(nn.Module):
    """Features [B, T, F] to [B, T / 4, width] (rounded up), with their paddings."""

    channels: int
    width: int
    activation: Callable[[jax.Array], jax.Array] = nn.relu

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array) -> tuple[jax.Array, jax.Array]:
        outputs: Any = inputs[..., None]
        for _ in range(2):
            outputs, paddings = Conv2dSubsampling(self.channels, self.activation)(outputs, paddings)
        outputs = outputs.reshape(*outputs.shape[:2], -1)
        return dense(self.width)(outputs), paddings
