"""Vision transformer in JAX."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import normal, xavier_uniform, zeros

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.dropout import Dropout
from workloads.common.jax.image_classifier import ImageClassifier
from workloads.imagenet_vit.definition import ViTConfig
from workloads.imagenet_vit.positions import sincos_positions

_LAYER_NORM_EPSILON = 1e-6


def _layer_norm(name: str) -> nn.LayerNorm:
    return nn.LayerNorm(epsilon=_LAYER_NORM_EPSILON, name=name)


def _attention(heads: int, name: str) -> nn.MultiHeadDotProductAttention:
    return nn.MultiHeadDotProductAttention(num_heads=heads, kernel_init=xavier_uniform(), name=name)


class MlpBlock(nn.Module):
    """Dense, GELU (tanh approximation), optional gate, dropout, dense."""

    hidden: int
    gated: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        def dense(features: int) -> nn.Dense:
            return nn.Dense(features, kernel_init=xavier_uniform(), bias_init=normal(1e-6))

        width = x.shape[-1]
        x = nn.gelu(dense(self.hidden)(x))
        if self.gated:
            x = x * dense(self.hidden)(x)
        x = Dropout()(x, rate=dropout_rate, train=train)
        return dense(width)(x)


class EncoderBlock(nn.Module):
    model: ViTConfig

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        norm_0, norm_2 = _layer_norm("LayerNorm_0"), _layer_norm("LayerNorm_2")
        attention = _attention(self.model.heads, "MultiHeadDotProductAttention_1")
        mlp = MlpBlock(self.model.mlp_width, self.model.gated_mlp, name="MlpBlock_3")

        def drop(y: jax.Array) -> jax.Array:
            return Dropout()(y, rate=dropout_rate, train=train)

        if self.model.post_layer_norm:
            x = norm_0(x + drop(attention(x, x)))
            normalised: jax.Array = norm_2(x + drop(mlp(x, train=train, dropout_rate=dropout_rate)))
            return normalised
        y = norm_0(x)
        x = x + drop(attention(y, y))
        return x + drop(mlp(norm_2(x), train=train, dropout_rate=dropout_rate))


class Encoder(nn.Module):
    model: ViTConfig

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        for number in range(self.model.depth):
            block = EncoderBlock(self.model, name=f"encoderblock_{number}")
            x = block(x, train=train, dropout_rate=dropout_rate)
        return x if self.model.post_layer_norm else _layer_norm("encoder_layernorm")(x)


class MAPHead(nn.Module):
    """Multi-head attention pooling: one learned query, then an MLP with a residual sum. Returns [batch, width]."""

    model: ViTConfig

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        batch, _, width = x.shape
        probe = self.param("probe", xavier_uniform(), (1, 1, width))
        probe = jnp.broadcast_to(probe, (batch, 1, width))
        x = _attention(self.model.heads, "MultiHeadDotProductAttention_0")(probe, x)
        y = _layer_norm("LayerNorm_0")(x)
        x = x + MlpBlock(self.model.mlp_width, name="MlpBlock_0")(y, train=train, dropout_rate=dropout_rate)
        return x[:, 0]


class ViT(nn.Module):
    model: ViTConfig
    num_classes: int

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool, dropout_rate: Any = 0.0) -> jax.Array:
        """Returns logits [batch, num_classes] for `images` [batch, height, width, 3]."""
        model = self.model
        patch = (model.patch_size, model.patch_size)
        x = nn.Conv(model.width, patch, patch, padding="VALID", name="conv_patch_extract")(images)
        batch, rows, columns, width = x.shape
        x = x.reshape(batch, rows * columns, width) + np.asarray(sincos_positions(rows, columns, width))
        x = Dropout()(x, rate=dropout_rate, train=train)
        x = Encoder(model, name="Transformer")(x, train=train, dropout_rate=dropout_rate)
        if model.attention_pooling:
            x = MAPHead(model, name="MAPHead_0")(x, train=train, dropout_rate=dropout_rate)
        else:
            x = x.mean(axis=1)
        x = nn.tanh(nn.Dense(width, name="pre_logits")(x))
        return nn.Dense(self.num_classes, kernel_init=zeros, name="head")(x)


def build(definition: WorkloadDefinition) -> ImageClassifier:
    module = ViT(definition.model, definition.data.num_classes)
    return ImageClassifier(definition, module, output_layer="head")
