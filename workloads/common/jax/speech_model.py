"""The model interface around a Flax module that maps raw audio to logits and their paddings."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import numpy as np

from algoperf.definition import WorkloadDefinition
from workloads.common.jax import ctc
from workloads.common.jax.losses import Losses
from workloads.common.jax.model import FlaxModel

_INIT_SAMPLES = 4_000  # no parameter's shape depends on the length


class SpeechModel(FlaxModel):
    """The module maps (audio, paddings) to (logits [B, T, vocabulary], paddings [B, T])."""

    def __init__(self, definition: WorkloadDefinition, module: nn.Module) -> None:
        silence = np.zeros((2, _INIT_SAMPLES), np.float32)
        super().__init__(definition, module, example=(silence, silence), output_layer="Dense_0")

    def arguments(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(batch["inputs"])

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> Losses:
        """CTC loss of each utterance; see `ctc_losses`. `label_smoothing` has no meaning here and is ignored."""
        return ctc.ctc_losses(labels, logits, weights)

    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Returns `ctc_loss` [B] (sum over the labels of an utterance), `tokens` [B] (their number) and `hypotheses`
        int32 [B, T] (decoded labels, filled up with blanks)."""
        return {
            "ctc_loss": ctc.ctc_losses(batch["targets"], logits)["per_example"],
            "tokens": (1 - batch["targets"][1]).sum(1),
            "hypotheses": ctc.greedy_decode(*logits),
        }
