"""The Conformer in PyTorch. Shapes: B utterances, T steps, D width, H heads."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algoperf.definition import ParameterType, WorkloadDefinition
from workloads.common.torch import weights
from workloads.common.torch.dropout import dropout
from workloads.common.torch.initializers import xavier_uniform_
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
from workloads.librispeech_conformer.definition import ConformerConfig


def _activation(config: ConformerConfig, inputs: Tensor) -> Tensor:
    return F.gelu(inputs, approximate="tanh") if config.gelu else F.silu(inputs)


def sinusoid(length: int, width: int, device: torch.device) -> Tensor:
    """Positions [T, D]: sines of all timescales, then cosines."""
    half = width // 2
    rates = torch.exp(torch.arange(half, device=device) * (-math.log(10_000.0) / max(half - 1, 1)))
    angles = torch.arange(length, device=device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class FeedForwardModule(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._config = config
        self.ln = LayerNorm(config.width)
        self.linear1 = nn.Linear(config.width, config.ffn_width)
        self.linear2 = nn.Linear(config.ffn_width, config.width)

    def forward(self, inputs: Tensor, paddings: Tensor, dropout_rate: float) -> Tensor:
        x = mask(_activation(self._config, self.linear1(self.ln(inputs))), paddings)
        return dropout(mask(self.linear2(x), paddings), dropout_rate, self.training)


class QueryScaler(nn.Module):
    """A learned factor on each dimension of a head's query, 1 at first: softplus(scale) / softplus(0)."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(depth))

    def forward(self, query: Tensor) -> Tensor:
        return query * (F.softplus(self.scale) * (1 / math.log(2)))


