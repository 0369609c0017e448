"""The model interface around a PyTorch module that maps raw audio to logits and their paddings."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from workloads.common.torch import ctc, weights
from workloads.common.torch.forward import forward_mode, unwrapped


class SpeechModel:
    """Implements `algoperf.backends.base.Model` of the speech workloads.

    Args:
      make_module: builds a module that is called as `module(audio, paddings, dropout_rate)`.
      entries: names and layouts of all its tensors in terms of the Flax model.
    """

    def __init__(self, make_module: Callable[[], nn.Module], entries: list[weights.Entry]) -> None:
        self._make_module = make_module
        self._entries = entries

    def init(self, rng: Any) -> tuple[nn.Module, None]:
        return self._make_module(), None

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
    ) -> tuple[tuple[Tensor, Tensor], Any]:
        """Returns ((logits [B, T, vocabulary], paddings [B, T]), model state)."""
        with forward_mode(params, train=train, update_batch_norm=update_batch_norm):
            return params(*batch["inputs"], dropout_rate), model_state

    def loss(self, labels: Any, logits: Any, weights: Tensor | None, label_smoothing: float) -> dict[str, Tensor]:
        """CTC loss of each utterance; see `ctc_losses`. `label_smoothing` has no meaning here and is ignored."""
        del label_smoothing
        return ctc.ctc_losses(labels, logits, weights)

    def evaluate(self, params: nn.Module, batch: Mapping[str, Any], model_state: Any) -> dict[str, Tensor]:
        """Returns `ctc_loss` [B] (sum over the labels of an utterance), `tokens` [B] (their number) and `hypotheses`
        int32 [B, T] (decoded labels, filled up with blanks)."""
        module = unwrapped(params)
        with forward_mode(module, train=False, update_batch_norm=False):
            logits = module(*batch["inputs"], 0.0)
            return {
                "ctc_loss": ctc.ctc_losses(batch["targets"], logits)["per_example"],
                "tokens": (1 - batch["targets"][1]).sum(1),
                "hypotheses": ctc.greedy_decode(*logits),
            }

    def is_output_params(self, param_key: str) -> bool:
        return param_key in ("lin.weight", "lin.bias")

    def export_weights(self, params: nn.Module, model_state: Any) -> weights.Weights:
        return weights.export_weights(params, self._entries)

    def import_weights(self, values: weights.Weights, params: nn.Module, model_state: Any) -> tuple[nn.Module, Any]:
        weights.import_weights(values, params, self._entries)
        return params, model_state
