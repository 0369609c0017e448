"""The language models in JAX.

Shapes: B sequences, L positions, W width, H heads, D depth of a head, V vocabulary.
"""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import initializers, losses
from workloads.common.jax.model import FlaxModel
from workloads.finewebedu_lm.chunks import positions_per_chunk
from workloads.finewebedu_lm.definition import LanguageModelConfig
from workloads.finewebedu_lm.rotary import rotations

_MASKED = float(np.finfo(np.float32).min)


class CausalAttn(nn.Module):
    """Attention to a position and those before it; queries and keys are rotated, then normalised."""

    config: LanguageModelConfig

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        """`hidden` [B, L, W]; returns the same shape."""
        config = self.config
        heads = functools.partial(
            nn.DenseGeneral,
            (config.num_heads, config.head_depth),
            use_bias=False,
            kernel_init=initializers.normal(config.initial_stddev),
        )
        queries, keys, values = (heads(name=name)(hidden) for name in ("query", "key", "value"))
        scale = self.param("attn_scale", nn.initializers.constant(config.initial_attention_scale), ())
        read = causal_attention(self._directions(queries) * scale, self._directions(keys), values)
        return nn.DenseGeneral(
            config.width,
            axis=(-2, -1),
            use_bias=False,
            kernel_init=initializers.normal(config.residual_stddev),
            name="attn_out_proj",
        )(read)

    def _directions(self, heads: jax.Array) -> jax.Array:
        """Rotates `heads` [B, L, H, D] by their positions and divides by their length."""
        cosines, sines = rotations(heads.shape[1], self.config.head_depth, self.config.rotary_base)
        return normalised(rotated(heads, cosines[:, None], sines[:, None]), self.config.norm_epsilon)


class Mlp(nn.Module):
    """Feed-forward block gated by a sigmoid."""

    config: LanguageModelConfig

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        config = self.config
        dense = functools.partial(nn.Dense, use_bias=False)
        both = dense(2 * config.mlp_width, kernel_init=initializers.normal(config.initial_stddev))(hidden)
        outputs, gates = jnp.split(both, 2, axis=-1)
        gated = outputs * nn.sigmoid(gates)
        projected: jax.Array = dense(config.width, kernel_init=initializers.normal(config.residual_stddev))(gated)
        return projected


class Block(nn.Module):
    config: LanguageModelConfig

    @nn.compact
    def __call__(self, hidden: jax.Array) -> jax.Array:
        hidden = hidden + CausalAttn(self.config)(nn.RMSNorm(epsilon=self.config.norm_epsilon)(hidden))
        hidden = hidden + Mlp(self.config)(nn.RMSNorm(epsilon=self.config.norm_epsilon)(hidden))
        return hidden


class Transformer(nn.Module):
    """The decoder with one table for inputs and logits."""

    config: LanguageModelConfig

    def setup(self) -> None:
        config = self.config
        self.embed = nn.Embed(
            config.vocab_size, config.width, embedding_init=initializers.normal(config.initial_stddev)
        )
        self.blocks = [Block(config) for _ in range(config.num_layers)]
        self.out_ln = nn.RMSNorm(epsilon=config.norm_epsilon)

    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        """Returns logits [B, L, V] of what follows each of the `inputs` [B, L]."""
        return self.logits(self.hidden(inputs))

    def hidden(self, inputs: jax.Array) -> jax.Array:
        """Returns [B, L, W], normalised."""
        hidden = self.embed(inputs)
        for block in self.blocks:
            hidden = block(hidden)
        normalised_: jax.Array = self.out_ln(hidden)
        return normalised_

    def logits(self, hidden: jax.Array) -> jax.Array:
        logits: jax.Array = self.embed.attend(hidden)
        return logits


class LanguageModel(FlaxModel):
    """Logits are [B, L, V]."""

    def __init__(self, definition: WorkloadDefinition) -> None:
        module = Transformer(definition.model)
        super().__init__(definition, module, example=(np.zeros((1, 2), np.int32),), output_layer="embed")

    def evaluate_batch(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `loss` [B], the mean over a sequence's tokens; logits exist for a part of the positions at a time."""
        bound = self.module.bind({"params": params})
        inputs, targets = batch["inputs"], batch["targets"]
        chunk = positions_per_chunk(inputs.shape[0], inputs.shape[1], self.definition.model.vocab_size)

        def chunk_losses(part: tuple[jax.Array, jax.Array]) -> jax.Array:
            hidden, labels = part
            return losses.softmax_cross_entropy(labels, bound.logits(hidden))["per_example"]

        parts = (_chunks(bound.hidden(inputs), chunk), _chunks(jnp.asarray(targets), chunk))
        return {"loss": jax.lax.map(chunk_losses, parts).mean((0, 2))}


def causal_attention(queries: jax.Array, keys: jax.Array, values: jax.Array) -> jax.Array:
    """Softmax over the keys at or before each query; all are [B, L, H, D]. In the layouts that are fast on a CPU."""
    length = queries.shape[1]
    scores = jnp.einsum("bhtd,bhds->bhts", jnp.swapaxes(queries, 1, 2), jnp.transpose(keys, (0, 2, 3, 1)))
    seen = jnp.tril(jnp.ones((length, length), bool))
    probabilities = jax.nn.softmax(jnp.where(seen, scores, _MASKED))
    return jnp.swapaxes(jnp.einsum("bhts,bhsd->bhtd", probabilities, jnp.swapaxes(values, 1, 2)), 1, 2)


def rotated(heads: jax.Array, cosines: Any, sines: Any) -> jax.Array:
    """Turns pairs of neighbouring components of `heads` [..., D] by the angle of `cosines`, `sines` [..., D / 2]."""
    first, second = heads[..., 0::2], heads[..., 1::2]
    turned = jnp.stack([first * cosines - second * sines, second * cosines + first * sines], axis=-1)
    return turned.reshape(heads.shape)


def normalised(vectors: jax.Array, epsilon: float) -> jax.Array:
    """`vectors` [..., D] / (their length + `epsilon`). The gradient at a vector of zeros is finite, as in PyTorch."""
    squares = jnp.square(vectors).sum(-1, keepdims=True)
    lengths = jnp.where(squares > 0, jnp.sqrt(jnp.where(squares > 0, squares, 1)), 0)
    return vectors / (lengths + epsilon)


def _chunks(array: jax.Array, chunk: int) -> jax.Array:
    """[B, L, ...] -> [L / chunk, B, chunk, ...]."""
    return jnp.moveaxis(array.reshape(len(array), -1, chunk, *array.shape[2:]), 1, 0)


def build(definition: WorkloadDefinition) -> LanguageModel:
    return LanguageModel(definition)
