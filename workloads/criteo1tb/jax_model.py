"""DLRM-small in JAX.

The gradient of the embedding table is dense, of the table's size. A jitted train step that donates its parameters
updates the table in place, so that the table is held once.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import Initializer, glorot_uniform, normal

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import losses
from workloads.common.jax.dropout import Dropout
from workloads.common.jax.model import FlaxModel
from workloads.criteo1tb.definition import NUM_CATEGORIES, NUM_INTEGERS, DlrmConfig

_LAYER_NORM_EPSILON = 1e-6
_TABLE_BLOCKS = 64


def pairwise_dots(vectors: jax.Array) -> jax.Array:
    """Maps [B, n, width] to the n (n + 1) / 2 dot products of pairs, each vector with itself included, row by row."""
    count = vectors.shape[1]
    dots = jnp.einsum("bik,bjk->bij", vectors, vectors)
    rows, columns = np.triu_indices(count)
    return dots.reshape(len(dots), count * count)[:, rows * count + columns]


def uniform_in_blocks(scale: float) -> Initializer:
    """Uniform on [0, scale), drawn in blocks of rows: JAX's generator needs several times the memory that it fills."""

    def init(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
        rows, width = shape
        num_blocks = math.gcd(rows, _TABLE_BLOCKS)
        block = (rows // num_blocks, width)
        keys = jax.random.split(key, num_blocks)
        blocks: jax.Array = jax.lax.map(lambda k: jax.random.uniform(k, block, dtype, 0.0, scale), keys)
        return blocks.reshape(shape)

    return init


class Dlrm(nn.Module):
    model: DlrmConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool, dropout_rate: Any = 0.0) -> jax.Array:
        """Returns logits [B, 1] for `inputs` float32 [B, 39]: 13 numbers, 26 ids."""
        model = self.model
        number_of_dense, number_of_norm = iter(range(100)), iter(range(100))

        def dense(x: jax.Array, width: int, *, is_top: bool) -> jax.Array:
            kernel_init = normal((2 / (x.shape[-1] + width)) ** 0.5) if is_top else glorot_uniform()
            name = f"Dense_{next(number_of_dense)}"
            return nn.Dense(width, kernel_init=kernel_init, bias_init=normal(width**-0.5), name=name)(x)

        def norm(x: jax.Array) -> jax.Array:
            if not model.layer_norm:
                return x
            layer = nn.LayerNorm(epsilon=_LAYER_NORM_EPSILON, name=f"LayerNorm_{next(number_of_norm)}")
            normalised: jax.Array = layer(x)
            return normalised

        def hidden(x: jax.Array, width: int, *, is_top: bool, is_first: bool, drops: bool = False) -> jax.Array:
            y = norm(nn.relu(dense(x, width, is_top=is_top)))
            if drops:
                y = Dropout()(y, rate=dropout_rate, train=train)
            return x + y if model.residual and not is_first else y

        bottom, ids = jnp.split(inputs, [NUM_INTEGERS], axis=1)
        for layer, width in enumerate(model.bottom_widths):
            bottom = hidden(bottom, width, is_top=False, is_first=layer == 0)

        shape = (model.table_rows, model.embedding_width)
        table = self.param("embedding_table", uniform_in_blocks(model.initial_embedding_scale), shape)
        embeddings = norm(table[ids.astype(jnp.int32) % model.table_rows])
        if model.residual:
            features = embeddings.reshape(len(inputs), NUM_CATEGORIES * model.embedding_width)
        else:
            features = pairwise_dots(jnp.concatenate([bottom[:, None], embeddings], axis=1))

        top = jnp.concatenate([bottom, features], axis=1)
        *top_widths, num_outputs = model.top_widths
        for layer, width in enumerate(top_widths):
            top = hidden(top, width, is_top=True, is_first=layer == 0, drops=layer == len(top_widths) - 1)
        return dense(top, num_outputs, is_top=True)


class DlrmModel(FlaxModel):
    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> losses.Losses:
        """Losses [B]. Label smoothing has no effect, as in AlgoPerf."""
        size = logits.size
        flat_weights = None if weights is None else jnp.asarray(weights).reshape(size)
        return losses.sigmoid_cross_entropy(jnp.asarray(labels).reshape(size), logits.reshape(size), flat_weights)


def build(definition: WorkloadDefinition) -> DlrmModel:
    model = definition.model
    inputs = np.ones((2, NUM_INTEGERS + NUM_CATEGORIES), np.float32)
    output_layer = f"Dense_{len(model.bottom_widths) + len(model.top_widths) - 1}"
    return DlrmModel(definition, Dlrm(model), example=(inputs,), output_layer=output_layer)
