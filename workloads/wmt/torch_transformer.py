"""The layers of the Transformer in PyTorch, for teacher forcing and for decoding one position at a time.

Shapes: B sentences, S source positions, T target positions, K beams, H heads, D depth of a head, W width, V vocabulary.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from workloads.common.torch import weights
from workloads.common.torch.dropout import dropout
from workloads.common.torch.initializers import normal_, xavier_uniform_
from workloads.wmt import torch_weight_map
from workloads.wmt.definition import TransformerConfig
from workloads.wmt.positions import sinusoids
from workloads.wmt.torch_decoding import SlotCache

LAYER_NORM_EPSILON = 1e-6
MLP_BIAS_STDDEV = 1e-6

Block = Callable[[Tensor], Tensor]  # a part of a layer, of hidden states [B, T, W]


class Attention(nn.Module):
    """What both attentions share. Masks are added to the scores: 0, or the lowest float32 where nothing is seen."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.scale = config.query_scale / (config.width // config.num_heads) ** 0.5
        self.out_proj = _projection(config.width, 1)

    def attend(self, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor, rate: float = 0.0) -> Tensor:
        """`queries` [B, H, T, D] read `keys` and `values` [B, H, S, D]; returns [B, T, W], projected."""
        read = F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask, dropout_p=rate if self.training else 0.0, scale=self.scale
        )
        projected: Tensor = self.out_proj(read.transpose(1, 2).flatten(2))
        return projected

    def heads(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """[B, T, parts * W] -> `parts` tensors [B, H, T, D]."""
        batch, length, _ = projected.shape
        return projected.view(batch, length, parts, self.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class SelfAttention(Attention):
    """Queries, keys and values come from one projection."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.in_proj = _projection(config.width, 3)

    def forward(self, hidden: Tensor, mask: Tensor, rate: float) -> Tensor:
        """`hidden` [B, T, W], `mask` [B, 1, T, T]."""
        queries, keys, values = self.heads(self.in_proj(hidden), 3)
        return self.attend(queries, keys, values, mask, rate)


class CrossAttention(Attention):
    """Keys and values come from one projection of the encoded source."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.q_proj = _projection(config.width, 1)
        self.kv_proj = _projection(config.width, 2)

    def forward(self, hidden: Tensor, encoded: Tensor, mask: Tensor, rate: float) -> Tensor:
        """`hidden` [B, T, W] reads `encoded` [B, S, W], `mask` [B, 1, T, S]."""
        return self.read(hidden, self.keys_values(encoded), mask, rate)

    def keys_values(self, encoded: Tensor) -> tuple[Tensor, ...]:
        return self.heads(self.kv_proj(encoded), 2)

    def read(self, hidden: Tensor, keys_values: tuple[Tensor, ...], mask: Tensor, rate: float = 0.0) -> Tensor:
        (queries,), (keys, values) = self.heads(self.q_proj(hidden), 1), keys_values
        return self.attend(queries, keys, values, mask, rate)


class Layer(nn.Module):
    """The feed-forward block and the order of norms, common to encoder and decoder layers."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.linear1 = _dense(config.width, config.mlp_width)
        self.linear_glu = _dense(config.width, config.mlp_width) if config.gated_tanh else None
        self.linear2 = _dense(config.mlp_width, config.width)

    def residual(self, norm: nn.LayerNorm, block: Block, hidden: Tensor) -> Tensor:
        outputs: Tensor = hidden + block(norm(hidden)) if self.pre_norm else norm(hidden + block(hidden))
        return outputs

    def mlp(self, hidden: Tensor, rate: float) -> Tensor:
        if self.linear_glu is None:
            hidden = F.relu(self.linear1(hidden))
        else:
            hidden = torch.tanh(self.linear1(hidden)) * self.linear_glu(hidden)
        return self.drop(self.linear2(self.drop(hidden, rate)), rate)

    def drop(self, hidden: Tensor, rate: float) -> Tensor:
        return dropout(hidden, rate, self.training)


class EncoderLayer(Layer):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.self_attn = SelfAttention(config)
        self.norm1 = _layer_norm(config)
        self.norm2 = _layer_norm(config)

    def forward(self, hidden: Tensor, mask: Tensor, rate: float) -> Tensor:
        """`hidden` [B, S, W], `mask` [B, 1, S, S]."""
        hidden = self.residual(self.norm1, lambda x: self.drop(self.self_attn(x, mask, rate), rate), hidden)
        return self.residual(self.norm2, lambda x: self.mlp(x, rate), hidden)


class DecoderLayer(Layer):
    def __init__(self, config: TransformerConfig) -> None:
        super().__init__(config)
        self.self_attn = SelfAttention(config)
        self.multihead_attn = CrossAttention(config)
        self.norm1 = _layer_norm(config)
        self.norm2 = _layer_norm(config)
        self.norm3 = _layer_norm(config)

    def forward(self, hidden: Tensor, encoded: Tensor, mask: Tensor, cross_mask: Tensor, rate: float) -> Tensor:
        """`hidden` [B, T, W], `encoded` [B, S, W], `mask` [B, 1, T, T], `cross_mask` [B, 1, T, S]."""
        return self._blocks(
            hidden,
            lambda x: self.self_attn(x, mask, rate),
            lambda x: self.multihead_attn(x, encoded, cross_mask, rate),
            rate,
        )

    def step(
        self, hidden: Tensor, cache: SlotCache, visible: Tensor, cross: tuple[Tensor, ...], cross_mask: Tensor
    ) -> Tensor:
        """One position of every beam: `hidden` [B, K, W], `visible` [B, 1, K, filled], `cross_mask` [B, 1, 1, S]."""

        def self_attention(x: Tensor) -> Tensor:
            queries, keys, values = self.self_attn.heads(self.self_attn.in_proj(x), 3)
            return self.self_attn.attend(queries, *cache.write(keys, values), visible)

        return self._blocks(hidden, self_attention, lambda x: self.multihead_attn.read(x, cross, cross_mask), 0.0)

    def _blocks(self, hidden: Tensor, self_attention: Block, cross_attention: Block, rate: float) -> Tensor:
        hidden = self.residual(self.norm1, lambda x: self.drop(self_attention(x), rate), hidden)
        hidden = self.residual(self.norm2, lambda x: self.drop(cross_attention(x), rate), hidden)
        return self.residual(self.norm3, lambda x: self.mlp(x, rate), hidden)


class Stack(nn.Module):
    """Layers with a final norm where the layers normalise before their blocks."""

    def __init__(self, config: TransformerConfig, layer: type[Layer]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(config) for _ in range(config.num_layers))
        self.norm = _layer_norm(config) if config.pre_norm else None

    def forward(self, embedded: Tensor, *args: Tensor, rate: float) -> Tensor:
        hidden = dropout(embedded, rate, self.training)
        for layer in self.layers:
            hidden = layer(hidden, *args, rate)
        return self.end(hidden)

    def end(self, hidden: Tensor) -> Tensor:
        return hidden if self.norm is None else self.norm(hidden)


class Transformer(nn.Module):
    """The encoder-decoder with one table for source, target and logits."""

    position_signal: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.shared_embedding = nn.Embedding(config.vocab_size, config.width)
        normal_(self.shared_embedding.weight, 1.0)
        self.encoder = Stack(config, EncoderLayer)
        self.decoder = Stack(config, DecoderLayer)
        signal = torch.tensor(sinusoids(config.max_length, config.width))
        self.register_buffer("position_signal", signal, persistent=False)

    def forward(
        self,
        inputs: Tensor,
        targets: Tensor,
        inputs_position: Tensor | None = None,
        targets_position: Tensor | None = None,
        inputs_segmentation: Tensor | None = None,
        targets_segmentation: Tensor | None = None,
        dropout_rate: float = 0.0,
    ) -> Tensor:
        """Returns logits [B, T, V] of `targets` [B, T] given `inputs` [B, S] and the targets before; 0 is padding.

        Positions index the position table; segments (1, 2, ... and 0 in padding) say which tokens of a packed row may
        see each other.
        """
        encoded = self.encode(inputs, inputs_position, inputs_segmentation, dropout_rate)
        seen = _pairs(targets, targets, targets_segmentation, targets_segmentation).tril()
        cross_seen = _pairs(targets, inputs, targets_segmentation, inputs_segmentation)
        shifted = F.pad(targets[:, :-1], (1, 0))
        embedded = self.embed(shifted, targets_position)
        hidden = self.decoder(embedded, encoded, additive_mask(seen), additive_mask(cross_seen), rate=dropout_rate)
        return self.logits(hidden)

    def weight_map(self) -> list[weights.Entry]:
        return torch_weight_map.weight_map(self.config)

    def encode(
        self, inputs: Tensor, positions: Tensor | None = None, segments: Tensor | None = None, rate: float = 0.0
    ) -> Tensor:
        mask = additive_mask(_pairs(inputs, inputs, segments, segments))
        encoded: Tensor = self.encoder(self.embed(inputs, positions), mask, rate=rate)
        return encoded

    def decode_step(
        self,
        tokens: Tensor,
        position: int,
        caches: list[SlotCache],
        visible: Tensor,
        cross: list[tuple[Tensor, ...]],
        cross_mask: Tensor,
    ) -> Tensor:
        """Returns logits [B, K, V] of what follows `tokens` [B, K], which stand at `position`; fills the caches."""
        hidden = self.shared_embedding(tokens) + self.position_signal[position]
        for layer, cache, keys_values in zip(self._decoder_layers(), caches, cross, strict=True):
            hidden = layer.step(hidden, cache, visible, keys_values, cross_mask)
        return self.logits(self.decoder.end(hidden))

    def cross_keys_values(self, encoded: Tensor) -> list[tuple[Tensor, ...]]:
        """Keys and values of the encoded source for each decoder layer, each [B, H, S, D]."""
        return [layer.multihead_attn.keys_values(encoded) for layer in self._decoder_layers()]

    def _decoder_layers(self) -> list[DecoderLayer]:
        return [cast(DecoderLayer, layer) for layer in self.decoder.layers]

    def embed(self, tokens: Tensor, positions: Tensor | None) -> Tensor:
        signal = self.position_signal[: tokens.shape[1]] if positions is None else self.position_signal[positions]
        embedded: Tensor = self.shared_embedding(tokens)
        return embedded + signal

    def logits(self, hidden: Tensor) -> Tensor:
        root: float = self.config.width**0.5
        return F.linear(hidden, self.shared_embedding.weight) / root


def additive_mask(seen: Tensor) -> Tensor:
    """float32: 0 where `seen`, elsewhere the lowest number, so that a query that sees nothing reads all alike."""
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, torch.finfo(torch.float32).min)


def _pairs(queries: Tensor, keys: Tensor, query_segments: Tensor | None, key_segments: Tensor | None) -> Tensor:
    """bool [B, 1, Q, K]: both are tokens, and of the same segment where segments are given."""
    seen = (queries > 0)[:, None, :, None] & (keys > 0)[:, None, None, :]
    if query_segments is not None and key_segments is not None:
        seen = seen & (query_segments[:, None, :, None] == key_segments[:, None, None, :])
    return seen


def _projection(width: int, parts: int) -> nn.Linear:
    """`parts` square projections in one; each is initialised as if it stood alone."""
    layer = nn.Linear(width, parts * width, bias=False)
    xavier_uniform_(layer.weight, fan_in=width, fan_out=width)
    return layer


def _dense(width_in: int, width_out: int) -> nn.Linear:
    layer = nn.Linear(width_in, width_out)
    xavier_uniform_(layer.weight)
    normal_(layer.bias, MLP_BIAS_STDDEV)
    return layer


def _layer_norm(config: TransformerConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=LAYER_NORM_EPSILON)
