"""DLRM-small in JAX.

The gradient of the embedding table is dense, of the table's size. A jitted train step that donates its parameters
updates the table in place, so that the table is held once.
"""

import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import Initializer, glorot_uniform, normal

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import forward, losses, weights
from workloads.common.jax.dropout import Dropout
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
        return jax.lax.map(lambda k: jax.random.uniform(k, block, dtype, 0.0, scale), keys).reshape(shape)

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
            return nn.LayerNorm(epsilon=_LAYER_NORM_EPSILON, name=f"LayerNorm_{next(number_of_norm)}")(x)

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


class DlrmModel:
    """Implements `algoperf.backends.base.Model`."""

    def __init__(self, config: DlrmConfig) -> None:
        self._config = config
        self._module = Dlrm(config)
        self._evaluate = jax.jit(self._evaluate_untraced)

    def init(self, rng: Any) -> tuple[Any, Any]:
        inputs = jnp.ones((2, NUM_INTEGERS + NUM_CATEGORIES))
        # Jitted, so that drawing the table needs no second copy of it and the layers are not run.
        return jax.jit(lambda key: forward.init(self._module, key, inputs, train=False))(rng)

    def forward(
        self,
        params: Any,
        batch: Mapping[str, Any],
        model_state: Any,
        *,
        train: bool,
        rng: Any,
        update_batch_norm: bool,
        dropout_rate: float,
    ) -> tuple[Any, Any]:
        return forward.apply(
            self._module,
            params,
            model_state,
            batch["inputs"],
            train=train,
            update_batch_norm=update_batch_norm,
            rng=rng,
            dropout_rate=dropout_rate,
        )

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        """Losses [B]. Label smoothing has no effect, as in AlgoPerf."""
        del label_smoothing
        size = logits.size
        flat_weights = None if weights is None else jnp.asarray(weights).reshape(size)
        return losses.sigmoid_cross_entropy(jnp.asarray(labels).reshape(size), logits.reshape(size), flat_weights)

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `loss` [B]."""
        return self._evaluate(params, batch, model_state)

    def _evaluate_untraced(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        logits, _ = self.forward(
            params, batch, model_state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        return {"loss": self.loss(batch["targets"], logits, None, 0.0)["per_example"]}

    def is_output_params(self, param_key: str) -> bool:
        return param_key == f"Dense_{len(self._config.bottom_widths) + len(self._config.top_widths) - 1}"

    def export_weights(self, params: Any, model_state: Any) -> weights.Weights:
        return weights.export_weights(params, model_state)

    def import_weights(self, weights_: weights.Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        return weights.import_weights(weights_, params, model_state)


def build(definition: WorkloadDefinition) -> DlrmModel:
    return DlrmModel(definition.model)
