"""Deep Speech in JAX. Shapes: B utterances, T steps, D width, H = D / 2 cells in each direction."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import Initializer, lecun_normal, orthogonal, zeros

from algoperf.definition import WorkloadDefinition
from workloads.common.jax.dropout import Dropout
from workloads.common.jax.lstm import Weights, lstm
from workloads.common.jax.speech_layers import (
    LayerNorm,
    Subsample,
    dense,
    front_end,
    mask,
    masked_batch_norm,
)
from workloads.common.jax.speech_model import SpeechModel
from workloads.librispeech_deepspeech.definition import DeepSpeechConfig

_GATES = "ifgo"


def _activation(config: DeepSpeechConfig, inputs: jax.Array) -> jax.Array:
    return nn.tanh(inputs) if config.tanh else nn.relu(inputs)


def _norm(config: DeepSpeechConfig, x: jax.Array, paddings: jax.Array, train: bool) -> jax.Array:
    if config.layer_norm:
        return LayerNorm()(x)
    return masked_batch_norm(config.batch_norm_momentum)(x, train=train, mask=1 - paddings)


class Gate(nn.Module):
    """Weights of one gate: kernel [in, H] and, on the recurrent side, bias [H]."""

    inputs: int
    cells: int
    kernel_init: Initializer
    use_bias: bool

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array | None]:
        kernel = self.param("kernel", self.kernel_init, (self.inputs, self.cells))
        return kernel, self.param("bias", zeros, (self.cells,)) if self.use_bias else None


class Cell(nn.Module):
    """Weights of one direction: input kernel [D, 4 H], recurrent kernel [H, 4 H], bias [4 H]; gates i, f, g, o."""

    inputs: int
    cells: int

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array, jax.Array]:
        from_inputs = [Gate(self.inputs, self.cells, lecun_normal(), False, name=f"i{gate}")()[0] for gate in _GATES]
        recurrent = [Gate(self.cells, self.cells, orthogonal(), True, name=f"h{gate}")() for gate in _GATES]
        return (
            jnp.concatenate(from_inputs, axis=1),
            jnp.concatenate([kernel for kernel, _ in recurrent], axis=1),
            jnp.concatenate([bias for _, bias in recurrent if bias is not None]),
        )


class LSTMSequenceEncoder(nn.Module):
    """Weights of one direction under the name that checkpoints have."""

    inputs: int
    cells: int

    @nn.compact
    def __call__(self) -> Weights:
        return Weights(*Cell(self.inputs, self.cells, name="cell")())


class BidirectionalLSTM(nn.Module):
    cells: int

    @nn.compact
    def __call__(self, inputs: jax.Array, lengths: jax.Array) -> jax.Array:
        """[B, T, D] to [B, T, 2 H]. The backward direction begins at the last real step of each utterance."""
        weights = [LSTMSequenceEncoder(inputs.shape[-1], self.cells)() for _ in range(2)]
        forward, backward = lstm([inputs, _reversed(inputs, lengths)], weights)
        return jnp.concatenate([forward, _reversed(backward, lengths)], axis=-1)


def _reversed(inputs: jax.Array, lengths: jax.Array) -> jax.Array:
    """Turns the first `lengths` [B] steps of each row of [B, T, D] around."""
    steps = jnp.arange(inputs.shape[1])[None]
    order = jnp.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return jnp.take_along_axis(inputs, order[..., None], axis=1)


class LSTM(nn.Module):
    cells: int

    @nn.compact
    def __call__(self, inputs: jax.Array, lengths: jax.Array) -> jax.Array:
        return BidirectionalLSTM(self.cells, name="LSTM")(inputs, lengths)


class BatchRNN(nn.Module):
    config: DeepSpeechConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array, *, train: bool) -> jax.Array:
        lengths = (1 - paddings).sum(1).astype(jnp.int32)
        x = _norm(self.config, inputs, paddings, train)
        return LSTM(self.config.width // 2)(x, lengths)


class FeedForwardModule(nn.Module):
    config: DeepSpeechConfig

    @nn.compact
    def __call__(self, inputs: jax.Array, paddings: jax.Array, *, train: bool, dropout_rate: Any) -> jax.Array:
        config = self.config
        x = _activation(config, dense(config.width)(_norm(config, inputs, paddings, train)))
        return Dropout()(mask(x, paddings), rate=dropout_rate, train=train)


class DeepSpeech(nn.Module):
    """Audio [B, samples] and paddings to logits [B, T, vocabulary] and paddings [B, T].

    Dropout is on the output of the subsampling and on that of feed-forward layers.
    """

    config: DeepSpeechConfig

    @nn.compact
    def __call__(
        self, audio: jax.Array, paddings: jax.Array, *, train: bool, dropout_rate: Any
    ) -> tuple[jax.Array, jax.Array]:
        config = self.config
        x, paddings = front_end(self, audio, paddings, config.statistics, config.spec_augment, train)
        activation = nn.tanh if config.tanh else nn.relu
        x, paddings = Subsample(config.subsample_channels, config.width, activation)(x, paddings)
        x = Dropout()(x, rate=dropout_rate, train=train)
        for _ in range(config.num_lstm_layers):
            y = BatchRNN(config)(x, paddings, train=train)
            x = x + y if config.residual else y
        for _ in range(config.num_ffn_layers):
            y = FeedForwardModule(config)(x, paddings, train=train, dropout_rate=dropout_rate)
            x = x + y if config.residual else y
        if config.decoder_layer_norm:
            x = LayerNorm()(x)
        return dense(config.vocab_size)(x), paddings


def build(definition: WorkloadDefinition) -> SpeechModel:
    return SpeechModel(definition, DeepSpeech(definition.model))