class SelfAttention(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._num_heads, self._multiplier = config.num_heads, config.attention_multiplier
        self.in_proj = nn.Linear(config.width, 3 * config.width)
        self.out_proj = nn.Linear(config.width, config.width)
        self.qs = QueryScaler(config.width // config.num_heads)

    def forward(self, inputs: Tensor, paddings: Tensor) -> Tensor:
        batch, length, width = inputs.shape
        heads = self.in_proj(inputs).view(batch, length, 3, self._num_heads, -1)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        unseen = paddings[:, None, None, :] * torch.finfo(inputs.dtype).min
        attended = F.scaled_dot_product_attention(
            self.qs(query), key, value, attn_mask=unseen.expand(-1, -1, length, -1)
        )
        attended = attended.transpose(1, 2).reshape(batch, length, width)
        projected: Tensor = self.out_proj(attended * self._multiplier)
        return projected


class MultiHeadedSelfAttention(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ln = LayerNorm(config.width)
        self.self_attention = SelfAttention(config)

    def forward(self, inputs: Tensor, paddings: Tensor, dropout_rate: float) -> Tensor:
        return dropout(self.self_attention(self.ln(inputs), paddings), dropout_rate, self.training)


class ConvolutionModule(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._config = config
        width = config.width
        self.ln = LayerNorm(width)
        self.lin1 = nn.Linear(width, width)
        self.lin2 = nn.Linear(width, width)
        self.conv1 = nn.Conv1d(
            width, width, config.kernel_size, padding=config.kernel_size // 2, groups=width, bias=False
        )
        self.bn = masked_batch_norm(width, config.batch_norm_momentum)
        self.lin3 = nn.Linear(width, width)

    def forward(self, inputs: Tensor, paddings: Tensor) -> Tensor:
        x = self.ln(inputs)
        x = mask(self.lin1(x) * self.lin2(x).sigmoid(), paddings)
        x = self.conv1(x.transpose(1, 2)).transpose(1, 2)
        outputs: Tensor = self.lin3(_activation(self._config, self.bn(x, mask=1 - paddings)))
        return outputs


class ConformerBlock(nn.Module):
    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self.ff1 = FeedForwardModule(config)
        self.mhsa = MultiHeadedSelfAttention(config)
        self.conv = ConvolutionModule(config)
        self.ff2 = FeedForwardModule(config)
        self.ln = LayerNorm(config.width) if config.post_layer_norm else nn.Identity()

    def forward(self, x: Tensor, paddings: Tensor, dropout_rate: float) -> Tensor:
        x = x + 0.5 * self.ff1(x, paddings, dropout_rate)
        x = x + self.mhsa(x, paddings, dropout_rate)
        x = x + self.conv(x, paddings)
        x = x + 0.5 * self.ff2(x, paddings, dropout_rate)
        normalised: Tensor = self.ln(x)
        return normalised


class Conformer(nn.Module):
    """Audio [B, samples] and paddings to logits [B, T, vocabulary] and paddings [B, T].

    Dropout is on the encoder's input and on the residuals of attention and feed-forward modules.
    """

    def __init__(self, config: ConformerConfig) -> None:
        super().__init__()
        self._config = config
        self.log_mel = LogMel(config.statistics)
        self.subsample = Subsample(config.subsample_channels, config.width)
        self.conformers = nn.ModuleList(ConformerBlock(config) for _ in range(config.num_layers))
        self.ln = LayerNorm(config.width)
        self.lin = nn.Linear(config.width, config.vocab_size)
        xavier_uniform_modules_(self)
        with torch.no_grad():
            for block in self.conformers:
                # Query, key and value are initialised as three square matrices.
                attention = cast(ConformerBlock, block).mhsa.self_attention
                xavier_uniform_(attention.in_proj.weight, config.width, config.width)

    def forward(self, audio: Tensor, paddings: Tensor, dropout_rate: float) -> tuple[Tensor, Tensor]:
        config = self._config
        x, paddings = self.log_mel(audio, paddings)
        if self.training and config.spec_augment is not None:
            x = spec_augment(x, paddings, config.spec_augment)
        x, paddings = self.subsample(x, paddings)
        x = dropout(x + sinusoid(x.shape[1], config.width, x.device), dropout_rate, self.training)
        for block in self.conformers:
            x = block(x, paddings, dropout_rate)
        return self.lin(self.ln(x)), paddings

    def weight_map(self) -> list[weights.Entry]:
        return _weight_map(self._config)


class ConformerModel(SpeechModel):
    """`algoperf.backends.base.Model` of the Conformer workloads in PyTorch."""

    def param_type(self, name: str) -> ParameterType | None:
        """Dense kernels of convolution modules are convolutions, as in AlgoPerf."""
        is_kernel = ".conv.lin" in name and name.endswith("weight")
        return ParameterType.CONV_WEIGHT if is_kernel else None


def build(definition: WorkloadDefinition) -> ConformerModel:
    return ConformerModel(definition, lambda: Conformer(definition.model))


def _weight_map(config: ConformerConfig) -> list[weights.Entry]:
    entries = subsample_entries()
    for number in range(config.num_layers):
        ours, flax = f"conformers.{number}", f"ConformerBlock_{number}"
        for index in range(2):
            feed_forward = f"{flax}/FeedForwardModule_{index}"
            entries += weights.norm(f"{ours}.ff{index + 1}.ln", f"{feed_forward}/LayerNorm_0")
            entries += weights.linear(f"{ours}.ff{index + 1}.linear1", f"{feed_forward}/Dense_0")
            entries += weights.linear(f"{ours}.ff{index + 1}.linear2", f"{feed_forward}/Dense_1")
        entries += _attention_entries(f"{ours}.mhsa", f"{flax}/MultiHeadedSelfAttention_0", config)
        entries += _convolution_entries(f"{ours}.conv", f"{flax}/ConvolutionBlock_0")
        if config.post_layer_norm:
            entries += weights.norm(f"{ours}.ln", f"{flax}/LayerNorm_0")
    return entries + weights.norm("ln", "LayerNorm_0") + weights.linear("lin", "Dense_0")


def _attention_entries(ours: str, flax: str, config: ConformerConfig) -> list[weights.Entry]:
    attention = f"{flax}/MultiHeadDotProductAttention_0"
    paths = [f"{attention}/{name}" for name in ("query", "key", "value")]
    return [
        *weights.norm(f"{ours}.ln", f"{flax}/LayerNorm_0"),
        *weights.heads_in(f"{ours}.self_attention.in_proj", paths, config.num_heads),
        *weights.heads_out(f"{ours}.self_attention.out_proj", f"{attention}/out", config.num_heads),
        weights.same(f"{ours}.self_attention.qs.scale", f"params/{attention}/QueryScaler_0/scale"),
    ]


def _convolution_entries(ours: str, flax: str) -> list[weights.Entry]:
    return [
        *weights.norm(f"{ours}.ln", f"{flax}/LayerNorm_0"),
        *weights.linear(f"{ours}.lin1", f"{flax}/Dense_0"),
        *weights.linear(f"{ours}.lin2", f"{flax}/Dense_1"),
        *weights.conv(f"{ours}.conv1", f"{flax}/Conv_0", bias=False),
        *weights.batch_norm(f"{ours}.bn", f"{flax}/BatchNorm_0"),
        *weights.linear(f"{ours}.lin3", f"{flax}/Dense_2"),
    ]
