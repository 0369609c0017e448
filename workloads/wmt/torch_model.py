"""The translation workloads in PyTorch: evaluation with beam search.

Shapes: B sentences, S source positions, T target positions, K beams, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any, cast

from torch import Tensor, nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import losses
from workloads.common.torch.forward import forward_mode, unwrapped
from workloads.common.torch.model import TorchModel
from workloads.wmt.definition import TransformerConfig
from workloads.wmt.torch_decoding import SlotCache, beam_search
from workloads.wmt.torch_transformer import Transformer, additive_mask


class TranslationModel(TorchModel):
    """Logits are [B, T, V]."""

    def __init__(self, definition: WorkloadDefinition) -> None:
        super().__init__(definition, lambda: Transformer(definition.model), output_layer="shared_embedding")
        self._config: TransformerConfig = definition.model

    def arguments(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """`inputs`, `targets` and, for packed rows, their positions and segments."""
        return (
            batch["inputs"],
            batch["targets"],
            batch.get("inputs_position"),
            batch.get("targets_position"),
            batch.get("inputs_segmentation"),
            batch.get("targets_segmentation"),
        )

    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns for each sentence `loss` and `hits` (sums over its target tokens) and `tokens` (their number)."""
        targets = batch["targets"]
        weights = batch["weights"] if "weights" in batch else (targets > 0).float()
        return {
            "loss": self.loss(targets, logits, weights, 0.0)["per_example"].sum(1),
            "hits": losses.weighted(losses.correct(targets, logits), weights)["per_example"].sum(1),
            "tokens": weights.sum(1),
        }

    def evaluate(self, params: nn.Module, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns also `translations` int32 [B, max_length - 1]."""
        module = unwrapped(params)
        return {
            **super().evaluate(module, batch, model_state),
            "translations": self.translate(module, batch["inputs"]),
        }

    def translate(self, params: nn.Module, inputs: Tensor, beam_size: int | None = None) -> Tensor:
        """Returns the best translations int32 [B, max_length - 1] of `inputs` [B, S]: tokens, EOS, zeros."""
        module = unwrapped(params)
        with forward_mode(module, train=False, update_batch_norm=False):
            return self._search(cast(Transformer, module), inputs, beam_size)

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


def build(definition: WorkloadDefinition) -> TranslationModel:
    return TranslationModel(definition)
