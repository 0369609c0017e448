"""The translation workloads in JAX: loss, evaluation with beam search, weights.

Shapes: B sentences, S source positions, T target positions, K beams, V vocabulary.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import forward, losses, weights
from workloads.wmt.definition import TransformerConfig
from workloads.wmt.jax_decoding import beam_search
from workloads.wmt.jax_transformer import Transformer


class TranslationModel:
    """`algoperf.backends.base.Model` of the translation workloads in JAX."""

    def __init__(self, definition: WorkloadDefinition) -> None:
        self._config: TransformerConfig = definition.model
        self._module = Transformer(self._config)
        self._evaluate = jax.jit(self._evaluate_batch)
        self._translate = jax.jit(self._translate_batch, static_argnums=2)

    def init(self, rng: jax.Array) -> tuple[Any, None]:
        tokens = jnp.ones((1, 2), jnp.int32)
        return forward.init(self._module, rng, tokens, tokens, train=False)

    def forward(
        self,
        params: Any,
        batch: Mapping[str, Any],
        model_state: Any,
        *,
        train: bool,
        rng: Any,
        update_batch_norm: bool,
        dropout_rate: float,
    ) -> tuple[jax.Array, Any]:
        """Returns logits [B, T, V]; reads `inputs`, `targets` and, for packed rows, their positions and segments."""
        return forward.apply(
            self._module,
            params,
            model_state,
            batch["inputs"],
            batch["targets"],
            batch.get("inputs_position"),
            batch.get("targets_position"),
            batch.get("inputs_segmentation"),
            batch.get("targets_segmentation"),
            train=train,
            update_batch_norm=update_batch_norm,
            rng=rng,
            dropout_rate=dropout_rate,
        )

    def loss(self, labels: Any, logits: jax.Array, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        """Cross-entropy of each target token: `labels` [B, T], `logits` [B, T, V], `weights` [B, T]."""
        return losses.softmax_cross_entropy(labels, logits, weights, label_smoothing)

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns for each sentence `loss` and `hits` (sums over its target tokens), `tokens` (their number) and
        `translations` int32 [B, max_length - 1]."""
        return self._evaluate(params, dict(batch))

    def translate(self, params: Any, inputs: Any, beam_size: int | None = None) -> jax.Array:
        """Returns the best translations int32 [B, max_length - 1] of `inputs` [B, S]: tokens, EOS, zeros."""
        return self._translate(params, inputs, beam_size or self._config.beam_size)

    def _translate_batch(self, params: Any, inputs: jax.Array, beam_size: int) -> jax.Array:
        bound = self._module.bind({"params": params})
        cross = bound.cross_keys_values(bound.encode(inputs))
        cross_mask = (inputs > 0)[:, None, None, :]

        def step(tokens: jax.Array, position: jax.Array, caches: list, visible: jax.Array) -> tuple[jax.Array, list]:
            return bound.decode_step(tokens, position, caches, visible, cross, cross_mask)

        dtype = jax.tree.leaves(params)[0].dtype
        return beam_search(step, self._config, beam_size, needed=(inputs > 0).any(1), dtype=dtype)

    def _evaluate_batch(self, params: Any, batch: Mapping[str, Any]) -> dict[str, jax.Array]:
        targets = batch["targets"]
        bound = self._module.bind({"params": params})
        logits = bound(batch["inputs"], targets, train=False)
        weights = batch.get("weights", (targets > 0).astype(jnp.float32))
        return {
            "loss": self.loss(targets, logits, weights, 0.0)["per_example"].sum(1),
            "hits": ((logits.argmax(-1) == targets) * weights).sum(1),
            "tokens": weights.sum(1),
            "translations": self._translate_batch(params, batch["inputs"], self._config.beam_size),
        }

    def is_output_params(self, param_key: str) -> bool:
        return param_key == "shared_embedding"

    def export_weights(self, params: Any, model_state: Any) -> weights.Weights:
        return weights.export_weights(params, model_state)

    def import_weights(self, values: weights.Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        return weights.import_weights(values, params, model_state)


def build(definition: WorkloadDefinition) -> TranslationModel:
    return TranslationModel(definition)
