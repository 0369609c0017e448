"""The model interface around a PyTorch module that maps raw audio to logits and their paddings."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from algoperf.definition import WorkloadDefinition
from workloads.common.torch import ctc
from workloads.common.torch.forward import unwrapped
from workloads.common.torch.losses import Losses
from workloads.common.torch.model import TorchModel


class SpeechModel(TorchModel):
    """The module maps (audio, paddings) to (logits [B, T, vocabulary], paddings [B, T])."""

    def __init__(self, definition: WorkloadDefinition, make_module: Callable[[], nn.Module]) -> None:
        super().__init__(definition, make_module, output_layer="lin")

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

    def evaluate(self, params: nn.Module, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        # Never compiled: utterances of another length would compile again.
        return super().evaluate(unwrapped(params), batch, model_state)
