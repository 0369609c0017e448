"""The translation workloads in PyTorch: loss, evaluation with beam search, weights.

Shapes: B sentences, S source positions, T target positions, K beams, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import losses, weights
from workloads.common.torch.forward import forward_mode, unwrapped
from workloads.wmt.definition import TransformerConfig
from workloads.wmt.torch_decoding import SlotCache, beam_search
from workloads.wmt.torch_transformer import Transformer, additive_mask


class TranslationModel:
    """`algoperf.backends.base.Model` of the translation workloads in PyTorch."""

    def __init__(self, definition: WorkloadDefinition) -> None:
        self._config: TransformerConfig = definition.model

    def init(self, rng: Any) -> tuple[Transformer, None]:
        return Transformer(self._config), None

    def forward(
        self,
        params: nn.Module,
        batch: Mapping[str, Any],
        model_state: Any,
        *,
        train: bool,
        rng: Any,
        update_batch_norm: bool,
        dropout_rate: float,
    ) -> tuple[Tensor, Any]:
        """Returns logits [B, T, V]; reads `inputs`, `targets` and, for packed rows, their positions and segments."""
        with forward_mode(params, train=train, update_batch_norm=update_batch_norm):
            logits = params(
                batch["inputs"],
                batch["targets"],
                batch.get("inputs_position"),
                batch.get("targets_position"),
                batch.get("inputs_segmentation"),
                batch.get("targets_segmentation"),
                dropout_rate,
            )
        return logits, model_state

    def loss(self, labels: Tensor, logits: Tensor, weights: Tensor | None, label_smoothing: float) -> dict[str, Tensor]:
        """Cross-entropy of each target token: `labels` [B, T], `logits` [B, T, V], `weights` [B, T]."""
        return losses.softmax_cross_entropy(labels, logits, weights, label_smoothing)

    def evaluate(self, params: nn.Module, batch: Mapping[str, Any], model_state: Any) -> dict[str, Tensor]:
        """Returns for each sentence `loss` and `hits` (sums over its target tokens), `tokens` (their number) and
        `translations` int32 [B, max_length - 1]."""
        module, targets = unwrapped(params), batch["targets"]
        with forward_mode(module, train=False, update_batch_norm=False):
            logits = module(batch["inputs"], targets)
            weights = batch["weights"] if "weights" in batch else (targets > 0).float()
            return {
                "loss": self.loss(targets, logits, weights, 0.0)["per_example"].sum(1),
                "hits": ((logits.argmax(-1) == targets) * weights).sum(1),
                "tokens": weights.sum(1),
                "translations": self._search(module, batch["inputs"], None),
            }

    def translate(self, params: nn.Module, inputs: Tensor, beam_size: int | None = None) -> Tensor:
        """Returns the best translations int32 [B, max_length - 1] of `inputs` [B, S]: tokens, EOS, zeros."""
        module = unwrapped(params)
        with forward_mode(module, train=False, update_batch_norm=False):
            return self._search(module, inputs, beam_size)

    def _search(self, module: Transformer, inputs: Tensor, beam_size: int | None) -> Tensor:
        config, beam_size = self._config, beam_size or self._config.beam_size
        encoded = module.encode(inputs)
        cross = module.cross_keys_values(encoded)
        cross_mask = additive_mask((inputs > 0)[:, None, None, :])
        slots = (len(inputs), config.num_heads, config.max_length * beam_size, config.width // config.num_heads)
        caches = [SlotCache(slots, encoded.device) for _ in range(config.num_layers)]

        def step(tokens: Tensor, position: int, seen: Tensor) -> Tensor:
            return module.decode_step(tokens, position, caches, additive_mask(seen), cross, cross_mask)

        return beam_search(step, config, beam_size, needed=(inputs > 0).any(1))

    def is_output_params(self, param_key: str) -> bool:
        return param_key == "shared_embedding.weight"

    def export_weights(self, params: nn.Module, model_state: Any) -> weights.Weights:
        return weights.export_weights(params, _entries(self._config))

    def import_weights(self, values: weights.Weights, params: nn.Module, model_state: Any) -> tuple[nn.Module, Any]:
        weights.import_weights(values, params, _entries(self._config))
        return params, model_state


def _entries(config: TransformerConfig) -> list[weights.Entry]:
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


def build(definition: WorkloadDefinition) -> TranslationModel:
    return TranslationModel(definition)
