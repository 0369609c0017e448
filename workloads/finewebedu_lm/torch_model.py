"""The language models in PyTorch.

Shapes: B sequences, L positions, W width, H heads, D depth of a head, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import losses, weights
from workloads.common.torch.forward import forward_mode, unwrapped
from workloads.common.torch.initializers import normal_
from workloads.common.torch.model import TorchModel
from workloads.finewebedu_lm.chunks import positions_per_chunk
from workloads.finewebedu_lm.definition import LanguageModelConfig
from workloads.finewebedu_lm.rotary import rotations


class CausalAttention(nn.Module):
    """Attention to a position and those before it; queries and keys are rotated, then normalised."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.num_heads, self.epsilon = config.num_heads, config.norm_epsilon
        self.w_qkv = _linear(config.width, 3 * config.width, config.initial_stddev)
        self.w_out = _linear(config.width, config.width, config.residual_stddev)
        self.attn_scale = nn.Parameter(torch.tensor(config.initial_attention_scale))

    def forward(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        """`hidden` [B, L, W], `cosines` and `sines` [L, D / 2]; returns [B, L, W]."""
        batch, length, _ = hidden.shape
        heads = self.w_qkv(hidden).view(batch, length, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys = normalised(rotated(heads[:2], cosines, sines), self.epsilon)
        read = F.scaled_dot_product_attention(queries * self.attn_scale, keys, heads[2], is_causal=True, scale=1.0)
        projected: Tensor = self.w_out(read.transpose(1, 2).flatten(2))
        return projected


class Mlp(nn.Module):
    """Feed-forward block gated by a sigmoid."""

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.fc1 = _linear(config.width, 2 * config.mlp_width, config.initial_stddev)
        self.fc2 = _linear(config.mlp_width, config.width, config.residual_stddev)

    def forward(self, hidden: Tensor) -> Tensor:
        projected: Tensor = self.fc2(F.glu(self.fc1(hidden)))
        return projected


class Block(nn.Module):
    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.attn = CausalAttention(config)
        self.mlp = Mlp(config)
        self.attn_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        self.mlp_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)

    def forward(self, hidden: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
        hidden = hidden + self.attn(self.attn_norm(hidden), cosines, sines)
        outputs: Tensor = hidden + self.mlp(self.mlp_norm(hidden))
        return outputs


class Transformer(nn.Module):
    """The decoder with one table for inputs and logits."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Embedding(config.vocab_size, config.width)
        normal_(self.embed_tokens.weight, config.initial_stddev)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.out_norm = nn.RMSNorm(config.width, eps=config.norm_epsilon)
        tables = rotations(config.context, config.head_depth, config.rotary_base)
        for name, table in zip(("cosines", "sines"), tables, strict=True):
            self.register_buffer(name, torch.tensor(table), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Returns logits [B, L, V] of what follows each of the `inputs` [B, L]."""
        return self.logits(self.hidden(inputs))

    def hidden(self, inputs: Tensor) -> Tensor:
        """Returns [B, L, W], normalised."""
        hidden = self.embed_tokens(inputs)
        length = inputs.shape[1]
        for layer in self.layers:
            hidden = layer(hidden, self.cosines[:length], self.sines[:length])
        normalised_: Tensor = self.out_norm(hidden)
        return normalised_

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed_tokens.weight)

    def weight_map(self) -> list[weights.Entry]:
        """Names and layouts of all tensors in terms of the Flax model."""
        entries = weights.embedding("embed_tokens", "embed")
        for number in range(self.config.num_layers):
            entries += _block_entries(f"layers.{number}", f"blocks_{number}", self.config.num_heads)
        return [*entries, weights.same("out_norm.weight", "params/out_ln/scale")]


class LanguageModel(TorchModel):
    """Logits are [B, L, V]."""

    def __init__(self, definition: WorkloadDefinition) -> None:
        super().__init__(definition, lambda: Transformer(definition.model), output_layer="embed_tokens")

    def evaluate(self, params: nn.Module, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `loss` [B], the mean over a sequence's tokens; logits exist for a part of the positions at a time."""
        module = cast(Transformer, unwrapped(params))
        inputs, targets = batch["inputs"], batch["targets"]
        chunk = positions_per_chunk(inputs.shape[0], inputs.shape[1], self.definition.model.vocab_size)
        with forward_mode(module, train=False, update_batch_norm=False):
            parts = zip(module.hidden(inputs).split(chunk, 1), targets.split(chunk, 1), strict=True)
            per_token = [
                losses.softmax_cross_entropy(labels, module.logits(hidden))["per_example"] for hidden, labels in parts
            ]
            return {"loss": torch.cat(per_token, 1).mean(1)}


def rotated(heads: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Turns pairs of neighbouring components of `heads` [..., L, D] by the angle of `cosines`, `sines` [L, D / 2]."""
    first, second = heads.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((first * cosines - second * sines, second * cosines + first * sines), -1).flatten(-2)


def normalised(vectors: Tensor, epsilon: float) -> Tensor:
    """`vectors` [..., D] / (their length + `epsilon`)."""
    lengths: Tensor = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return vectors / (lengths + epsilon)


def _linear(width_in: int, width_out: int, stddev: float) -> nn.Linear:
    layer = nn.Linear(width_in, width_out, bias=False)
    normal_(layer.weight, stddev)
    return layer


def _block_entries(ours: str, flax: str, num_heads: int) -> list[weights.Entry]:
    attention = f"{flax}/CausalAttn_0"
    return [
        *weights.heads_in(
            f"{ours}.attn.w_qkv", [f"{attention}/{name}" for name in ("query", "key", "value")], num_heads, bias=False
        ),
        *weights.heads_out(f"{ours}.attn.w_out", f"{attention}/attn_out_proj", num_heads, bias=False),
        weights.same(f"{ours}.attn.attn_scale", f"params/{attention}/attn_scale"),
        *weights.linear(f"{ours}.mlp.fc1", f"{flax}/Mlp_0/Dense_0", bias=False),
        *weights.linear(f"{ours}.mlp.fc2", f"{flax}/Mlp_0/Dense_1", bias=False),
        weights.same(f"{ours}.attn_norm.weight", f"params/{flax}/RMSNorm_0/scale"),
        weights.same(f"{ours}.mlp_norm.weight", f"params/{flax}/RMSNorm_1/scale"),
    ]


def build(definition: WorkloadDefinition) -> LanguageModel:
    return LanguageModel(definition)
