"""The translation workloads in JAX: evaluation with beam search.

Shapes: B sentences, S source positions, T target positions, K beams, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import losses
from workloads.common.jax.model import FlaxModel
from workloads.wmt.definition import TransformerConfig
from workloads.wmt.jax_decoding import beam_search
from workloads.wmt.jax_transformer import Transformer


class TranslationModel(FlaxModel):
    """Logits are [B, T, V]."""

    def __init__(self, definition: WorkloadDefinition) -> None:
        tokens = np.ones((1, 2), np.int32)
        module = Transformer(definition.model)
        super().__init__(definition, module, example=(tokens, tokens), output_layer="shared_embedding")
        self._config: TransformerConfig = definition.model
        self._translate = jax.jit(self._translate_batch, static_argnums=2)

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
        weights = batch.get("weights", (targets > 0).astype(jnp.float32))
        return {
            "loss": self.loss(targets, logits, weights, 0.0)["per_example"].sum(1),
            "hits": losses.weighted(losses.correct(targets, logits), weights)["per_example"].sum(1),
            "tokens": weights.sum(1),
        }

    def evaluate_batch(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns also `translations` int32 [B, max_length - 1]."""
        translations = self._translate_batch(params, batch["inputs"], self._config.beam_size)
        return {**super().evaluate_batch(params, batch, model_state), "translations": translations}

    def translate(self, params: Any, inputs: Any, beam_size: int | None = None) -> jax.Array:
        """Returns the best translations int32 [B, max_length - 1] of `inputs` [B, S]: tokens, EOS, zeros."""
        translations: jax.Array = self._translate(params, inputs, beam_size or self._config.beam_size)
        return translations

    def _translate_batch(self, params: Any, inputs: jax.Array, beam_size: int) -> jax.Array:
        bound = self.module.bind({"params": params})
        cross = bound.cross_keys_values(bound.encode(inputs))
        cross_mask = (inputs > 0)[:, None, None, :]

        def step(
            tokens: jax.Array, position: jax.Array, caches: list[Any], visible: jax.Array
        ) -> tuple[jax.Array, list[Any]]:
            logits, written = bound.decode_step(tokens, position, caches, visible, cross, cross_mask)
            return logits, written

        dtype = jax.tree.leaves(params)[0].dtype
        return beam_search(step, self._config, beam_size, needed=(inputs > 0).any(1), dtype=dtype)


def build(definition: WorkloadDefinition) -> TranslationModel:
    return TranslationModel(definition)
