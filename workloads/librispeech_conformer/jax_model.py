"""The Conformer in JAX. Shapes: B utterances, T steps, D width, H heads."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import xavier_uniform, zeros

from algoperf.definition import ParameterType, WorkloadDefinition
from workloads.common.jax.dropout import Dropout
from workloads.common.jax.speech_layers import (
    LayerNorm,
    Subsample,
    dense,
    front_end,
    mask,
    masked_batch_norm,
)
from workloads.common.jax.speech_model import SpeechModel
from workloads.librispeech_conformer.definition import ConformerConfig


def _activation(config: ConformerConfig, inputs: jax.Array) -> jax.Array:
    return nn.gelu(inputs, approximate=True) if config.gelu else nn.swish(inputs)


def sinusoid(length: int, width: int) -> jax.Array:
    """Positions [T, D]: sines of all timescales, then cosines."""
    half = width // 2
    rates = jnp.exp(jnp.arange(half) * (-math.log(10_000.0) / max(half - 1, 1)))
    angles = jnp.arange(length)[:, None] * rates
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=1)


class FeedForwardModule(nn.Module):
    config: ConformerConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        config = self.config
        x = dense(config.ffn_width)(LayerNorm()(inputs))
        x = mask(_activation(config, x), paddings)
        x = mask(dense(config.width)(x), paddings)
        return Dropout()(x, rate=dropout_rate, train=train)


class QueryScaler(nn.Module):
    """A learned factor on each dimension of a head's query, 1 at first: softplus(scale) / softplus(0)."""

    @nn.compact
    def __call__(self, query: jax.Array) -> jax.Array:
        scale = self.param("scale", zeros, (query.shape[-1],))
        return query * (nn.softplus(scale) * (1 / math.log(2)))


class MultiHeadDotProductAttention(nn.Module):
    config: ConformerConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array) -> jax.Array:
        config = self.config
        heads = (config.num_heads, config.width // config.num_heads)
        query, key, value = (
            nn.DenseGeneral(heads, kernel_init=xavier_uniform(), name=name)(inputs)
            for name in ("query", "key", "value")
        )
        query = QueryScaler()(query) * (heads[1] ** -0.5)
        unseen = paddings[:, None, None, :] * jnp.finfo(inputs.dtype).min
        attention = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", query, key) + unseen)
        outputs = jnp.einsum("bhqk,bkhd->bqhd", attention, value) * config.attention_multiplier
        return nn.DenseGeneral(config.width, axis=(-2, -1), kernel_init=xavier_uniform(), name="out")(outputs)


class MultiHeadedSelfAttention(nn.Module):
    config: ConformerConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        x = MultiHeadDotProductAttention(self.config)(LayerNorm()(inputs), paddings)
        return Dropout()(x, rate=dropout_rate, train=train)


class DepthwiseConv(nn.Module):
    """Convolution of each feature along time, zero padded; a sum of shifts, for which XLA has fast code everywhere."""

    kernel_size: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        kernel = self.param("kernel", xavier_uniform(), (self.kernel_size, 1, inputs.shape[-1]))
        length, reach = inputs.shape[1], self.kernel_size // 2
        padded = jnp.pad(inputs, ((0, 0), (reach, reach), (0, 0)))
        shifted = (padded[:, tap : tap + length] * kernel[tap] for tap in range(self.kernel_size))
        return sum(shifted, start=jnp.zeros_like(inputs))


class ConvolutionBlock(nn.Module):
    config: ConformerConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array, *, train: bool) -> jax.Array:
        config = self.config
        x = LayerNorm()(inputs)
        x = dense(config.width)(x) * nn.sigmoid(dense(config.width)(x))
        x = DepthwiseConv(config.kernel_size, name="Conv_0")(mask(x, paddings))
        x = masked_batch_norm(config.batch_norm_momentum)(x, train=train, mask=1 - paddings)
        return dense(config.width)(_activation(config, x))


class ConformerBlock(nn.Module):
    config: ConformerConfig

    @nn.compact
    def __call__(self, x: jax.Array, paddings: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        options = {"train": train, "dropout_rate": dropout_rate}
        x = x + 0.5 * FeedForwardModule(self.config)(x, paddings, **options)
        x = x + MultiHeadedSelfAttention(self.config)(x, paddings, **options)
        x = x + ConvolutionBlock(self.config)(x, paddings, train=train)
        x = x + 0.5 * FeedForwardModule(self.config)(x, paddings, **options)
        return LayerNorm()(x) if self.config.post_layer_norm else x


class Conformer(nn.Module):
    """Audio [B, samples] and paddings to logits [B, T, vocabulary] and paddings [B, T].

    Dropout is on the encoder's input and on the residuals of attention and feed-forward modules.
    """

    config: ConformerConfig

    @nn.compact
    def __call__(
        self, audio: jax.Array, paddings: jax.Array, *, train: bool, dropout_rate: Any
    ) -> tuple[jax.Array, jax.Array]:
        config = self.config
        x, paddings = front_end(self, audio, paddings, config.statistics, config.spec_augment, train)
        x, paddings = Subsample(config.subsample_channels, config.width)(x, paddings)
        x = Dropout()(x + sinusoid(x.shape[1], config.width), rate=dropout_rate, train=train)
        for _ in range(config.num_layers):
            x = ConformerBlock(config)(x, paddings, train=train, dropout_rate=dropout_rate)
        return dense(config.vocab_size)(LayerNorm()(x)), paddings


class ConformerModel(SpeechModel):
    """`algoperf.backends.base.Model` of the Conformer workloads in JAX."""

    def param_type(self, name: str) -> ParameterType | None:
        """Dense kernels of convolution modules are convolutions, as in AlgoPerf."""
        is_kernel = "ConvolutionBlock_0/Dense_" in name and name.endswith("kernel")
        return ParameterType.CONV_WEIGHT if is_kernel else None


def build(definition: WorkloadDefinition) -> ConformerModel:
    return ConformerModel(definition, Conformer(definition.model))
