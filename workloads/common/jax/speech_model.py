"""The model interface around a Flax module that maps raw audio to logits and their paddings."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from workloads.common.jax import ctc, forward, weights

_INIT_SAMPLES = 4_000  # no parameter's shape depends on the length


class SpeechModel:
    """Implements `algoperf.backends.base.Model` of the speech workloads.

    Args:
      module: called as `module(audio, paddings, train=..., dropout_rate=...)`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._evaluate = jax.jit(self._evaluate_untraced)

    def init(self, rng: Any) -> tuple[Any, Any]:
        silence = jnp.zeros((2, _INIT_SAMPLES))
        return forward.init(self._module, rng, silence, silence, train=False, dropout_rate=0.0)

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
    ) -> tuple[tuple[jax.Array, jax.Array], Any]:
        """Returns ((logits [B, T, vocabulary], paddings [B, T]), model state)."""
        return forward.apply(
            self._module,
            params,
            model_state,
            *batch["inputs"],
            train=train,
            update_batch_norm=update_batch_norm,
            rng=rng,
            dropout_rate=dropout_rate,
        )

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> dict[str, Any]:
        """CTC loss of each utterance; see `ctc_losses`. `label_smoothing` has no meaning here and is ignored."""
        del label_smoothing
        return ctc.ctc_losses(labels, logits, weights)

    def evaluate(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `ctc_loss` [B] (sum over the labels of an utterance), `tokens` [B] (their number) and `hypotheses`
        int32 [B, T] (decoded labels, filled up with blanks)."""
        return self._evaluate(params, dict(batch), model_state)

    def _evaluate_untraced(self, params: Any, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        logits, _ = self.forward(
            params, batch, model_state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        return {
            "ctc_loss": ctc.ctc_losses(batch["targets"], logits)["per_example"],
            "tokens": (1 - batch["targets"][1]).sum(1),
            "hypotheses": ctc.greedy_decode(*logits),
        }

    def is_output_params(self, param_key: str) -> bool:
        return param_key == "Dense_0"

    def export_weights(self, params: Any, model_state: Any) -> weights.Weights:
        return weights.export_weights(params, model_state)

    def import_weights(self, values: weights.Weights, params: Any, model_state: Any) -> tuple[Any, Any]:
        return weights.import_weights(values, params, model_state)
