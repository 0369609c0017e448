"""Tensors of the PyTorch transformer in terms of the Flax one."""

from workloads.common.torch import weights
from workloads.wmt.definition import TransformerConfig


def weight_map(config: TransformerConfig) -> list[weights.Entry]:
    """Names and layouts of all tensors in terms of the Flax model."""
    entries = weights.embedding("shared_embedding", "shared_embedding")
    for number in range(config.num_layers):
        ours, flax = f"encoder.layers.{number}", f"encoder/encoderblock_{number}"
        entries += _self_attention(f"{ours}.self_attn", f"{flax}/MultiHeadDotProductAttention_0", config)
        entries += _mlp(ours, f"{flax}/MlpBlock_0", config) + _norms(ours, flax, 2)
        ours, flax = f"decoder.layers.{number}", f"decoder/encoderdecoderblock_{number}"
        entries += _self_attention(f"{ours}.self_attn", f"{flax}/MultiHeadDotProductAttention_0", config)
        entries += _cross_attention(f"{ours}.multihead_attn", f"{flax}/MultiHeadDotProductAttention_1", config)
        entries += _mlp(ours, f"{flax}/MlpBlock_0", config) + _norms(ours, flax, 3)
    if config.pre_norm:
        entries += weights.norm("encoder.norm", "encoder/encoder_layernorm")
        entries += weights.norm("decoder.norm", "decoder/encoderdecoder_layernorm")
    return entries


def _self_attention(ours: str, flax: str, config: TransformerConfig) -> list[weights.Entry]:
    paths = [f"{flax}/{name}" for name in ("query", "key", "value")]
    return [
        *weights.heads_in(f"{ours}.in_proj", paths, config.num_heads, bias=False),
        *weights.heads_out(f"{ours}.out_proj", f"{flax}/out", config.num_heads, bias=False),
    ]


def _cross_attention(ours: str, flax: str, config: TransformerConfig) -> list[weights.Entry]:
    return [
        *weights.heads_in(f"{ours}.q_proj", [f"{flax}/query"], config.num_heads, bias=False),
        *weights.heads_in(f"{ours}.kv_proj", [f"{flax}/key", f"{flax}/value"], config.num_heads, bias=False),
        *weights.heads_out(f"{ours}.out_proj", f"{flax}/out", config.num_heads, bias=False),
    ]


def _mlp(ours: str, flax: str, config: TransformerConfig) -> list[weights.Entry]:
    names = ["linear1", "linear_glu", "linear2"] if config.gated_tanh else ["linear1", "linear2"]
    return [
        entry
        for number, name in enumerate(names)
        for entry in weights.linear(f"{ours}.{name}", f"{flax}/Dense_{number}")
    ]


def _norms(ours: str, flax: str, count: int) -> list[weights.Entry]:
    return [
        entry
        for number in range(count)
        for entry in weights.norm(f"{ours}.norm{number + 1}", f"{flax}/LayerNorm_{number}")
    ]
