"""The layers of the Transformer in Flax, for teacher forcing and for decoding one position at a time.

Shapes: B sentences, S source positions, T target positions, K beams, H heads, D depth of a head, W width, V vocabulary.
"""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from workloads.common.jax import initializers
from workloads.common.jax.dropout import Dropout
from workloads.wmt.definition import TransformerConfig
from workloads.wmt.jax_decoding import SlotCache
from workloads.wmt.positions import sinusoids

LAYER_NORM_EPSILON = 1e-6
MLP_BIAS_STDDEV = 1e-6
_MASKED = float(np.finfo(np.float32).min)

Block = Callable[[jax.Array], jax.Array]  # a part of a layer, of hidden states [B, T, W]


class MultiHeadDotProductAttention(nn.Module):
    """Attention without biases; `rate` drops attention probabilities in training."""

    config: TransformerConfig

    def setup(self) -> None:
        heads = (self.config.num_heads, self.config.width // self.config.num_heads)
        dense = functools.partial(nn.DenseGeneral, use_bias=False, kernel_init=initializers.xavier_uniform())
        self.query, self.key, self.value = dense(heads), dense(heads), dense(heads)
        self.out = dense(self.config.width, axis=(-2, -1))
        self.dropout = Dropout()

    def __call__(self, queries: jax.Array, memory: jax.Array, mask: jax.Array, *, rate: Any, train: bool) -> jax.Array:
        """`queries` [B, T, W] read `memory` [B, S, W] where `mask` [B, 1, T, S] is true, or all alike."""
        keys, values = self.project(memory)
        return self.attend(queries, keys, values, mask, rate=rate, train=train)

    def project(self, memory: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns keys [B, H, D, S] and values [B, H, S, D]: the layouts in which products are fast on a CPU."""
        return jnp.transpose(self.key(memory), (0, 2, 3, 1)), jnp.swapaxes(self.value(memory), 1, 2)

    def attend(
        self,
        queries: jax.Array,
        keys: jax.Array,
        values: jax.Array,
        mask: jax.Array,
        *,
        rate: Any = 0.0,
        train: bool = False,
    ) -> jax.Array:
        """`queries` [B, T, W] read what `project` returned; returns [B, T, W]."""
        projected = jnp.swapaxes(self.query(queries) * (self.config.query_scale / np.sqrt(values.shape[-1])), 1, 2)
        scores = jnp.einsum("bhtd,bhds->bhts", projected, keys)
        probabilities = jax.nn.softmax(jnp.where(mask, scores, _MASKED))
        probabilities = self.dropout(probabilities, rate=rate, train=train)
        return self.out(jnp.swapaxes(jnp.einsum("bhts,bhsd->bhtd", probabilities, values), 1, 2))


class MlpBlock(nn.Module):
    """Feed-forward block, plain ReLU or gated tanh."""

    config: TransformerConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, *, rate: Any, train: bool) -> jax.Array:
        def dense(width: int) -> nn.Dense:
            return nn.Dense(
                width,
                kernel_init=initializers.xavier_uniform(),
                bias_init=initializers.normal(MLP_BIAS_STDDEV),
            )

        if self.config.gated_tanh:
            hidden = jnp.tanh(dense(self.config.mlp_width)(inputs)) * dense(self.config.mlp_width)(inputs)
        else:
            hidden = nn.relu(dense(self.config.mlp_width)(inputs))
        hidden = Dropout()(hidden, rate=rate, train=train)
        return Dropout()(dense(self.config.width)(hidden), rate=rate, train=train)


class EncoderBlock(nn.Module):
    config: TransformerConfig

    def setup(self) -> None:
        self.LayerNorm_0 = _layer_norm()
        self.MultiHeadDotProductAttention_0 = MultiHeadDotProductAttention(self.config)
        self.LayerNorm_1 = _layer_norm()
        self.MlpBlock_0 = MlpBlock(self.config)
        self.dropout = Dropout()

    def __call__(self, hidden: jax.Array, mask: jax.Array, *, rate: Any, train: bool) -> jax.Array:
        """`hidden` [B, S, W], `mask` [B, 1, S, S]."""

        def attention(x: jax.Array) -> jax.Array:
            return self.dropout(
                self.MultiHeadDotProductAttention_0(x, x, mask, rate=rate, train=train), rate=rate, train=train
            )

        hidden = _residual(self.config, self.LayerNorm_0, attention, hidden)
        return _residual(self.config, self.LayerNorm_1, lambda x: self.MlpBlock_0(x, rate=rate, train=train), hidden)


class DecoderBlock(nn.Module):
    config: TransformerConfig

    def setup(self) -> None:
        self.LayerNorm_0 = _layer_norm()
        self.MultiHeadDotProductAttention_0 = MultiHeadDotProductAttention(self.config)
        self.LayerNorm_1 = _layer_norm()
        self.MultiHeadDotProductAttention_1 = MultiHeadDotProductAttention(self.config)
        self.LayerNorm_2 = _layer_norm()
        self.MlpBlock_0 = MlpBlock(self.config)
        self.dropout = Dropout()

    def __call__(
        self,
        hidden: jax.Array,
        encoded: jax.Array,
        mask: jax.Array,
        cross_mask: jax.Array,
        *,
        rate: Any,
        train: bool,
    ) -> jax.Array:
        """`hidden` [B, T, W], `encoded` [B, S, W], `mask` [B, 1, T, T], `cross_mask` [B, 1, T, S]."""
        options = {"rate": rate, "train": train}

        def self_attention(x: jax.Array) -> jax.Array:
            return self.dropout(self.MultiHeadDotProductAttention_0(x, x, mask, **options), **options)

        def cross_attention(x: jax.Array) -> jax.Array:
            return self.dropout(self.MultiHeadDotProductAttention_1(x, encoded, cross_mask, **options), **options)

        return self._blocks(hidden, self_attention, cross_attention, lambda x: self.MlpBlock_0(x, **options))

    def cross_keys_values(self, encoded: jax.Array) -> tuple[jax.Array, jax.Array]:
        return self.MultiHeadDotProductAttention_1.project(encoded)

    def step(
        self,
        hidden: jax.Array,
        cache: SlotCache,
        visible: jax.Array,
        cross: tuple[jax.Array, jax.Array],
        cross_mask: jax.Array,
    ) -> tuple[jax.Array, SlotCache]:
        """One position of every beam: `hidden` [B, K, W], `visible` [B, 1, K, slots], `cross_mask` [B, 1, 1, S]."""
        written = cache

        def self_attention(x: jax.Array) -> jax.Array:
            nonlocal written
            written = cache.write(*self.MultiHeadDotProductAttention_0.project(x))
            return self.MultiHeadDotProductAttention_0.attend(x, written.keys, written.values, visible)

        def cross_attention(x: jax.Array) -> jax.Array:
            return self.MultiHeadDotProductAttention_1.attend(x, *cross, cross_mask)

        hidden = self._blocks(
            hidden, self_attention, cross_attention, lambda x: self.MlpBlock_0(x, rate=0.0, train=False)
        )
        return hidden, written

    def _blocks(self, hidden: jax.Array, self_attention: Block, cross_attention: Block, mlp: Block) -> jax.Array:
        hidden = _residual(self.config, self.LayerNorm_0, self_attention, hidden)
        hidden = _residual(self.config, self.LayerNorm_1, cross_attention, hidden)
        return _residual(self.config, self.LayerNorm_2, mlp, hidden)


class Encoder(nn.Module):
    config: TransformerConfig

    def setup(self) -> None:
        self.encoderblock = [EncoderBlock(self.config) for _ in range(self.config.num_layers)]
        if self.config.pre_norm:
            self.encoder_layernorm = _layer_norm()
        self.dropout = Dropout()

    def __call__(self, embedded: jax.Array, mask: jax.Array, *, rate: Any, train: bool) -> jax.Array:
        hidden = self.dropout(embedded, rate=rate, train=train)
        for block in self.encoderblock:
            hidden = block(hidden, mask, rate=rate, train=train)
        return self.encoder_layernorm(hidden) if self.config.pre_norm else hidden


class Decoder(nn.Module):
    config: TransformerConfig

    def setup(self) -> None:
        self.encoderdecoderblock = [DecoderBlock(self.config) for _ in range(self.config.num_layers)]
        if self.config.pre_norm:
            self.encoderdecoder_layernorm = _layer_norm()
        self.dropout = Dropout()

    def __call__(
        self, embedded: jax.Array, encoded: jax.Array, mask: jax.Array, cross_mask: jax.Array, *, rate: Any, train: bool
    ) -> jax.Array:
        hidden = self.dropout(embedded, rate=rate, train=train)
        for block in self.encoderdecoderblock:
            hidden = block(hidden, encoded, mask, cross_mask, rate=rate, train=train)
        return self._end(hidden)

    def cross_keys_values(self, encoded: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        return [block.cross_keys_values(encoded) for block in self.encoderdecoderblock]

    def step(
        self,
        embedded: jax.Array,
        caches: list[SlotCache],
        visible: jax.Array,
        cross: list[tuple[jax.Array, jax.Array]],
        cross_mask: jax.Array,
    ) -> tuple[jax.Array, list[SlotCache]]:
        hidden, written = embedded, []
        for block, cache, keys_values in zip(self.encoderdecoderblock, caches, cross, strict=True):
            hidden, cache = block.step(hidden, cache, visible, keys_values, cross_mask)
            written.append(cache)
        return self._end(hidden), written

    def _end(self, hidden: jax.Array) -> jax.Array:
        return self.encoderdecoder_layernorm(hidden) if self.config.pre_norm else hidden


class Transformer(nn.Module):
    config: TransformerConfig

    def setup(self) -> None:
        self.shared_embedding = nn.Embed(
            self.config.vocab_size, self.config.width, embedding_init=initializers.normal(1.0)
        )
        self.encoder = Encoder(self.config)
        self.decoder = Decoder(self.config)

    def __call__(
        self,
        inputs: jax.Array,
        targets: jax.Array,
        inputs_position: jax.Array | None = None,
        targets_position: jax.Array | None = None,
        inputs_segmentation: jax.Array | None = None,
        targets_segmentation: jax.Array | None = None,
        *,
        dropout_rate: Any = 0.0,
        train: bool,
    ) -> jax.Array:
        """Returns logits [B, T, V] of `targets` [B, T] given `inputs` [B, S] and the targets before; 0 is padding.

        Positions index the position table; segments (1, 2, ... and 0 in padding) say which tokens of a packed row may
        see each other.
        """
        encoded = self.encode(inputs, inputs_position, inputs_segmentation, rate=dropout_rate, train=train)
        mask = _pair_mask(targets, targets, targets_segmentation, targets_segmentation)
        cross_mask = _pair_mask(targets, inputs, targets_segmentation, inputs_segmentation)
        length = targets.shape[1]
        shifted = jnp.pad(targets[:, :-1], ((0, 0), (1, 0)))
        hidden = self.decoder(
            self._embed(shifted, targets_position),
            encoded,
            mask & jnp.tril(jnp.ones((length, length), bool)),
            cross_mask,
            rate=dropout_rate,
            train=train,
        )
        return self._logits(hidden)

    def encode(
        self,
        inputs: jax.Array,
        positions: jax.Array | None = None,
        segments: jax.Array | None = None,
        *,
        rate: Any = 0.0,
        train: bool = False,
    ) -> jax.Array:
        mask = _pair_mask(inputs, inputs, segments, segments)
        return self.encoder(self._embed(inputs, positions), mask, rate=rate, train=train)

    def cross_keys_values(self, encoded: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
        """Keys and values of the encoded source for each decoder layer, as attention projects them."""
        return self.decoder.cross_keys_values(encoded)

    def decode_step(
        self,
        tokens: jax.Array,
        position: jax.Array,
        caches: list[SlotCache],
        visible: jax.Array,
        cross: list[tuple[jax.Array, jax.Array]],
        cross_mask: jax.Array,
    ) -> tuple[jax.Array, list[SlotCache]]:
        """Returns logits [B, K, V] of what follows `tokens` [B, K], which stand at `position`, and the new caches."""
        embedded = self._embed(tokens, jnp.full(tokens.shape, position))
        hidden, caches = self.decoder.step(embedded, caches, visible, cross, cross_mask)
        return self._logits(hidden), caches

    def _embed(self, tokens: jax.Array, positions: jax.Array | None) -> jax.Array:
        table = jnp.asarray(sinusoids(self.config.max_length, self.config.width))
        signal = table[None, : tokens.shape[1]] if positions is None else table[positions]
        return self.shared_embedding(tokens) + signal

    def _logits(self, hidden: jax.Array) -> jax.Array:
        logits: jax.Array = self.shared_embedding.attend(hidden) / np.sqrt(self.config.width)
        return logits


def _layer_norm() -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=LAYER_NORM_EPSILON)


def _residual(config: TransformerConfig, norm: nn.LayerNorm, block: Block, hidden: jax.Array) -> jax.Array:
    outputs: jax.Array = hidden + block(norm(hidden)) if config.pre_norm else norm(hidden + block(hidden))
    return outputs


def _pair_mask(queries: Any, keys: Any, query_segments: Any, key_segments: Any) -> jax.Array:
    """[B, 1, Q, K]: both are tokens, and of the same segment where segments are given."""
    mask: jax.Array = (queries > 0)[:, None, :, None] & (keys > 0)[:, None, None, :]
    if query_segments is not None:
        mask &= query_segments[:, None, :, None] == key_segments[:, None, None, :]
    return mask
