"""Deep Speech in PyTorch. Shapes: B utterances, T steps, D width, H = D / 2 cells in each direction."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.dropout import dropout
from workloads.common.torch.initializers import lecun_normal_
from workloads.common.torch.speech_front_end import LogMel, spec_augment
from workloads.common.torch.speech_layers import (
    LayerNorm,
    Subsample,
    mask,
    masked_batch_norm,
    subsample_entries,
    xavier_uniform_modules_,
)
from workloads.common.torch.speech_model import SpeechModel
from workloads.librispeech_deepspeech.definition import DeepSpeechConfig

_GATES = "ifgo"


def _activation(config: DeepSpeechConfig, inputs: Tensor) -> Tensor:
    return inputs.tanh() if config.tanh else F.relu(inputs)


class LSTM(nn.Module):
    """Bidirectional, one layer, one bias per gate. The backward direction begins at the last real step of each row."""

    zero_bias: Tensor

    def __init__(self, inputs: int, cells: int) -> None:
        super().__init__()
        for suffix in ("", "_reverse"):
            self.register_parameter(f"weight_ih_l0{suffix}", nn.Parameter(torch.empty(4 * cells, inputs)))
            self.register_parameter(f"weight_hh_l0{suffix}", nn.Parameter(torch.empty(4 * cells, cells)))
            self.register_parameter(f"bias_l0{suffix}", nn.Parameter(torch.zeros(4 * cells)))
        # The library wants a second bias.
        self.register_buffer("zero_bias", torch.zeros(4 * cells), persistent=False)
        with torch.no_grad():
            for suffix in ("", "_reverse"):
                lecun_normal_(getattr(self, f"weight_ih_l0{suffix}"))
                for gate in getattr(self, f"weight_hh_l0{suffix}").chunk(4):
                    nn.init.orthogonal_(gate)

    def forward(self, inputs: Tensor, order: Tensor) -> Tensor:
        """[B, T, D] to [B, T, 2 H]; `order` [B, T] turns the real steps of each row around."""
        forward = self._direction(inputs, "")
        backward = self._direction(_reordered(inputs, order), "_reverse")
        return torch.cat([forward, _reordered(backward, order)], dim=-1)

    def _direction(self, inputs: Tensor, suffix: str) -> Tensor:
        kernel, recurrent, bias = (getattr(self, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh", "bias"))
        state = inputs.new_zeros(1, len(inputs), recurrent.shape[1])
        tensors = [kernel, recurrent, bias, self.zero_bias]
        outputs, _, _ = torch.lstm(inputs, (state, state), tensors, True, 1, 0.0, self.training, False, True)
        return outputs


def _reordered(inputs: Tensor, order: Tensor) -> Tensor:
    return inputs.gather(1, order[..., None].expand_as(inputs))


def _reversing_order(paddings: Tensor) -> Tensor:
    """Index [B, T] that turns the real steps of each row around and leaves padding where it is."""
    lengths = (1 - paddings).sum(1, keepdim=True).long()
    steps = torch.arange(paddings.shape[1], device=paddings.device)[None]
    return torch.where(steps < lengths, lengths - 1 - steps, steps)


class BatchRNN(nn.Module):
    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        _add_norm(self, config)
        self.lstm = LSTM(config.width, config.width // 2)

    def forward(self, inputs: Tensor, paddings: Tensor, order: Tensor) -> Tensor:
        outputs: Tensor = self.lstm(_normalised(self, inputs, paddings), order)
        return outputs


class FeedForwardModule(nn.Module):
    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        self._config = config
        _add_norm(self, config)
        self.lin = nn.Linear(config.width, config.width)

    def forward(self, inputs: Tensor, paddings: Tensor, dropout_rate: float) -> Tensor:
        x = _activation(self._config, self.lin(_normalised(self, inputs, paddings)))
        return dropout(mask(x, paddings), dropout_rate, self.training)


def _add_norm(module: nn.Module, config: DeepSpeechConfig) -> None:
    """Gives `module` the masked batch norm or layer norm of its input."""
    if config.layer_norm:
        module.normalization_layer = LayerNorm(config.width)
    else:
        module.bn_normalization_layer = masked_batch_norm(config.width, config.batch_norm_momentum)


def _normalised(module: Any, inputs: Tensor, paddings: Tensor) -> Tensor:
    if hasattr(module, "normalization_layer"):
        normalised: Tensor = module.normalization_layer(inputs)
    else:
        normalised = module.bn_normalization_layer(inputs, mask=1 - paddings)
    return normalised


class DeepSpeech(nn.Module):
    """Audio [B, samples] and paddings to logits [B, T, vocabulary] and paddings [B, T].

    Dropout is on the output of the subsampling and on that of feed-forward layers.
    """

    def __init__(self, config: DeepSpeechConfig) -> None:
        super().__init__()
        self._config = config
        self.log_mel = LogMel(config.statistics)
        self.subsample = Subsample(config.subsample_channels, config.width, torch.tanh if config.tanh else F.relu)
        self.lstms = nn.ModuleList(BatchRNN(config) for _ in range(config.num_lstm_layers))
        self.ffns = nn.ModuleList(FeedForwardModule(config) for _ in range(config.num_ffn_layers))
        self.ln = LayerNorm(config.width) if config.decoder_layer_norm else nn.Identity()
        self.lin = nn.Linear(config.width, config.vocab_size)
        xavier_uniform_modules_(self)

    def forward(self, audio: Tensor, paddings: Tensor, dropout_rate: float) -> tuple[Tensor, Tensor]:
        config = self._config
        x, paddings = self.log_mel(audio, paddings)
        if self.training and config.spec_augment is not None:
            x = spec_augment(x, paddings, config.spec_augment)
        x, paddings = self.subsample(x, paddings)
        x = dropout(x, dropout_rate, self.training)
        order = _reversing_order(paddings)
        for layer in self.lstms:
            y = layer(x, paddings, order)
            x = x + y if config.residual else y
        for layer in self.ffns:
            y = layer(x, paddings, dropout_rate)
            x = x + y if config.residual else y
        return self.lin(self.ln(x)), paddings

    def weight_map(self) -> list[weights.Entry]:
        return _weight_map(self._config)


def build(definition: WorkloadDefinition) -> SpeechModel:
    return SpeechModel(definition, lambda: DeepSpeech(definition.model))


def _weight_map(config: DeepSpeechConfig) -> list[weights.Entry]:
    entries = subsample_entries()
    for number in range(config.num_lstm_layers):
        ours, flax = f"lstms.{number}", f"BatchRNN_{number}"
        entries += _norm_entries(ours, flax, config)
        for index, suffix in enumerate(("", "_reverse")):
            cell = f"params/{flax}/LSTM_0/LSTM/LSTMSequenceEncoder_{index}/cell"
            entries.append(_gates(f"{ours}.lstm.weight_ih_l0{suffix}", f"{cell}/i", "kernel"))
            entries.append(_gates(f"{ours}.lstm.weight_hh_l0{suffix}", f"{cell}/h", "kernel"))
            entries.append(_gates(f"{ours}.lstm.bias_l0{suffix}", f"{cell}/h", "bias"))
    for number in range(config.num_ffn_layers):
        ours, flax = f"ffns.{number}", f"FeedForwardModule_{number}"
        entries += _norm_entries(ours, flax, config) + weights.linear(f"{ours}.lin", f"{flax}/Dense_0")
    if config.decoder_layer_norm:
        entries += weights.norm("ln", "LayerNorm_0")
    return entries + weights.linear("lin", "Dense_0")


def _norm_entries(ours: str, flax: str, config: DeepSpeechConfig) -> list[weights.Entry]:
    if config.layer_norm:
        return weights.norm(f"{ours}.normalization_layer", f"{flax}/LayerNorm_0")
    return weights.batch_norm(f"{ours}.bn_normalization_layer", f"{flax}/BatchNorm_0")


def _gates(ours: str, flax_prefix: str, leaf: str) -> weights.Entry:
    """Stacked gates [4 H, ...] to one array for each gate, transposed."""
    return weights.Entry(
        torch_names=(ours,),
        flax_names=tuple(f"{flax_prefix}{gate}/{leaf}" for gate in _GATES),
        to_flax=lambda arrays: [gate.T for gate in np.split(arrays[0], len(_GATES))],
        to_torch=lambda arrays: [np.concatenate([gate.T for gate in arrays])],
    )
