"""The model interface around a PyTorch module: what all models share, with the few pieces in which they differ."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from algoperf.backends.base import Weights
from algoperf.definition import WorkloadDefinition
from workloads.common.torch import losses, weights
from workloads.common.torch.forward import forward_mode, unwrapped


class TorchModel:
    """Implements `algoperf.backends.base.Model`. A workload overrides `arguments`, `loss` or `outputs`.

    Args:
      definition: of the workload. Where its `default_dropout` is not None, the module takes `dropout_rate`.
      make_module: builds the module, called as `module(*arguments)` or `module(*arguments, dropout_rate=...)`. Its
        `weight_map()` returns an entry of `workloads.common.torch.weights` for each tensor.
      output_layer: name of the output layer within the module.
    """

    def __init__(
        self, definition: WorkloadDefinition, make_module: Callable[[], nn.Module], *, output_layer: str
    ) -> None:
        self.definition = definition
        self._make_module = make_module
        self._output_layer = output_layer

    def arguments(self, batch: Mapping[str, Any]) -> tuple[Any, ...]:
        """The module's positional arguments for `batch`."""
        return (batch["inputs"],)

    def loss(self, labels: Any, logits: Any, weights: Any | None, label_smoothing: float) -> losses.Losses:
        """The loss that the definition's `loss_type` names."""
        return losses.of_type(self.definition.loss_type, labels, logits, weights, label_smoothing)

    def outputs(self, logits: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """What an evaluation keeps of `logits`: tensors with the examples on axis 0."""
        return {"loss": self.loss(batch["targets"], logits, None, 0.0)["per_example"]}

    def init(self, rng: Any) -> tuple[nn.Module, None]:
        del rng  # the global generator is seeded already
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
    ) -> tuple[Any, Any]:
        del rng
        options = {} if self.definition.default_dropout is None else {"dropout_rate": dropout_rate}
        with forward_mode(params, train=train, update_batch_norm=update_batch_norm):
            return params(*self.arguments(batch), **options), model_state

    @torch.no_grad()
    def evaluate(self, params: nn.Module, batch: Mapping[str, Any], model_state: Any) -> dict[str, Any]:
        """Returns `outputs` of the logits that the model gives in evaluation mode."""
        logits, _ = self.forward(
            params, batch, model_state, train=False, rng=None, update_batch_norm=False, dropout_rate=0.0
        )
        return self.outputs(logits, batch)

    def is_output_params(self, param_key: str) -> bool:
        return param_key.rpartition(".")[0] == self._output_layer

    def export_weights(self, params: nn.Module, model_state: Any) -> Weights:
        return weights.export_weights(params, _weight_map(params))

    def import_weights(self, weights_: Weights, params: nn.Module, model_state: Any) -> tuple[nn.Module, Any]:
        weights.import_weights(weights_, params, _weight_map(params))
        return params, model_state


def _weight_map(params: nn.Module) -> Iterable[weights.Entry]:
    module: Any = unwrapped(params)
    entries: Iterable[weights.Entry] = module.weight_map()
    return entries
